"""Move one person's MLflow store, a SQLite file and folders, to a team's PostgreSQL and bucket.

    export MLFLOW_BACKEND_STORE_URI=postgresql+psycopg2://...   the server's database
    export MLFLOW_ARTIFACTS_DESTINATION=s3://mlflow             the server's bucket
    python deploy/migrate.py [mlflow.db]

The database has MLflow's tables (`mlflow db upgrade`, or a start of the server) and nothing else.
Every row of every table moves, also what is marked deleted, with its ids: runs, logged models,
versions, aliases, tags and with them the history of promotions. First the artifacts are copied and
read back, then all rows are written and read back in one transaction. So whatever interrupts it
leaves an empty database, and the command can be repeated. The old store is only read.

Artifacts get the addresses that the server itself gives to new ones, `mlflow-artifacts:/EXPERIMENT/
...`: MLflow's permissions go by the number of the experiment in them.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import sqlalchemy
from artifact_copy import PROXY, Folders, copy_artifacts, find_folders, is_local
from sqlalchemy import Connection, Engine, Table
from tabulate import tabulate

# What the server writes for itself.
NOT_MOVED = {"alembic_version", "workspaces", "jobs", "job_locks", "scheduler_leases"}
Row = dict[str, Any]


def main() -> None:
    source_file = parse_arguments().source
    try:
        with tempfile.TemporaryDirectory() as scratch:
            snapshot = Path(scratch, "snapshot.db")
            take_snapshot(source_file, snapshot)
            migrate(sqlalchemy.create_engine(f"sqlite:///{snapshot}"), open_target())
    except ImportError as error:  # of the driver of a database or bucket
        sys.exit(f"error: {error}; `make install-team` brings psycopg2 and s3fs")
    except (OSError, RuntimeError, sqlite3.Error, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = str(error).splitlines()[0]
        sys.exit(f"error: {reason}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Move a SQLite store to a team's server.")
    parser.add_argument("source", nargs="?", type=Path, default=Path("mlflow.db"))
    return parser.parse_args()


def take_snapshot(source: Path, snapshot: Path) -> None:
    """Copy a SQLite file as it is at one moment, also while others write into it."""
    if not source.exists():
        raise RuntimeError(f"there is no {source}; name the SQLite file of the old store")
    address = f"{source.absolute().as_uri()}?mode=ro"
    with (
        contextlib.closing(sqlite3.connect(address, uri=True)) as old,
        contextlib.closing(sqlite3.connect(snapshot)) as copy,
    ):
        old.backup(copy)


def open_target() -> Engine:
    """The team's database."""
    address = os.environ.get("MLFLOW_BACKEND_STORE_URI", "")
    if not address.startswith("postgresql"):
        raise RuntimeError("MLFLOW_BACKEND_STORE_URI has to name the team's PostgreSQL")
    if "MLFLOW_ARTIFACTS_DESTINATION" not in os.environ:
        raise RuntimeError("MLFLOW_ARTIFACTS_DESTINATION has to name the server's bucket")
    return sqlalchemy.create_engine(address, hide_parameters=True)


def migrate(source: Engine, target: Engine) -> None:
    """Copy artifacts, then all rows, and print how many there were and are."""
    tables = read_tables(source, target)
    with target.connect() as connection:
        check_empty(connection, tables)
    with source.connect() as old:
        folders, homes = find_folders(old)
        warn_of_running(old)
        files, size = copy_artifacts(folders, homes)
        with target.begin() as new:
            check_empty(new, tables)
            new.execute(sqlalchemy.text("DELETE FROM experiments WHERE experiment_id = 0"))
            counts = [copy_or_refuse(table, old, new, folders) for table in tables]
            reset_sequences(new, tables)
    counts = [row for row in counts if row["before"]]
    total = {"table": "all rows"}
    total |= {when: sum(row[when] for row in counts) for when in ("before", "after")}
    print(tabulate([*counts, total], headers="keys", tablefmt="plain", intfmt=","))
    print(f"{files:,} artifacts, {size:,} bytes, each compared by md5; every row compared by value")


