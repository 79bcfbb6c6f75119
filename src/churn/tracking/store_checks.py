"""Refuse an MLflow store that cannot be used, in seconds."""

import functools
import sys
import time

from churn.errors import UserError
from churn.tracking import store_errors

TRIES = 4  # to reach a server, 1, 2 and 4 seconds apart


def check_store(store: str) -> None:
    """Refuse a store that cannot be used, in seconds: MLflow by itself tries for minutes and says
    nothing.

    Raises:
        UserError: a folder, a server that does not answer, a database that cannot be opened.
    """
    kind = store_errors.scheme(store)
    if kind in store_errors.DATABASES and "://" not in store:
        raise UserError(f"MLFLOW_TRACKING_URI is {store}; a database is written as sqlite:///FILE")
    if kind == "file" or ("://" not in store and not kind.startswith("databricks")):
        what = "a folder, which MLflow no longer takes as a store"
        raise UserError(f"MLFLOW_TRACKING_URI is {store}, {what}; {store_errors.NAME_ANOTHER}")
    if kind in ("http", "https"):
        wait_for_server(store)
    if kind in store_errors.DATABASES:
        try_database(store)


def check_environment(installed: str) -> None:
    """Refuse an environment in which MLflow opens no database: Alembic's settings read a `%` in the
    path of MLflow's own files as the beginning of a variable. The project itself may lie in such a
    folder.

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
            raise UserError(
                f"MLFLOW_TRACKING_URI is {store_errors.without_password(address)}, which is no address ({error})"
            ) from None
        except requests.RequestException as error:
            reason = f"it does not answer: {type(error).__name__}"
        if attempt == 0:
            print(
                f"waiting for the MLflow server at {store_errors.without_password(address)} ...",
                file=sys.stderr,
                flush=True,
            )
        if attempt < TRIES - 1:
            time.sleep(2**attempt)
    raise UserError(
        f"the MLflow server at {store_errors.without_password(address)} cannot be used ({reason}); start it, or set MLFLOW_TRACKING_URI to one "
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
            f"{store_errors.without_password(url)} needs the package {error.name}, which is not installed; add it to pyproject.toml, then "
            "`make lock` and `make install`"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise UserError(store_errors.explain_store_error(error)) from None
    if store_errors.scheme(url) == "sqlite" and not tables:  # a new one is put in place whole
        raise UserError(store_errors.damaged_message("it is empty"))
