"""Which MLflow stores can be used, and what the errors of MLflow and of its libraries mean."""

import os
import re
from pathlib import Path

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
# The libraries that reach a store.
LIBRARIES = {"mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "databricks"}
NAME_ANOTHER = (
    "let MLFLOW_TRACKING_URI name a server (http://HOST:PORT), or unset it: the project has a "
    "SQLite file of its own"
)
NO_ANSWER = re.compile("failed with (exception|timeout)|Max retries|Connection")
NOT_MLFLOW = re.compile("valid JSON format|error code 3..")
OTHER_SCHEMA = re.compile(r"database schema \(found version (\w+)")
DAMAGED_FILE = re.compile("malformed|not a database|no such table|has no column")


def scheme(store: str) -> str:
    """The beginning of a store's address: http, https, sqlite, postgresql (also for
    postgresql+psycopg2), ...
    """
    letters = re.match(r"[a-z\-]*", store)
    return letters[0] if letters else ""


def without_password(store: str) -> str:
    """A store's address as a message may show it: without its password."""
    return re.sub(r"(//[^/@:]*):.*@", r"\1:***@", store)


def is_store_error(error: BaseException) -> bool:
    """Whether an exception is one of MLflow, or of the libraries with which it reaches a store."""
    libraries = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    return not LIBRARIES.isdisjoint(libraries)


def is_gone(error: BaseException) -> bool:
    """Whether an exception means that the store does not answer."""
    return is_store_error(error) and NO_ANSWER.search(str(error)) is not None


def store_address() -> str:
    """The store's address as the user gave it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def explain_store_error(error: BaseException) -> str:
    """What an exception of MLflow, or of a library with which it reaches a store, means to the
    user; "" for any other exception.
    """
    if not is_store_error(error):
        return ""
    address = without_password(store_address())
    store = f"the MLflow store {address}"
    message = _first_line(error)
    code = getattr(error, "error_code", "")

    if "got unsupported URI" in message:
        return (
            f"MLFLOW_TRACKING_URI is {address}, a kind of store that MLflow does not know; "
            f"{NAME_ANOTHER}"
        )
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
        return (
            f"{store} does not know you (401); MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, say who you are"
        )
    if code == "PERMISSION_DENIED":
        return f"{store} does not allow this (403: {message}); ask whoever runs it for the right"
    if code == "ENDPOINT_NOT_FOUND" or NOT_MLFLOW.search(message):
        return f"{address} answers, and is no MLflow server ({message}); {NAME_ANOTHER}"
    if is_gone(error):
        request = message.split(" failed with")[0]
        return (
            f"{store} does not answer (any more; {request}); start it, then run the command again"
        )
    schema = OTHER_SCHEMA.search(message)
    if schema:
        return f"{store} {_schema_message(schema[1], address)}"
    if scheme(store_address()) == "sqlite" and DAMAGED_FILE.search(message):
        return damaged_message(message)
    return f"{store} failed: {message}"


def _schema_message(revision: str, address: str) -> str:
    """What to do about a database whose tables another version of MLflow made.

    Args:
        revision: of the tables; MLflow has one migration for each that it knows.
    """
    import mlflow

    migrations = Path(mlflow.__file__).parent / "store/db_migrations/versions"
    if list(migrations.glob(f"{revision}_*.py")):
        return (
            f"has the tables of an earlier MLflow ({revision}); back it up, then "
            f"`mlflow db upgrade {address}` changes them for good"
        )
    return (
        f"has the tables ({revision}) of a later MLflow than {mlflow.__version__}; `make install` "
        "brings the version of the lock, or let MLFLOW_TRACKING_URI name another store"
    )


def _first_line(error: BaseException) -> str:
    """The first line of a message that says what happened, without a password; or its type."""
    for line in str(error).splitlines():
        if line.strip() and not line.startswith("(raised as a result"):
            return without_password(line.split(". Response body")[0])
    return type(error).__name__


def damaged_message(reason: str) -> str:
    """What is wrong with the SQLite file of the store, and what to do."""
    return (
        f"the MLflow store {store_address()} is damaged: {reason}; bring the file back from a "
        "backup, or move it away: `python src/report.py` then makes a new one and registers the "
        "workspace's model in it (what else was in it is lost)"
    )
