"""Open the MLflow runs of the commands, and find them again.

MLFLOW_TRACKING_URI decides where they go; without it, to SQLite in the project's root. The run of a
model is found by the model's md5, never by an id that one process hands to another. (The parent of
a run, which launched it, is known by its id: launching_run.py.)
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from churn.errors import UserError
from churn.tracking import git_state, held_runs, launching_run, store, store_errors

if TYPE_CHECKING:
    from mlflow import ActiveRun
    from mlflow.entities import Run

UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}
LONGEST_ERROR = 5000  # characters of the tag `error`


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
    new_name = None  # a run that is resumed keeps its own
    if run_id is None:
        new_name, tags = _name_and_tags_of_new_run(name, tags, parent)

    def start() -> list[str]:
        with launching_run.hidden_from_mlflow():
            opened = mlflow.start_run(
                run_id=run_id,
                experiment_id=experiment_id,
                run_name=new_name,
                tags={key: str(value) for key, value in tags.items()},  # a server refuses numbers
            )
        held = [opened.info.run_id]
        if parent:
            held.append(parent)
        return held

    with (
        launching_run.kept(),
        _failed_if_interrupted(),
        held_runs.hold_runs(start),
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
    tags = {**tags, **held_runs.workspace_tag()}
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


def find_run(**tags: str) -> Run | None:
    """The latest run with these tags in any experiment, or None."""
    store.connect()
    import mlflow

    conditions = [f"tags.{key} = {store.quote_value(value)}" for key, value in tags.items()]
    matches = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=" and ".join(conditions),
        output_format="list",
        max_results=1,
    )
    return matches[0] if matches else None


# only experiments or forensics
def run_exists(run_id: str) -> bool:
    """Whether the store has a run of this id."""
    store.connect()
    import mlflow

    try:
        return bool(mlflow.get_run(run_id))
    except mlflow.MlflowException:
        return False


# end
def lineage_of_active_run() -> dict[str, str]:
    """The tags of the active run that a version carries too: without MLflow's own and `stage`."""
    import mlflow

    tags = mlflow.get_run(active_run().info.run_id).data.tags
    lineage_tags = {}
    for key, value in tags.items():
        if not key.startswith("mlflow.") and key != "stage":
            lineage_tags[key] = value
    return lineage_tags
