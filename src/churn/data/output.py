"""Write a file in one step, on a local disk or to any fsspec URL."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from churn.data.urls import bucket_errors, locate
from churn.errors import UserError


@dataclass(frozen=True)
class Target:
    """Where a file goes: its file system and path there, and the temporary file that becomes it."""

    file_system: Any  # of fsspec
    path: str
    part: Path
    is_local: bool


def check_writable(url: str) -> None:
    """Refuse before the work what could not be written after it.

    Raises:
        UserError: as `atomic_output`.
    """
    _open_target(url).part.unlink()


@contextmanager
def atomic_output(url: str) -> Iterator[Path]:
    """Give a path to write to; what is there at the end becomes the file, in one step.

    A local file is written beside its place and renamed, another one is uploaded whole. After an
    error, or in a killed process, the file is what it was before.

    Raises:
        UserError: a local path is a folder, or its folder does not exist or takes no files; a URL
            has no file in it, or the upload fails.
    """
    target = _open_target(url)
    try:
        yield target.part
        if target.is_local:
            target.part.replace(target.path)
        else:
            _upload(target, url)
    finally:
        target.part.unlink(missing_ok=True)


def _upload(target: Target, url: str) -> None:
    try:
        with bucket_errors(url, "written"):
            target.file_system.put_file(str(target.part), target.path)
    except OSError as error:  # there is no such bucket, say
        raise UserError(f"{url} cannot be written: {error}") from None


def _open_target(url: str) -> Target:
    file_system, path = locate(url)
    is_local = isinstance(file_system, LocalFileSystem)
    folder = Path(path).parent if is_local else Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise UserError(f"{url}: the folder {folder} does not exist")
    if url.endswith("/") or (is_local and Path(path).is_dir()):
        raise UserError(f"{url} is a folder; name a file to write")
    part = folder / f".{Path(path).name}.{os.getpid()}.part"
    try:
        part.touch()
    except OSError as error:
        raise UserError(f"{url} cannot be written: {error.strerror}") from None
    return Target(file_system, path, part, is_local)
