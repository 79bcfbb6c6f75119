"""The only module that opens MLflow runs.

MLFLOW_TRACKING_URI decides where they go; without it, to SQLite in the project's root. A run is found again by the
md5 of the model it made, never by an id handed from process to process.
"""

import errno
import hashlib
import logging
import os
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from churn import leftovers, lineage, store
from churn.errors import UserError

# MLflow's own switch; DO_NOT_TRACK does not reach it. Set it to "false" to send telemetry.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# No model of this project is a pickle, so none may become one: unpickling runs whatever code it holds.
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
# MLflow's own 7 retries wait for more than four minutes without a word.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")

SQLITE = "sqlite:///"
UNWRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR}


def root() -> Path:
    """The project's root; DVC_ROOT names it also inside the temporary copies that `dvc exp run --temp` works in."""
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()


def sqlite_path(uri: str) -> Path | None:
    """The file that a SQLite URI names, a relative one in the project's root; None for the URI of another store.

    MLflow's launcher writes a blank as `%20`; SQLAlchemy reads such signs wherever they stand.
    """
    if not uri.startswith(SQLITE):
        return None
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return root() / unquote(path)


def sqlite_uri(path: Path) -> str:
    """The URI of a SQLite file, for MLflow and for Optuna (to which braces mean something). Only what would be read
    as something else is written as `%..`: MLflow makes the folder of a URI as it is written, and would leave an empty
    `my%20project` beside `my project`."""
    misread = re.compile("%(?=[0-9A-Fa-f]{2})|[?{}]")
    return SQLITE + misread.sub(lambda sign: quote(sign[0]), str(path.absolute()))


def uri() -> str:
    """MLFLOW_TRACKING_URI, a relative SQLite path in it made absolute; else the project's own SQLite file."""
    given = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    path = sqlite_path(given)
    if path is None:
        return given
    _, mark, options = given.partition("?")
    return f"{sqlite_uri(path)}{mark}{options}"


def store_file() -> Path | None:
    """The SQLite file of the store, or None where the store is a server."""
    return sqlite_path(uri())


def artifact_root() -> str:
    """The URI of the folder that holds the artifacts of a SQLite store."""
    return (root() / "mlartifacts").as_uri()


def connect() -> str:
    """Point MLflow at the store, create what is missing, and return the id of the experiment.

    The experiment is the launcher's (`mlflow run` sets MLFLOW_EXPERIMENT_ID), else MLFLOW_EXPERIMENT_NAME, else named
    as the project is.

    Raises:
        UserError: the store cannot be used, or the experiment was deleted.
    """
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # shows a traceback of all that it raises
    if store_file():
        store.check_environment(mlflow.__file__)
        create_store(store_file())
    store.check(uri())
    mlflow.set_tracking_uri(uri())
    try:
        experiment = _experiment()
    except mlflow.MlflowException as error:
        raise UserError(store.explained(error)) from None
    if experiment is None or experiment.experiment_id == "":  # of something that answers in JSON to whatever is asked
        raise UserError(f"{store.shown(uri())} answers, and is no MLflow server; {store.NAME_ANOTHER}")
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment {experiment.name} was deleted; `mlflow experiments restore --experiment-id "
            f"{experiment.experiment_id}` brings it back, or let MLFLOW_EXPERIMENT_NAME name another"
        )
    return experiment.experiment_id


def _experiment():
    """The experiment that runs go into, created if it is missing.

    Raises:
        UserError: MLFLOW_EXPERIMENT_ID names none.
    """
    import mlflow

    if number := os.environ.get("MLFLOW_EXPERIMENT_ID"):
        try:
            return mlflow.get_experiment(number)
        except mlflow.MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise UserError(
                f"MLFLOW_EXPERIMENT_ID is {number}, and {store.shown(uri())} has no such experiment; unset it, or let "
                "MLFLOW_EXPERIMENT_NAME name one, which is created if it is missing"
            ) from None
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or lineage.project()["name"]
    if found := mlflow.get_experiment_by_name(name):
        return found
    # A server knows its artifact store; for a bare database the default would be the current folder.
    local = None if uri().startswith("http") else artifact_root()
    try:
        return mlflow.get_experiment(mlflow.create_experiment(name, artifact_location=local))
    except mlflow.MlflowException:
        if found := mlflow.get_experiment_by_name(name):  # another process was faster
            return found
        raise


