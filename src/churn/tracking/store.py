"""Connect to the MLflow store; the default is a SQLite file in the project's root."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from churn import paths
from churn.errors import UserError
from churn.tracking import environment, mlflow_page, store_checks, store_errors

if TYPE_CHECKING:
    from mlflow.entities import Experiment

SQLITE = "sqlite:///"


def configure_mlflow() -> None:
    """Set MLflow's environment variables and logging, before anything of MLflow is imported.

    MLflow reads its switch for telemetry when it is imported, so in this project `import mlflow`
    comes after `connect`.
    """
    # DO_NOT_TRACK does not turn telemetry off. Set this one to "false" to send it.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # MLflow's own 7 retries wait for more than four minutes without a word.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")
    # No model of this project is a pickle, so none may become one: unpickling runs any code that
    # the file holds.
    os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    # It logs a traceback for each error that it raises.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)


def sqlite_path(uri: str) -> Path | None:
    """The file that a SQLite URI names, a relative one in the project's root; None for the URI of
    another store.

    MLflow's launcher writes a blank as `%20`; SQLAlchemy decodes such signs wherever they stand.
    """
    if not uri.startswith(SQLITE):
        return None
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return paths.project_root() / unquote(path)


def sqlite_uri(path: Path) -> str:
    """The URI of a SQLite file, as SQLAlchemy reads it (to which braces mean something).

    Only what would be read as something else is percent-encoded: MLflow makes the folder of a URI
    as it is written, and would leave an empty `my%20project` beside `my project`.
    """
    misread = re.compile("%(?=[0-9A-Fa-f]{2})|[?{}]")
    return SQLITE + misread.sub(lambda sign: quote(sign[0]), str(path.absolute()))


def tracking_uri() -> str:
    """The store's URI: MLFLOW_TRACKING_URI, else the project's own SQLite file.

    A relative SQLite path becomes an absolute one.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    path = sqlite_path(given)
    if path is None:
        return given
    _, separator, options = given.partition("?")
    return f"{sqlite_uri(path)}{separator}{options}"


def store_file() -> Path | None:
    """The SQLite file of the store, or None where the store is a server."""
    return sqlite_path(tracking_uri())


def artifact_folder() -> Path:
    """The folder that holds the artifacts of a SQLite store."""
    return paths.project_root() / "mlartifacts"


def connect() -> str:
    """Configure MLflow, point it at the store, create what is missing.

    The experiment is the launcher's (`mlflow run` sets MLFLOW_EXPERIMENT_ID), else
    MLFLOW_EXPERIMENT_NAME, else named as the project is.

    Returns:
        The id of the experiment.

    Raises:
        UserError: the store cannot be used, or the experiment was deleted.
    """
    configure_mlflow()
    import mlflow

    path = store_file()
    if path:
        store_checks.check_environment(mlflow.__file__)
        store_checks.check_local_disk(path)
        create_store(path)
    store_checks.check_store(tracking_uri())
    mlflow.set_tracking_uri(tracking_uri())

    try:
        experiment = _find_or_create_experiment()
        _check_experiment(experiment)
        mlflow_page.prepare_experiment(experiment)
    except mlflow.MlflowException as error:
        raise UserError(store_errors.explain_store_error(error)) from None
    return str(experiment.experiment_id)


def _find_or_create_experiment() -> Experiment:
    """The experiment that runs go into.

    Raises:
        UserError: MLFLOW_EXPERIMENT_ID names none.
    """
    import mlflow

    experiment_id = os.environ.get("MLFLOW_EXPERIMENT_ID")
    if experiment_id:
        return _experiment_by_id(experiment_id)

    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or environment.read_project()["name"]
    experiment = mlflow.get_experiment_by_name(name)
    if experiment:
        return experiment

    # A server has an artifact store of its own; for a bare database MLflow's default would be the
    # current folder.
    location = None if tracking_uri().startswith("http") else artifact_folder().as_uri()
    try:
        experiment_id = mlflow.create_experiment(name, location, mlflow_page.experiment_tags())
        return mlflow.get_experiment(experiment_id)
    except mlflow.MlflowException:
        experiment = mlflow.get_experiment_by_name(name)  # another process was faster
        if experiment:
            return experiment
        raise


def _experiment_by_id(experiment_id: str) -> Experiment:
    import mlflow

    try:
        return mlflow.get_experiment(experiment_id)
    except mlflow.MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        address = store_errors.without_password(tracking_uri())
        raise UserError(
            f"MLFLOW_EXPERIMENT_ID is {experiment_id}, and {address} has no such experiment; unset "
            "it, or let MLFLOW_EXPERIMENT_NAME name one, which is created if it is missing"
        ) from None


def _check_experiment(experiment: Experiment | None) -> None:
    """Refuse the answer of something that is no MLflow server, and a deleted experiment.

    Raises:
        UserError: that is so.
    """
    # A server that answers any request with some JSON.
    if experiment is None or experiment.experiment_id == "":
        address = store_errors.without_password(tracking_uri())
        raise UserError(f"{address} answers, and is no MLflow server; {store_errors.NAME_ANOTHER}")
    if experiment.lifecycle_stage == "deleted":
        raise UserError(
            f"the MLflow experiment {experiment.name} was deleted; `mlflow experiments restore "
            f"--experiment-id {experiment.experiment_id}` brings it back, or let "
            "MLFLOW_EXPERIMENT_NAME name another"
        )


def create_store(path: Path) -> None:
    """Create MLflow's SQLite file if there is none.

    It is built under another name and linked into place whole: a file that several processes
    migrate at once breaks most of them.

    Raises:
        UserError: it cannot be created; or the file is another user's: SQLite serves one person on
            one machine, a team shares a server.
    """
    if path.exists():
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            raise UserError(
                f"{path} belongs to another user, and SQLite is no store for a team: it locks, and "
                "it corrupts on a network drive. Point MLFLOW_TRACKING_URI at an MLflow server, or "
                "use a clone of your own"
            )
        return
    if not path.parent.is_dir():
        raise UserError(
            f"MLFLOW_TRACKING_URI names {path}, and there is no folder {path.parent}; create it"
        )
    import sqlalchemy
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        new_store = SqlAlchemyStore(sqlite_uri(part), artifact_folder().as_uri())
        new_store.engine.dispose()  # nothing holds the file when it gets its name
        os.link(part, path)
    except FileExistsError:  # another process was faster
        pass
    except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be made ({reason}); may you write into {path.parent}?"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def check_artifact_root() -> None:
    """Refuse, before anything is computed, a folder of artifacts that is not writable.

    Raises:
        UserError: that is so.
    """
    folder = artifact_folder()
    if not store_file() or not folder.exists():
        return
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"{folder}, the folder of MLflow's artifacts, cannot be written; let it be yours and "
            "writable (`ls -ld mlartifacts` says whose it is), and try again"
        )


def quote_value(value: str) -> str:
    """A value in a filter for MLflow's search, between quotes that it does not contain.

    Raises:
        UserError: it contains both kinds, and MLflow's filters have no escape.
    """
    for sign in ("'", '"'):
        if sign not in value:
            return f"{sign}{value}{sign}"
    raise UserError(
        f"{value[:100]} has both kinds of quotes, which MLflow cannot search for; choose another "
        "name"
    )
