"""Which MLflow stores can be used, and what the errors of MLflow and of its libraries mean to a user."""

import functools
import os
import re
import sys
import time

from churn.errors import UserError

TRIES = 4  # to reach a server, 1, 2 and 4 seconds apart
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
LIBRARIES = {"mlflow", "sqlalchemy", "alembic", "requests", "urllib3", "databricks"}  # that reach a store
NAME_ANOTHER = (
    "let MLFLOW_TRACKING_URI name a server (http://HOST:PORT), or unset it: the project has a SQLite file of its own"
)


def scheme(store: str) -> str:
    """What a store's address begins with: http, https, sqlite, postgresql (also for postgresql+psycopg2), ..."""
    return re.match(r"[a-z\-]*", store)[0]


def check(store: str) -> None:
    """Refuse a store that cannot be used, in seconds: MLflow by itself tries for minutes and says nothing.

    Raises:
        UserError: a folder, a server that does not answer, a database that cannot be opened.
    """
    kind = scheme(store)
    if kind in DATABASES and "://" not in store:
        raise UserError(f"MLFLOW_TRACKING_URI is {store}; a database is written as sqlite:///FILE")
    if kind == "file" or ("://" not in store and not kind.startswith("databricks")):
        what = "a folder, which MLflow no longer takes as a store"
        raise UserError(f"MLFLOW_TRACKING_URI is {store}, {what}; {NAME_ANOTHER}")
    if kind in ("http", "https"):
        wait_for_server(store)
    if kind in DATABASES:
        try_database(store)


def check_environment(installed: str) -> None:
    """Refuse an environment in which MLflow opens no database: Alembic's settings read a `%` in the path of MLflow's
    own files as the beginning of a variable. The project itself may lie in such a folder.

    Args:
        installed: the path of MLflow's code.

    Raises:
        UserError: that is so.
    """
    if "%" in installed:
        raise UserError(
            f"the environment is in {sys.prefix}, and MLflow opens no database from a path with a %; build it "
            "elsewhere (`export VENV=~/.venvs/churn`, then `make repro`), and activate that one"
        )


@functools.cache  # once per process: every search of runs connects again
def wait_for_server(address: str) -> None:
    """Try to reach an MLflow server, and say at the first failure what is waited for.

    Raises:
        UserError: it does not answer, or it answers that it is not up.
    """
    import requests

    for attempt in range(TRIES):
        try:
            answer = requests.get(f"{address.rstrip('/')}/health", timeout=10)
            if answer.status_code < 500:  # whether it is MLflow's, the first call of its API shows
                return
            reason = f"it answers {answer.status_code}, {answer.reason}"
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
            raise UserError(f"MLFLOW_TRACKING_URI is {shown(address)}, which is no address ({error})") from None
        except requests.RequestException as error:
            reason = f"it does not answer: {type(error).__name__}"
        if attempt == 0:
            print(f"waiting for the MLflow server at {shown(address)} ...", file=sys.stderr, flush=True)
        if attempt < TRIES - 1:
            time.sleep(2**attempt)
    raise UserError(
        f"the MLflow server at {shown(address)} cannot be used ({reason}); start it, or set MLFLOW_TRACKING_URI to one "
        "that runs"
    )


@functools.cache
def try_database(url: str) -> None:
    """Open a database, and read the names of its tables.

    Raises:
        UserError: there is none, its driver is not installed, or it is damaged.
    """
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(url)
        tables = sqlalchemy.inspect(engine).get_table_names()
        engine.dispose()
    except ImportError as error:
        raise UserError(
            f"{shown(url)} needs the package {error.name}, which is not installed; add it to pyproject.toml, then "
            "`make lock` and `make install`"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise UserError(explained(error)) from None
    if scheme(url) == "sqlite" and not tables:  # a new one is put in place whole
        raise UserError(damaged("it is empty"))


def shown(store: str) -> str:
    """A store's address as a message may show it: without its password."""
    return re.sub(r"(//[^/@:]*):[^/@]*@", r"\1:***@", store)


def of_the_store(error: BaseException) -> bool:
    """Whether an exception is one of MLflow, or of what it reaches its store with."""
    return not LIBRARIES.isdisjoint(kind.__module__.split(".")[0] for kind in type(error).__mro__)


def is_gone(error: BaseException) -> bool:
    """Whether an exception says that nobody answers at the store's address."""
    said = re.search("failed with (exception|timeout)|Max retries|Connection", str(error))
    return of_the_store(error) and said is not None


def named() -> str:
    """The store's address as the user gave it."""
    return os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"


def explained(error: BaseException) -> str:
    """What an exception of MLflow, or of what it reaches its store with, means to the user; "" for any other."""
    if not of_the_store(error):
        return ""
    store, name = named(), f"the MLflow store {shown(named())}"
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith("(raised as a result")]
    words = shown((lines or [type(error).__name__])[0].split(". Response body")[0])
    code = getattr(error, "error_code", "")
    if "got unsupported URI" in words:
        return f"MLFLOW_TRACKING_URI is {shown(store)}, a kind of store that MLflow does not know; {NAME_ANOTHER}"
    if code in ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED"):
        return (
            f"{name} does not know you (401); MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, say who you are"
        )
    if code == "PERMISSION_DENIED":
        return f"{name} does not allow this (403: {words}); ask whoever runs it for the right"
    if code == "ENDPOINT_NOT_FOUND" or "valid JSON format" in words or re.search("error code 3..", words):
        return f"{shown(store)} answers, and is no MLflow server ({words}); {NAME_ANOTHER}"
    if is_gone(error):
        asked = words.split(" failed with")[0]
        return f"{name} does not answer (any more; {asked}); start it, then run the command again"
    if scheme(store) == "sqlite" and re.search("malformed|not a database|no such table|has no column", words):
        return damaged(words)
    return f"{name} failed: {words}"


def damaged(words: str) -> str:
    """What is wrong with the SQLite file of the store, and what to do."""
    return (
        f"the MLflow store {named()} is damaged: {words}; bring the file back from a backup, or move it away: "
        "`python src/report.py` then makes a new one and registers the workspace's model in it (what else was in it is "
        "lost)"
    )