def create_store(path: Path) -> None:
    """Create MLflow's SQLite file if there is none. Built beside and linked into place whole: a file that several
    processes migrate at once breaks most of them.

    Raises:
        UserError: it cannot be made; or the file is another user's: SQLite serves one person on one machine, a team
            shares a server.
    """
    if path.exists():
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            raise UserError(
                f"{path} belongs to another user, and SQLite is no store for a team: it locks, and it corrupts on a "
                "network drive. Point MLFLOW_TRACKING_URI at an MLflow server, or use a clone of your own"
            )
        return
    if not path.parent.is_dir():
        raise UserError(f"MLFLOW_TRACKING_URI names {path}, and there is no folder {path.parent}; create it")
    import sqlalchemy
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        SqlAlchemyStore(sqlite_uri(part), artifact_root())._dispose_engine()
        os.link(part, path)
    except FileExistsError:
        pass
    except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be made ({reason}); may you write into {path.parent}?") from None
    finally:
        part.unlink(missing_ok=True)


def workspace() -> dict[str, str]:
    """The tag that names the folder in which a stage runs: only its own evaluation completes a training run."""
    return {"workspace": f"{platform.node()}:{Path.cwd()}"}


def note_executed(stage: str) -> None:
    """Tell the launching run (`mlflow run`, a sweep), if there is one, that a stage ran rather than came from DVC's
    cache."""
    if "MLFLOW_RUN_ID" in os.environ:
        import mlflow

        connect()
        mlflow.MlflowClient().set_tag(os.environ["MLFLOW_RUN_ID"], f"executed.{stage}", "true")


def open_runs() -> Path:
    """The folder in which each process of this project notes the runs that it works on."""
    return root() / ".dvc/tmp/open-runs"


@contextmanager
def held(start: Callable[[], list[str]]) -> Iterator[None]:
    """Note that this process works on runs, for the time of the `with`: one that is killed meanwhile leaves them
    RUNNING, and the next that notes something in this folder sets them to KILLED.

    Args:
        start: opens the runs, and gives their ids.
    """
    with leftovers.turn(open_runs()):
        _close_abandoned()
        noted = leftovers.hold(open_runs(), uri(), start())
    with noted:
        yield


def close_abandoned() -> None:
    """Set to KILLED the runs of this project on which nobody works any more."""
    connect()
    with leftovers.turn(open_runs()):
        _close_abandoned()


def _close_abandoned() -> None:
    import mlflow

    client = mlflow.MlflowClient()
    for run_id, notes in leftovers.abandoned(open_runs(), uri()).items():
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
def run(name: str, tags: dict[str, str], run_id: str | None = None) -> Iterator:
    """Open a run, or resume `run_id`; under a launcher (`mlflow run`, a sweep) a new run is the launcher's child.

    A run from a workspace that differs from its commit holds the difference. A run that ends in an error is FAILED
    and says why in its tag `error`; what a process that was killed left RUNNING becomes KILLED here.

    Raises:
        UserError: the folder of the artifacts, or what is written otherwise, cannot be written.
    """
    import mlflow

    experiment = connect()
    # MLflow would log into the launcher's run, and all stages would collide there.
    parent = os.environ.pop("MLFLOW_RUN_ID", None)
    if run_id is None and parent:
        tags = {**tags, "mlflow.parentRunId": parent}
    if run_id is None and "DVC_EXP_NAME" in os.environ:
        name = os.environ["DVC_EXP_NAME"]
        tags = {**tags, "dvc_experiment": name}
    name = None if run_id else name
    tags = {key: str(value) for key, value in tags.items()}  # a server refuses a tag that is a number
    check_artifact_root()

    def start() -> list[str]:
        opened = mlflow.start_run(run_id=run_id, experiment_id=experiment, run_name=name, tags=tags)
        return [opened.info.run_id, *filter(None, [parent])]

    with held(start), mlflow.active_run() as opened:
        if tags.get("git_dirty") == "true":
            mlflow.log_text(lineage.patch(), f"{tags['stage']}.patch")
        if "error" in opened.data.tags:
            mlflow.delete_tag("error")  # of an earlier attempt
        try:
            yield opened
        except BaseException as error:
            why = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__  # Ctrl-C has no words
            if store.is_gone(error):  # MLflow closes the run next: it need not wait again
                os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
            else:
                mlflow.set_tag("error", why[:5000])
            if isinstance(error, OSError) and error.filename and error.errno in UNWRITABLE:
                said = f"{error.filename} cannot be written: {error.strerror}; mend that, and try again"
                raise UserError(said) from None
            raise


