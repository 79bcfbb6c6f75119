"""Which runs a process works on, so that none of a killed process stays RUNNING.

A process notes its runs in a folder of the project for as long as it works on them, and locks its
note. The system releases the lock when the process ends, however it ends.
"""

from __future__ import annotations

import contextlib
import os
import platform
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from churn import paths
from churn.tracking import leftovers, store

if TYPE_CHECKING:
    from mlflow.entities import Run

CLOSED_LATER = "its process was killed, or an answer of the store was lost"


def workspace_tag() -> dict[str, str]:
    """The tag that names the clone and the folder in which a stage runs.

    Only the evaluation of the same clone completes a training run. Two containers may have the
    same host name and folder; the clone's random number tells them apart.
    """
    return {"workspace": f"{platform.node()}:{Path.cwd()} {_clone_number()}".rstrip()}


def _clone_number() -> str:
    """A random number that this clone keeps; "" where nothing can be written."""
    path = open_runs_folder().with_name("clone-number")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(uuid.uuid4().hex)
            part.write_text(part.name)
            with contextlib.suppress(FileExistsError):  # another process was first
                os.link(part, path)
            part.unlink()
        return path.read_text()
    except OSError:
        return ""


def open_runs_folder() -> Path:
    """The folder in which each process of this project notes the runs that it works on."""
    return paths.project_root() / ".dvc/tmp/open-runs"


@contextmanager
def hold_runs(start: Callable[[], list[str]]) -> Iterator[None]:
    """Note that this process works on runs, for the time of the `with`.

    A process that is killed meanwhile leaves its runs RUNNING, and so does one whose store no
    longer answers. The next one that notes something in this folder sets them to KILLED.

    Args:
        start: opens the runs, and returns their ids; the first is this process's own.
    """
    with leftovers.exclusive(open_runs_folder()):
        _close_abandoned()
        run_ids = start()
        noted = leftovers.note_runs(open_runs_folder(), store.tracking_uri(), run_ids)
        _close_unnoted()
    try:
        yield
    except BaseException:
        noted.release(keep=_may_be_running(run_ids[0]))
        raise
    noted.release()


def _may_be_running(run_id: str) -> bool:
    """Whether a run is not closed, or the store does not say."""
    import mlflow

    try:
        return bool(mlflow.get_run(run_id).info.status == "RUNNING")
    except mlflow.MlflowException:
        return True


def close_abandoned() -> None:
    """Set to KILLED the runs of this project on which no process works any more."""
    store.connect()
    with leftovers.exclusive(open_runs_folder()):
        _close_abandoned()


def _close_abandoned() -> None:
    abandoned = leftovers.abandoned_runs(open_runs_folder(), store.tracking_uri())
    for run_id, notes in abandoned.items():
        _close_killed_run(run_id)
        for note in notes:
            note.unlink(missing_ok=True)


def _close_unnoted() -> None:
    """Set to KILLED the runs of this workspace that no living process has noted.

    The server opened such a run and its answer was lost, so that nobody knows the run.
    """
    import mlflow

    if not os.access(open_runs_folder(), os.W_OK):  # nothing is noted there
        return
    (workspace,) = workspace_tag().values()
    if "'" in workspace and '"' in workspace:  # which MLflow cannot search for
        return
    running = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"status = 'RUNNING' and tags.workspace = {store.quote_value(workspace)}",
        output_format="list",
    )
    living = leftovers.living_runs(open_runs_folder()) if running else set()
    for run in running:
        if run.info.run_id not in living:
            _close_killed_run(run.info.run_id)


def finish_whole_record(run: Run) -> None:
    """Set to FINISHED a run that has recorded everything and was not closed.

    Its process was killed at the very end, or the store's last answer was lost.
    """
    import mlflow

    if run.info.status == "FINISHED":
        return
    if run.info.run_id in leftovers.living_runs(open_runs_folder()):
        return
    client = mlflow.MlflowClient()
    if "error" in run.data.tags:
        client.delete_tag(run.info.run_id, "error")
    client.set_terminated(run.info.run_id, "FINISHED")


def _close_killed_run(run_id: str) -> None:
    """Set one run to KILLED, unless it was closed or deleted meanwhile."""
    import mlflow

    client = mlflow.MlflowClient()
    try:
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_tag(run_id, "error", CLOSED_LATER)
            client.set_terminated(run_id, "KILLED")
    except mlflow.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
