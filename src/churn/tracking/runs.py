"""The only module that opens MLflow runs.

MLFLOW_TRACKING_URI decides where they go; without it, to SQLite in the project's root. A run is
found again by the md5 of the model it made, never by an id that one process hands to another.
"""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from churn import paths
from churn.errors import UserError
from churn.tracking import git_state, launching_run, leftovers, store, store_errors

if TYPE_CHECKING:
    from mlflow import ActiveRun
    from mlflow.entities import Run

UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}
CLOSED_LATER = "its process was killed, or an answer of the store was lost"
LONGEST_ERROR = 5000  # characters of the tag `error`


def workspace_tag() -> dict[str, str]:
    """The tag that names the folder in which a stage runs.

    Only the evaluation of the same folder completes a training run.
    """
    return {"workspace": f"{platform.node()}:{Path.cwd()}"}


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
        filter_string=f"status = 'RUNNING' and tags.workspace = {quote_value(workspace)}",
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


@contextmanager
def open_run(name: str, tags: dict[str, str], run_id: str | None = None) -> Iterator[ActiveRun]:
    """Open a run, or resume the run `run_id`; a new run under a launching run is its child.

    A run from a workspace that differs from its commit holds the difference. A run that ends in an
    error is FAILED and says why in its tag `error`; runs that killed processes left RUNNING are set
    to KILLED.

    Raises:
        UserError: the folder of the artifacts, or a file that the body writes, is not writable.
    """
    experiment_id = store.connect()
    store.check_artifact_root()
    launching_run.name_launching_run()
    import mlflow

    parent = launching_run.launching_run_id()
    if run_id is None:
        name, tags = _name_and_tags_of_new_run(name, tags, parent)

    def start() -> list[str]:
        with launching_run.hidden_from_mlflow():
            opened = mlflow.start_run(
                run_id=run_id,
                experiment_id=experiment_id,
                run_name=None if run_id else name,
                tags={key: str(value) for key, value in tags.items()},  # a server refuses numbers
            )
        held = [opened.info.run_id]
        if parent:
            held.append(parent)
        return held

    with (
        launching_run.kept(),
        _failed_if_interrupted(),
        hold_runs(start),
        active_run() as opened,
        _failure_noted(),
    ):
        if tags.get("git_dirty") == "true":
            mlflow.log_text(git_state.patch(), f"{tags['stage']}.patch")
        if "error" in opened.data.tags:  # of an earlier attempt
            mlflow.delete_tag("error")
        yield opened


def _name_and_tags_of_new_run(
    name: str, tags: dict[str, str], parent: str | None
) -> tuple[str, dict[str, str]]:
    """The name of a new run (in a DVC experiment, the experiment's) and its tags."""
    tags = {**tags, **workspace_tag()}
    if parent:
        tags = {**tags, "mlflow.parentRunId": parent}
    if "DVC_EXP_NAME" in os.environ:
        name = os.environ["DVC_EXP_NAME"]
        tags = {**tags, "dvc_experiment": name}
    return name, tags


@contextmanager
def _failed_if_interrupted() -> Iterator[None]:
    """Let a run be FAILED that is interrupted while it is opened.

    MLflow ends a run that is still active when the process ends, and calls it FINISHED.
    """
    import mlflow

    try:
        yield
    except BaseException as error:
        if mlflow.active_run():
            mlflow.set_tag("error", _error_text(error))
            mlflow.end_run("FAILED")
        raise


@contextmanager
def _failure_noted() -> Iterator[None]:
    """Tag the active run with the error that ends it, if the store still answers.

    Raises:
        UserError: a file that the body writes is not writable.
    """
    import mlflow

    try:
        yield
    except BaseException as error:
        if store_errors.is_gone(error):  # MLflow closes the run next, and need not wait once more
            os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        else:
            mlflow.set_tag("error", _error_text(error))
        if isinstance(error, OSError) and error.filename and error.errno in UNWRITABLE:
            raise UserError(
                f"{error.filename} cannot be written: {error.strerror}; mend that, and try again"
            ) from None
        raise


def _error_text(error: BaseException) -> str:
    """The type of an error and its message; KeyboardInterrupt has none."""
    name = type(error).__name__
    return f"{name}: {error}"[:LONGEST_ERROR] if str(error) else name


def active_run() -> ActiveRun:
    """The run that `open_run` opened."""
    import mlflow

    run = mlflow.active_run()
    assert run is not None, "no run is open"
    return run


def quote_value(value: str) -> str:
    """A value in a filter for MLflow's search, between quotes that it does not contain.

    Raises:
        UserError: it contains both kinds, and MLflow's filters have no escape.
    """
    for quote in ("'", '"'):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise UserError(
        f"{value[:100]} has both kinds of quotes, which MLflow cannot search for; choose another "
        "name"
    )


def find_run(**tags: str) -> Run | None:
    """The latest run with these tags in any experiment, or None."""
    store.connect()
    import mlflow

    conditions = [f"tags.{key} = {quote_value(value)}" for key, value in tags.items()]
    matches = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=" and ".join(conditions),
        output_format="list",
        max_results=1,
    )
    return matches[0] if matches else None


def run_exists(run_id: str) -> bool:
    """Whether the store has a run of this id."""
    store.connect()
    import mlflow

    try:
        return bool(mlflow.get_run(run_id))
    except mlflow.MlflowException:
        return False


def lineage_of_active_run() -> dict[str, str]:
    """The tags of the active run that a version carries too: neither MLflow's own nor its stage."""
    import mlflow

    tags = mlflow.get_run(active_run().info.run_id).data.tags
    lineage_tags = {}
    for key, value in tags.items():
        if not key.startswith("mlflow.") and key != "stage":
            lineage_tags[key] = value
    return lineage_tags