def check_artifact_root() -> None:
    """Refuse, before anything is computed, a folder of artifacts that cannot be written.

    Raises:
        UserError: that is so.
    """
    folder = root() / "mlartifacts"
    if store_file() and folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise UserError(
            f"{folder}, the folder of MLflow's artifacts, cannot be written; let it be yours and writable "
            "(`ls -ld mlartifacts` says whose it is), and try again"
        )


def quoted(value: str) -> str:
    """A value in a filter of MLflow's, between the quotes that it does not hold itself.

    Raises:
        UserError: it holds both kinds, and MLflow's filters know no way to write that.
    """
    for quote in ("'", '"'):
        if quote not in value:
            return f"{quote}{value}{quote}"
    raise UserError(f"{value[:100]} has both kinds of quotes, which MLflow cannot search for; choose another name")


def find_run(**tags: str):
    """The latest run with these tags in any experiment, or None."""
    import mlflow

    connect()
    where = " and ".join(f"tags.{key} = {quoted(value)}" for key, value in tags.items())
    found = mlflow.search_runs(search_all_experiments=True, filter_string=where, output_format="list", max_results=1)
    return found[0] if found else None


def knows(run_id: str) -> bool:
    """Whether the store has a run of this id."""
    import mlflow

    connect()
    try:
        return bool(mlflow.get_run(run_id))
    except mlflow.MlflowException:
        return False


def log_data(path: Path, digest: str, name: str, context: str) -> None:
    """Name a table as an input of the active run, with its DVC md5 as the digest (MLflow's own digest reads
    only the first 10,000 rows)."""
    import mlflow
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset

    with warnings.catch_warnings():  # it knows two names of one kind of source
        warnings.simplefilter("ignore")
        source = resolve_dataset_source(str(path))
    mlflow.log_input(MetaDataset(source, name=name, digest=digest), context=context)


REFUSED = re.compile(r"[^\w.\- ]")  # what a metric's name cannot have; `/` and `:` mean something to MLflow or to us
LONGEST_KEY = 250


def key(name: str) -> str:
    """The name of a metric that has a user's text in it (a column, a label), as MLflow takes it: `$` is `:24:`, and
    what is too long ends with a hash. Two names stay two keys."""
    text = REFUSED.sub(lambda sign: f":{ord(sign[0]):X}:", name)
    if len(text) <= LONGEST_KEY:
        return text
    return f"{text[: LONGEST_KEY - 33]}:{hashlib.md5(name.encode()).hexdigest()}"


def log_numbers(numbers: dict[str, float]) -> None:
    """Log metrics into the active run, by names that may have a user's text in them."""
    import mlflow

    items = [(key(name), number) for name, number in numbers.items()]
    for start in range(0, len(items), 1000):  # the most that one call takes
        mlflow.log_metrics(dict(items[start : start + 1000]))


def curve_points(curves, time: int) -> list:
    """Learning curves (a column `round`, and a curve in every other column) as MLflow metrics, all logged at `time`,
    in milliseconds since 1970."""
    from mlflow.entities import Metric

    rounds = curves["round"].astype(int).tolist()
    return [Metric(name, y, time, x) for name in curves.columns.drop("round") for x, y in zip(rounds, curves[name])]


def log_evaluated(leaves: dict, origin: dict[str, str]) -> None:
    """Log into the active run what an evaluated model was made with and of: parameters and tables."""
    import mlflow

    mlflow.log_params(leaves)
    for name, context in (("train", "training"), ("valid", "validation"), ("test", "testing")):
        log_data(lineage.SPLITS[name], origin[f"{name}_md5"], name, context)


