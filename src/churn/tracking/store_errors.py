"""Which MLflow stores can be used, and what the errors of MLflow and of its libraries mean to a
user.
"""

import os
import re

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
LIBRARIES = {
    "mlflow",
    "sqlalchemy",
    "alembic",
    "requests",
    "urllib3",
    "databricks",
}  # that reach a store
NAME_ANOTHER = "let MLFLOW_TRACKING_URI name a server (http://HOST:PORT), or unset it: the project has a SQLite file of its own"


def scheme(store: str) -> str:
    """What a store's address begins with: http, https, sqlite, postgresql (also for
    postgresql+psycopg2), ...
    """
    return re.match(r"[a-z\-]*", store)[0]


def without_password(store: str) -> str:
    """A store's address as a message may show it: without its password."""
    return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", store)


def is_store_error(error: BaseException) -> bool:
    """Whether an exception is one of MLflow, or of what it reaches its store with."""
    return not LIBRARIES.isdisjoint(kind.__module__.split(".")[0] for kind in type(error).__mro__)


def is_gone(error: BaseException) -> bool:
    """Whether an exception says that nobody answers at the store's address."""
    said = re.search("failed with (exception|timeout)|Max retries|Connection", str(error))
    return is_store_error(error) and said is not None


def store_address() -> str:
    """The store's address as the user gave it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def explain_store_error(error: BaseException) -> str:
    """What an exception of MLflow, or of what it reaches its store with, means to the user; "" for
    any other.
    """
    if not is_store_error(error):
        return ""
    store, name = store_address(), f"the MLflow store {without_password(store_address())}"
    lines = [
        line
        for line in str(error).splitlines()
        if line.strip() and not line.startswith("(raised as a result")
    ]
    words = without_password((lines or [type(error).__name__])[0].split(". Response body")[0])
    code = getattr(error, "error_code", "")
    if "got unsupported URI" in words:
        return f"MLFLOW_TRACKING_URI is {without_password(store)}, a kind of store that MLflow does not know; {NAME_ANOTHER}"
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
        return (
            f"{name} does not know you (401); MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, say who you are"
        )
    if code == "PERMISSION_DENIED":
        return f"{name} does not allow this (403: {words}); ask whoever runs it for the right"
    if (
        code == "ENDPOINT_NOT_FOUND"
        or "valid JSON format" in words
        or re.search("error code 3..", words)
    ):
        return (
            f"{without_password(store)} answers, and is no MLflow server ({words}); {NAME_ANOTHER}"
        )
    if is_gone(error):
        asked = words.split(" failed with")[0]
        return f"{name} does not answer (any more; {asked}); start it, then run the command again"
    if scheme(store) == "sqlite" and re.search(
        "malformed|not a database|no such table|has no column", words
    ):
        return damaged_message(words)
    return f"{name} failed: {words}"


def damaged_message(words: str) -> str:
    """What is wrong with the SQLite file of the store, and what to do."""
    return (
        f"the MLflow store {store_address()} is damaged: {words}; bring the file back from a backup, or move it away: "
        "`python src/report.py` then makes a new one and registers the workspace's model in it (what else was in it is "
        "lost)"
    )
