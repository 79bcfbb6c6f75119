"""Connect to the MLflow store; the default is a SQLite file in the project's root."""

import logging
import os
import re
from pathlib import Path
from urllib.parse import quote, unquote

from churn import paths
from churn.errors import UserError
from churn.tracking import environment, store_checks, store_errors

# MLflow's own switch; DO_NOT_TRACK does not reach it. Set it to "false" to send telemetry.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# No model of this project is a pickle, so none may become one: unpickling runs whatever code it
# holds.
os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] = "false"
# MLflow's own 7 retries wait for more than four minutes without a word.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")

SQLITE = "sqlite:///"


def sqlite_path(uri: str) -> Path | None:
    """The file that a SQLite URI names, a relative one in the project's root; None for the URI of
    another store.

    MLflow's launcher writes a blank as `%20`; SQLAlchemy reads such signs wherever they stand.
    """
    if not uri.startswith(SQLITE):
        return None
    path = uri.removeprefix(SQLITE).partition("?")[0]
    return paths.project_root() / unquote(path)


def sqlite_uri(path: Path) -> str:
    """The URI of a SQLite file, for MLflow and for Optuna (to which braces mean something).

    Only what would be read as something else is written as `%..`: MLflow makes the folder of a URI
    as it is written, and would leave an empty `my%20project` beside `my project`.
    """
    misread = re.compile("%(?=[0-9A-Fa-f]{2})|[?{}]")
    return SQLITE + misread.sub(lambda sign: quote(sign[0]), str(path.absolute()))


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, a relative SQLite path in it made absolute; else the project's own
    SQLite file.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    path = sqlite_path(given)
    if path is None:
        return given
    _, mark, options = given.partition("?")
    return f"{sqlite_uri(path)}{mark}{options}"


def store_file() -> Path | None:
    """The SQLite file of the store, or None where the store is a server."""
    return sqlite_path(tracking_uri())


def artifact_root() -> str:
    """The URI of the folder that holds the artifacts of a SQLite store."""
    return (paths.project_root() / "mlartifacts").as_uri()


def connect() -> str:
    """Point MLflow at the store, create what is missing, and return the id of the experiment.

    The experiment is the launcher's (`mlflow run` sets MLFLOW_EXPERIMENT_ID), else
    MLFLOW_EXPERIMENT_NAME, else named as the project is.

    Raises:
        UserError: the store cannot be used, or the experiment was deleted.
    """
    import mlflow

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # shows a traceback of all that it raises
    if store_file():
        store_checks.check_environment(mlflow.__file__)
        create_store(store_file())
    store_checks.check_store(tracking_uri())
    mlflow.set_tracking_uri(tracking_uri())
    try:
        experiment = _experiment()
    except mlflow.MlflowException as error:
        raise UserError(store_errors.explain_store_error(error)) from None
    if (
        experiment is None or experiment.experiment_id == ""
    ):  # of something that answers in JSON to whatever is asked
        raise UserError(
            f"{store_errors.without_password(tracking_uri())} answers, and is no MLflow server; {store_errors.NAME_ANOTHER}"
        )
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
                f"MLFLOW_EXPERIMENT_ID is {number}, and {store_errors.without_password(tracking_uri())} has no such experiment; unset it, or let "
                "MLFLOW_EXPERIMENT_NAME name one, which is created if it is missing"
            ) from None
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or environment.read_project()["name"]
    if found := mlflow.get_experiment_by_name(name):
        return found
    # A server knows its artifact store; for a bare database the default would be the current
    # folder.
    local = None if tracking_uri().startswith("http") else artifact_root()
    try:
        return mlflow.get_experiment(mlflow.create_experiment(name, artifact_location=local))
    except mlflow.MlflowException:
        if found := mlflow.get_experiment_by_name(name):  # another process was faster
            return found
        raise


def create_store(path: Path) -> None:
    """Create MLflow's SQLite file if there is none.

    Built beside and linked into place whole: a file that several processes migrate at once breaks
    most of them.

    Raises:
        UserError: it cannot be made; or the file is another user's: SQLite serves one person on one
            machine, a team shares a server.
    """
    if path.exists():
        if hasattr(os, "getuid") and path.stat().st_uid != os.getuid():
            raise UserError(
                f"{path} belongs to another user, and SQLite is no store for a team: it locks, and it corrupts on a "
                "network drive. Point MLFLOW_TRACKING_URI at an MLflow server, or use a clone of your own"
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
        SqlAlchemyStore(sqlite_uri(part), artifact_root())._dispose_engine()
        os.link(part, path)
    except FileExistsError:
        pass
    except (OSError, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be made ({reason}); may you write into {path.parent}?"
        ) from None
    finally:
        part.unlink(missing_ok=True)


def check_artifact_root() -> None:
    """Refuse, before anything is computed, a folder of artifacts that cannot be written.

    Raises:
        UserError: that is so.
    """
    folder = paths.project_root() / "mlartifacts"
    if (
        store_file()
        and folder.exists()
        and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK))
    ):
        raise UserError(
            f"{folder}, the folder of MLflow's artifacts, cannot be written; let it be yours and writable "
            "(`ls -ld mlartifacts` says whose it is), and try again"
        )
