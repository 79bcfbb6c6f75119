"""The only module that opens MLflow runs.

MLFLOW_TRACKING_URI decides where they go; without it, to SQLite in the project's root. A run is
found again by the md5 of the model it made, never by an id handed from process to process.
"""

import errno
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from churn import paths
from churn.errors import UserError
from churn.tracking import git_state, leftovers, store, store_errors

UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}


def workspace_tag() -> dict[str, str]:
    """The tag that names the folder in which a stage runs: only its own evaluation completes a
    training run.
    """
    return {"workspace": f"{platform.node()}:{Path.cwd()}"}


def open_runs_folder() -> Path:
    """The folder in which each process of this project notes the runs that it works on."""
    return paths.project_root() / ".dvc/tmp/open-runs"


@contextmanager
def hold_runs(start: Callable[[], list[str]]) -> Iterator[None]:
    """Note that this process works on runs, for the time of the `with`: one that is killed
    meanwhile leaves them RUNNING, and the next that notes something in this folder sets them to
    KILLED.

    Args:
        start: opens the runs, and gives their ids.
    """
    with leftovers.exclusive(open_runs_folder()):
        _close_abandoned()
        noted = leftovers.note_runs(open_runs_folder(), store.tracking_uri(), start())
    with noted:
        yield


def close_abandoned() -> None:
    """Set to KILLED the runs of this project on which nobody works any more."""
    store.connect()
    with leftovers.exclusive(open_runs_folder()):
        _close_abandoned()


def _close_abandoned() -> None:
    import mlflow

    client = mlflow.MlflowClient()
    for run_id, notes in leftovers.abandoned_runs(open_runs_folder(), store.tracking_uri()).items():
        try:
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_tag(run_id, "error", "its process was killed")
                client.set_terminated(run_id, "KILLED")
        except mlflow.MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise  # else it has been deleted
        for note in notes:
            note.unlink(missing_ok=True)


@contextmanager
def open_run(name: str, tags: dict[str, str], run_id: str | None = None) -> Iterator:
    """Open a run, or resume `run_id`; under a launcher (`mlflow run`, a sweep) a new run is the
    launcher's child.

    A run from a workspace that differs from its commit holds the difference. A run that ends in an
    error is FAILED and says why in its tag `error`; what a process that was killed left RUNNING
    becomes KILLED here.

    Raises:
        UserError: the folder of the artifacts, or what is written otherwise, cannot be written.
    """
    import mlflow

    experiment = store.connect()
    # MLflow would log into the launcher's run, and all stages would collide there.
    parent = os.environ.pop("MLFLOW_RUN_ID", None)
    if run_id is None and parent:
        tags = {**tags, "mlflow.parentRunId": parent}
    if run_id is None and "DVC_EXP_NAME" in os.environ:
        name = os.environ["DVC_EXP_NAME"]
        tags = {**tags, "dvc_experiment": name}
    name = None if run_id else name
    tags = {
        key: str(value) for key, value in tags.items()
    }  # a server refuses a tag that is a number
    store.check_artifact_root()

    def start() -> list[str]:
        opened = mlflow.start_run(run_id=run_id, experiment_id=experiment, run_name=name, tags=tags)
        return [opened.info.run_id, *filter(None, [parent])]

    with hold_runs(start), mlflow.active_run() as opened:
        if tags.get("git_dirty") == "true":
            mlflow.log_text(git_state.patch(), f"{tags['stage']}.patch")
        if "error" in opened.data.tags:
            mlflow.delete_tag("error")  # of an earlier attempt
        try:
            yield opened
        except BaseException as error:
            why = (
                f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            )  # Ctrl-C has no words
            if store_errors.is_gone(error):  # MLflow closes the run next: it need not wait again
                os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
            else:
                mlflow.set_tag("error", why[:5000])
            if isinstance(error, OSError) and error.filename and error.errno in UNWRITABLE:
                said = f"{error.filename} cannot be written: {error.strerror}; mend that, and try again"
                raise UserError(said) from None
            raise


def quote_value(value: str) -> str:
    """A value in a filter of MLflow's, between the quotes that it does not hold itself.

    Raises:
        UserError: it holds both kinds, and MLflow's filters know no way to write that.
    """
    for quote in ("'", '"'):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise UserError(
        f"{value[:100]} has both kinds of quotes, which MLflow cannot search for; choose another name"
    )


def find_run(**tags: str):
    """The latest run with these tags in any experiment, or None."""
    import mlflow

    store.connect()
    where = " and ".join(f"tags.{key} = {quote_value(value)}" for key, value in tags.items())
    found = mlflow.search_runs(
        search_all_experiments=True, filter_string=where, output_format="list", max_results=1
    )
    return found[0] if found else None


def run_exists(run_id: str) -> bool:
    """Whether the store has a run of this id."""
    import mlflow

    store.connect()
    try:
        return bool(mlflow.get_run(run_id))
    except mlflow.MlflowException:
        return False