def log_training(leaves: dict, origin: dict[str, str], contract, booster) -> None:
    """Log the model run's first half into the active run: parameters, data, learning curves (from the file that
    training left) and the booster in its framework flavor."""
    import mlflow
    import pandas as pd

    opened = mlflow.active_run()
    log_evaluated(leaves, origin)
    mlflow.set_tags({**origin, "model_md5": lineage.md5(lineage.MODEL)})
    points = curve_points(pd.read_csv(lineage.CURVES), opened.info.start_time)
    client = mlflow.MlflowClient()
    for start in range(0, len(points), 1000):  # the most that one log_batch takes
        client.log_batch(opened.info.run_id, metrics=points[start : start + 1000])
    mlflow.xgboost.log_model(
        booster,
        name="booster",
        model_format="ubj",
        signature=contract.signature(),
        pip_requirements=lineage.requirements(*lineage.MODEL_PACKAGES),
    )


def log_evaluation(results: dict[str, float], pictures: Path) -> None:
    """Log the model run's second half into the active run: test metrics, plots as PNG, and the files that made them.

    Args:
        results: the numbers of reports/metrics.json.
        pictures: a folder of PNG files.
    """
    import mlflow

    mlflow.log_metrics(results)
    mlflow.log_artifacts(str(pictures), "plots")
    for path in ("params.yaml", lineage.METRICS, lineage.SCHEMA):
        mlflow.log_artifact(str(path))


def log_trial(parent, number: int, state: str, start: int, params: dict, results: dict, curves) -> None:
    """Write one trial of a search as a child of the search's run, in three calls.

    A child is made when its trial is over: a process that is killed in the middle of a trial leaves none behind.

    Args:
        parent: the search's run.
        start: when the trial began, in milliseconds since 1970.
        curves: as `curve_points` takes them.
    """
    import mlflow
    from mlflow.entities import Metric, Param

    client = mlflow.MlflowClient()
    now = int(time.time() * 1000)
    tags = {"mlflow.parentRunId": parent.info.run_id, "stage": "trial", "trial": str(number), "trial_state": state}
    made = []

    def create() -> list[str]:
        child = client.create_run(parent.info.experiment_id, start, tags, run_name=f"trial {number}")
        made.append(child.info.run_id)
        return made

    with held(create):
        (child,) = made
        try:
            client.log_batch(
                child,
                metrics=[Metric(name, value, now, 0) for name, value in results.items()] + curve_points(curves, now),
                params=[Param(name, str(value)) for name, value in params.items()],
            )
            client.set_terminated(child)
        except BaseException:
            client.set_terminated(child, "KILLED")
            raise


def close_trials(parent, finished: set[str]) -> None:
    """Set to KILLED the trials' runs that a killed process left open, or wrote for a trial that does not count.

    Args:
        finished: the numbers of the trials that count.
    """
    import mlflow

    where = f"tags.mlflow.parentRunId = '{parent.info.run_id}' and tags.stage = 'trial'"
    for child in mlflow.search_runs([parent.info.experiment_id], where, output_format="list"):
        if child.data.tags["trial"] not in finished and child.info.status != "KILLED":
            mlflow.MlflowClient().set_terminated(child.info.run_id, "KILLED")


def executed(launcher: str) -> list[str]:
    """The stages that ran under a launcher's run, rather than come from DVC's cache."""
    import mlflow

    tags = mlflow.get_run(launcher).data.tags
    return [stage for stage in ("preprocess", "train", "evaluate") if f"executed.{stage}" in tags]


def failure(launcher: str) -> str:
    """Why a stage failed under a launcher's run, or "" if none did."""
    import mlflow

    ended = "attributes.status != 'FINISHED' and attributes.status != 'RUNNING'"
    where = f"tags.mlflow.parentRunId = '{launcher}' and {ended}"
    failed = mlflow.search_runs(search_all_experiments=True, filter_string=where, output_format="list")
    return failed[0].data.tags.get("error", "") if failed else ""


def log_launcher(run_id: str, leaves: dict, results: dict[str, float], tags: dict[str, str]) -> None:
    """Write parameters, metrics, tags and dvc.lock into the run that launched the pipeline."""
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient()
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in results.items()],
        params=[Param(name, str(value)) for name, value in leaves.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    client.log_artifact(run_id, "dvc.lock")