def read_tables(source: Engine, target: Engine) -> list[Table]:
    """The tables to copy, those first to which others refer.

    Raises:
        RuntimeError: the databases are not of one version of MLflow.
    """
    versions = []
    for engine in (source, target):
        if not sqlalchemy.inspect(engine).has_table("alembic_version"):
            place = "old store" if engine is source else "team's database"
            raise RuntimeError(
                f"the {place} has no tables of MLflow; `mlflow db upgrade` makes them"
            )
        with engine.connect() as connection:
            versions.append(
                connection.scalar(sqlalchemy.text("SELECT version_num FROM alembic_version"))
            )
    if versions[0] != versions[1]:
        raise RuntimeError(
            f"the old store has version {versions[0]} of MLflow's tables and the team's database "
            f"{versions[1]}; `mlflow db upgrade` with the server's MLflow, on a copy of the old "
            "store, makes them equal"
        )
    metadata = sqlalchemy.MetaData()
    metadata.reflect(source)
    return [table for table in metadata.sorted_tables if table.name not in NOT_MOVED]


def check_empty(connection: Connection, tables: list[Table]) -> None:
    """Refuse a database in which somebody works: nothing is mixed, nothing overwritten.

    A server that has started once leaves the experiment 0, `Default`, and nothing in it.
    """
    for table in tables:
        query = sqlalchemy.select(sqlalchemy.func.count()).select_from(table)
        if table.name == "experiments":
            query = query.where(table.c.experiment_id != 0)
        found = connection.scalar(query)
        if found:
            raise RuntimeError(
                f"the team's database is not empty ({table.name}: {found} rows); a new one "
                "takes an old store"
            )


def warn_of_running(old: Connection) -> None:
    query = "SELECT count(*) FROM runs WHERE status = 'RUNNING' AND lifecycle_stage = 'active'"
    running = old.scalar(sqlalchemy.text(query))
    if running:
        print(
            f"{running} runs are RUNNING: what they log from now on stays in the old store",
            file=sys.stderr,
        )


def copy_or_refuse(table: Table, old: Connection, new: Connection, folders: Folders) -> Row:
    """`copy_table`, with an error that names the table.

    SQLite takes values that PostgreSQL refuses, such as a text longer than its column.
    """
    try:
        return copy_table(table, old, new, folders)
    except (ValueError, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = str(error).splitlines()[0]
        raise RuntimeError(
            f"{table.name} cannot be copied: {reason}; nothing was written"
        ) from None


def copy_table(table: Table, old: Connection, new: Connection, folders: Folders) -> Row:
    """Copy the rows of a table with new addresses, read them back, and compare.

    Returns:
        The table's name, and its rows before and after.
    """
    rows = [dict(row._mapping) for row in old.execute(sqlalchemy.select(table))]
    for row in rows:
        change_addresses(table.name, row, folders)
    target = Table(table.name, sqlalchemy.MetaData(), autoload_with=new)
    if rows:
        new.execute(target.insert(), rows)
    columns = [target.c[column.name] for column in table.c]
    written = [dict(row._mapping) for row in new.execute(sqlalchemy.select(*columns))]
    if sorted_texts(written) != sorted_texts(rows):
        raise RuntimeError(f"{table.name}: the rows differ from those of the old store")
    return {"table": table.name, "before": len(rows), "after": len(written)}


def sorted_texts(rows: Iterable[Row]) -> list[str]:
    """Rows in a form in which two lists can be compared, whatever the databases' orders are."""
    return sorted(repr(row) for row in rows)


def change_addresses(table: str, row: Row, folders: Folders) -> None:
    """Let the addresses of artifacts in a row name the server."""
    if table == "experiments" and is_local(row["artifact_location"]):
        row["artifact_location"] = f"{PROXY}{row['experiment_id']}"
    columns = {"runs": ["artifact_uri"], "logged_models": ["artifact_location"]}
    columns["model_versions"] = ["source", "storage_location"]
    for column in columns.get(table, []):
        # A version's model may be a folder below that of its run.
        old, below = row[column] or "", ""
        while old and old not in folders:
            old, slash, name = old.rpartition("/")
            below = f"{slash}{name}{below}"
        if old:
            row[column] = folders[old] + below


def reset_sequences(new: Connection, tables: list[Table]) -> None:
    """Let the database number new rows after those that came with their numbers."""
    for table in tables:
        keys = list(table.primary_key)
        if len(keys) != 1 or not isinstance(keys[0].type, sqlalchemy.Integer):
            continue
        sequence = sqlalchemy.func.pg_get_serial_sequence(table.name, keys[0].name)
        highest = new.scalar(sqlalchemy.select(sqlalchemy.func.max(keys[0]))) or 0
        new.execute(sqlalchemy.select(sqlalchemy.func.setval(sequence, highest + 1, False)))


if __name__ == "__main__":
    main()
