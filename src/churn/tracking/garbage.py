"""Find what can be deleted for good, and delete it.

That is what somebody marked deleted in MLflow (`mlflow gc`), and the files of DVC's cache that no
commit and no experiment names (`dvc gc`). Both tools know nothing of the registry: what a
registered version came from stays, whatever they would do. Remotes are not touched: to one clone,
what others have pushed looks unused.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from churn.errors import UserError
from churn.tracking import git_state, store

IDENTIFIER = re.compile("(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")  # an md5, or an id of MLflow
CACHED = re.compile(r"([0-9a-f]{2})/([0-9a-f]{30})(\.dir)?$")
# Also what is not marked, and goes with its experiment.
DELETED = """
SELECT '{kind}', item.{key}, item.name FROM {table} AS item
JOIN experiments ON experiments.experiment_id = item.experiment_id
WHERE 'deleted' IN (item.lifecycle_stage, experiments.lifecycle_stage) ORDER BY item.{key}
"""
DELETED_EXPERIMENTS = """
SELECT 'experiment', experiment_id, name FROM experiments
WHERE lifecycle_stage = 'deleted' ORDER BY experiment_id
"""


@dataclass(frozen=True)
class Deleted:
    """A run, a logged model or an experiment that is marked deleted."""

    kind: str
    id: str
    name: str


@dataclass(frozen=True)
class Garbage:
    """What can be deleted for good."""

    deleted: list[Deleted]  # in MLflow
    files: dict[Path, str]  # of DVC's cache: {path: md5}
    kept: int  # how many more there are that only registered versions name


def find_garbage(database: str | None) -> Garbage:
    """Look for what can be deleted for good.

    Args:
        database: the address of MLflow's database; None if only its server is at hand.

    Raises:
        UserError: something is marked deleted that a registered version came from; or DVC does not
            know all commits, or shares its cache with other projects.
    """
    named = named_by_versions()
    deleted = find_deleted(database) if database else []
    check_not_named(deleted, named)
    unused = unused_files()
    files = {path: digest for path, digest in unused.items() if digest not in named}
    return Garbage(deleted, files, kept=len(unused) - len(files))


def check_unchanged(found: Garbage, database: str | None) -> None:
    """Look at MLflow again, where others work while a person thinks about the answer.

    Raises:
        UserError: something else is marked deleted by now, or a version names what was found.
    """
    named = named_by_versions()
    deleted = find_deleted(database) if database else []
    check_not_named(deleted, named)
    if deleted != found.deleted or not named.keys().isdisjoint(found.files.values()):
        raise UserError("MLflow has changed since you were asked; nothing was deleted, look again")


def named_by_versions() -> dict[str, str]:
    """What the registered versions came from: {md5 or id: the version that names it}.

    These are all md5s in the tags of every version and of its run (data, splits, model, code), its
    run, the run's parent, and its logged model.
    """
    store.connect()
    import mlflow

    named: dict[str, str] = {}
    for version in mlflow.search_model_versions():
        texts = [str(version.run_id), str(version.source), *version.tags.values()]
        text = " ".join([*texts, *_tags_of_run(version.run_id)])
        for identifier in IDENTIFIER.findall(text):
            named[identifier] = f"{version.name} version {version.version}"
    return named


def _tags_of_run(run_id: str | None) -> list[str]:
    """The tags of a run; none if it is gone."""
    import mlflow

    if not run_id:
        return []
    try:
        return list(mlflow.get_run(run_id).data.tags.values())
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return []


def find_deleted(database: str) -> list[Deleted]:
    """What `mlflow gc` deletes for good.

    MLflow's client lists no logged model that is marked deleted, so the database is asked.
    """
    import sqlalchemy

    queries = (
        DELETED.format(kind="run", key="run_uuid", table="runs"),
        DELETED.format(kind="logged model", key="model_id", table="logged_models"),
        DELETED_EXPERIMENTS,
    )
    deleted = []
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        for query in queries:
            for kind, identifier, name in connection.execute(sqlalchemy.text(query)):
                deleted.append(Deleted(kind, str(identifier), name))
    engine.dispose()
    return deleted


def check_not_named(deleted: list[Deleted], named: dict[str, str]) -> None:
    """Refuse to delete what a registered version came from.

    `mlflow gc` cannot be told to leave something out: it takes every deleted experiment with all
    that is in it.

    Raises:
        UserError: a version came from something that is marked deleted.
    """
    for item in deleted:
        version = named.get(item.id.removeprefix("m-"))
        if version is None:
            continue
        if item.kind == "run":
            way_out = f"`mlflow runs restore --run-id {item.id}` brings it back"
        else:
            way_out = "delete that version too"
        raise UserError(
            f"{version} came from the {item.kind} {item.id} ({item.name}), which is marked deleted "
            f"or is in a deleted experiment; {way_out}, then try again. Nothing was deleted"
        )


def unused_files() -> dict[Path, str]:
    """The files of DVC's cache that `dvc gc` would delete: {path: md5}.

    It keeps what the workspace, every commit of every branch and tag, and every experiment names.

    Raises:
        UserError: commits are missing here; or the cache is not this project's own.
    """
    if git_state.git("rev-parse", "--is-shallow-repository").strip() == "true":
        raise UserError(
            "this clone lacks old commits, whose data would look unused; `git fetch --unshallow` "
            "brings them"
        )
    command = [sys.executable, "-m", "dvc", "gc", "--workspace", "--all-commits"]
    command += ["--all-experiments", "--dry"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)

    files = {}
    for line in result.stdout.splitlines():
        path = Path(line.removeprefix("Removing "))
        found = CACHED.search(path.as_posix())
        if not line.startswith("Removing ") or found is None:
            continue
        if not path.is_relative_to(Path.cwd()):
            raise UserError(
                f"DVC's cache is {path.parents[1]}, which other projects may use; `dvc gc "
                "--projects` knows them. Nothing was deleted"
            )
        files[path] = found[1] + found[2]
    return files


def delete_from_mlflow(database: str) -> None:
    """Delete for good, with its artifacts, what is marked deleted in MLflow; prints each.

    In this process, since everybody can read the arguments of another, and the address of a
    database has its password.
    """
    from mlflow.cli import gc

    options = ["--backend-store-uri", database, "--tracking-uri", store.tracking_uri()]
    gc.main(options, standalone_mode=False)
