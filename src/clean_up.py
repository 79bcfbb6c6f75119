"""Delete for good what nobody needs, after it was shown and confirmed.

    python src/clean_up.py    (make gc; --yes answers in advance)

That is: runs, logged models and experiments that somebody marked deleted in MLflow, with their
artifacts, and the files of DVC's cache that no commit, no experiment and no registered version
names. All versions stay, with their runs and all that their tags name. Not while a pipeline or a
search runs here.

On a server, MLflow's part needs its database: MLFLOW_BACKEND_STORE_URI names it to those who run
the server. Without it, only DVC's cache is cleaned up.
"""

import argparse
import os
import sys

from churn.console import confirm, run_command
from churn.tracking import garbage, store
from churn.tracking.store_errors import explain_store_error


def main() -> None:
    options = parse_arguments()
    store.connect()
    database = database_address()
    found = garbage.find_garbage(database)
    show(found)
    if not found.deleted and not found.files:
        return

    confirm("Delete all this for good?", options.yes)
    garbage.check_unchanged(found, database)
    if database and found.deleted:
        garbage.delete_from_mlflow(database)
    for path in found.files:
        path.unlink(missing_ok=True)
    print(f"{len(found.files)} files of DVC's cache deleted")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Delete for good what nobody needs.")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    return parser.parse_args()


def database_address() -> str | None:
    """The address of MLflow's database, or None with a note if only the server is known."""
    if store.store_file():
        return store.tracking_uri()
    database = os.environ.get("MLFLOW_BACKEND_STORE_URI")
    if database is None:
        print(
            "deleted runs stay: only MLFLOW_BACKEND_STORE_URI, the database behind the server, "
            "says what they are",
            file=sys.stderr,
        )
    return database


def show(found: garbage.Garbage) -> None:
    """Print what would be deleted."""
    print(f"marked deleted in MLflow: {len(found.deleted)}")
    for item in found.deleted:
        print(f"  {item.kind} {item.id}  {item.name}")
    size = sum(path.stat().st_size for path in found.files)
    print(f"files of DVC's cache that nothing names: {len(found.files)}, {size:,} bytes")
    for path in found.files:
        print(f"  {path.relative_to(path.parents[1])}  {path.stat().st_size:,} bytes")
    if found.kept:
        print(f"kept, since only a registered version names them: {found.kept}")


if __name__ == "__main__":
    run_command(main, explain_store_error)
