"""Copy the artifacts of an MLflow store, files of this machine, into the bucket of a server."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse
from urllib.request import url2pathname

import fsspec
import sqlalchemy
from sqlalchemy import Connection

PROXY = "mlflow-artifacts:/"
PIECE = 1 << 20  # bytes read at a time
Folders = dict[str, str]  # {address of a run's or model's artifacts: its address on the server}


def find_folders(old: Connection) -> tuple[Folders, set[Path]]:
    """Where artifacts are and where they go, and the folders of all experiments."""
    runs = "SELECT artifact_uri, experiment_id, run_uuid FROM runs"
    models = "SELECT artifact_location, experiment_id, 'models/' || model_id FROM logged_models"
    folders = {}
    for query in (runs, models):
        for address, experiment, name in old.execute(sqlalchemy.text(query)):
            if is_local(address):
                folders[address] = f"{PROXY}{experiment}/{name}/artifacts"
    homes = set()
    for address in old.scalars(sqlalchemy.text("SELECT artifact_location FROM experiments")):
        if is_local(address):
            homes.add(local_path(address))
    return folders, homes


def is_local(address: str) -> bool:
    """Whether an address is a folder of this machine; others stay as they are."""
    return urlparse(address).scheme in ("", "file")


def local_path(address: str) -> Path:
    return Path(url2pathname(urlparse(address).path))


def copy_artifacts(folders: Folders, homes: set[Path]) -> tuple[int, int]:
    """Copy the files of every run and model, and compare each with what the bucket then has.

    Returns:
        The number of files, and of bytes.
    """
    bucket, root = fsspec.url_to_fs(os.environ["MLFLOW_ARTIFACTS_DESTINATION"])
    copied, missing, size = set(), [], 0
    for address, new in folders.items():
        folder = local_path(address)
        if "/models/" in new and not folder.exists():  # a run may have none
            missing.append(folder)
        for path in files_below(folder):
            key = f"{root}/{new.removeprefix(PROXY)}/{path.relative_to(folder).as_posix()}"
            copy_file(path, bucket, key)
            copied.add(path)
            size += path.stat().st_size

    if missing:
        print(f"{len(missing)} logged models have no files here, such as {missing[0]}")
    for home in sorted(homes):
        left = len(set(files_below(home)) - copied)
        if left:
            print(f"{left} files in {home} belong to no run and no model: not moved")
    return len(copied), size


def files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder; none if it does not exist, as that of a run without artifacts."""
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def copy_file(path: Path, bucket: fsspec.AbstractFileSystem, key: str) -> None:
    """Copy a file, unless an earlier attempt has; read it back."""
    with path.open("rb") as file:
        wanted = digest(file)
    try:
        if stored_digest(bucket, key) == wanted:
            return
        bucket.put_file(str(path), key)
        stored = stored_digest(bucket, key)
    except Exception as error:  # each kind of bucket has errors of its own
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise RuntimeError(f"the bucket does not take {key} ({reason}); run this again") from None
    if stored != wanted:
        raise RuntimeError(f"{path} is another file in the bucket ({key}); run this again")


def stored_digest(bucket: fsspec.AbstractFileSystem, key: str) -> str:
    """The md5 of what the bucket has; "" if it has nothing."""
    if not bucket.exists(key):
        return ""
    with bucket.open(key, "rb") as file:
        return digest(file)


def digest(file: BinaryIO) -> str:
    md5 = hashlib.md5()
    while piece := file.read(PIECE):
        md5.update(piece)
    return md5.hexdigest()
