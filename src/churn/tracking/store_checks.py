"""Refuse an MLflow store that cannot be used, in seconds.

MLflow by itself tries for minutes and says nothing.
"""

import functools
import sys
import time
from pathlib import Path

from churn.errors import UserError
from churn.tracking import store_errors

MOUNTS = Path("/proc/mounts")
NETWORK_FILE_SYSTEMS = {"nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "glusterfs", "ceph", "afs"}
TRIES = 4  # to reach a server, 1, 2 and 4 seconds apart


def check_store(store: str) -> None:
    """Refuse a store that cannot be used.

    Raises:
        UserError: it is a folder, a server that does not answer, or a database that cannot be
            opened.
    """
    kind = store_errors.scheme(store)
    if kind in store_errors.DATABASES and "://" not in store:
        raise UserError(f"MLFLOW_TRACKING_URI is {store}; a database is written as sqlite:///FILE")
    if kind == "file" or ("://" not in store and not kind.startswith("databricks")):
        raise UserError(
            f"MLFLOW_TRACKING_URI is {store}, a folder, which MLflow no longer takes as a store; "
            f"{store_errors.NAME_ANOTHER}"
        )
    if kind in ("http", "https"):
        wait_for_server(store)
    if kind in store_errors.DATABASES:
        try_database(store)


def check_environment(installed: str) -> None:
    """Refuse an environment in which MLflow opens no database.

    Alembic's settings read a `%` in the path of MLflow's own files as the beginning of a variable.
    The project itself may be in such a folder.

    Args:
        installed: the path of MLflow's code.

    Raises:
        UserError: that is so.
    """
    if "%" in installed:
        raise UserError(
            f"the environment is in {sys.prefix}, and MLflow opens no database from a path with a "
            "%; build it elsewhere (`export VENV=~/.venvs/churn`, then `make repro`), and activate "
            "that one"
        )


def check_local_disk(path: Path) -> None:
    """Refuse a SQLite file on a network file system, whose locks do not protect it.

    "How To Corrupt An SQLite Database File", section 2.1, https://www.sqlite.org/howtocorrupt.html.
    Looks where Linux lists what is mounted; on other systems nothing is known, and nothing refused.

    Raises:
        UserError: it lies on one.
    """
    if not MOUNTS.exists():
        return
    kind = file_system(path.parent.resolve(), MOUNTS.read_text())
    if kind in NETWORK_FILE_SYSTEMS:
        raise UserError(
            f"{path} would be on a network file system ({kind}), where SQLite corrupts its file; "
            "`export MLFLOW_TRACKING_URI=sqlite:////FOLDER-OF-THIS-MACHINE/mlflow.db`, or let it "
            "name an MLflow server"
        )


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system on which a folder lies: ext4, nfs4 and so on.

    Args:
        folder: an absolute path without links.
        mounts: what Linux says in /proc/mounts; of a folder that is mounted twice the later counts.
    """
    nearest, kind = Path("/"), ""
    for line in mounts.splitlines():
        _, escaped, found, *_ = line.split(" ")
        mounted = Path(escaped.replace("\\040", " "))
        if folder.is_relative_to(mounted) and mounted.is_relative_to(nearest):
            nearest, kind = mounted, found
    return kind


@functools.cache  # once per process: every search of runs connects again
def wait_for_server(address: str) -> None:
    """Try to reach an MLflow server, and print at the first failure what the command waits for.

    Raises:
        UserError: it does not answer, or it answers that it is not up.
    """
    shown = store_errors.without_password(address)
    reason = ""
    for attempt in range(TRIES):
        reason = _server_fault(address)
        if not reason:
            return
        if attempt == 0:
            print(f"waiting for the MLflow server at {shown} ...", file=sys.stderr, flush=True)
        if attempt < TRIES - 1:
            time.sleep(2**attempt)
    raise UserError(
        f"the MLflow server at {shown} cannot be used ({reason}); start it, or set "
        "MLFLOW_TRACKING_URI to one that runs"
    )


def _server_fault(address: str) -> str:
    """Why a server cannot be used now, or "".

    Whether it is MLflow's, the first call of its API shows.

    Raises:
        UserError: the address is malformed.
    """
    import requests

    try:
        response = requests.get(f"{address.rstrip('/')}/health", timeout=10)
    except (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema) as error:
        shown = store_errors.without_password(address)
        raise UserError(f"MLFLOW_TRACKING_URI is {shown}, which is no address ({error})") from None
    except requests.RequestException as error:
        return f"it does not answer: {type(error).__name__}"
    if response.status_code < 500:
        return ""
    return f"it answers {response.status_code}, {response.reason}"


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
        shown = store_errors.without_password(url)
        way_out = "add it to pyproject.toml, then `make lock` and `make install`"
        if error.name == "psycopg2":
            way_out = "`make install-team` brings it"
        raise UserError(
            f"{shown} needs the package {error.name}, which is not installed; {way_out}"
        ) from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise UserError(store_errors.explain_store_error(error)) from None
    if store_errors.scheme(url) == "sqlite" and not tables:  # a new one is linked into place whole
        raise UserError(store_errors.damaged_message("it is empty"))
