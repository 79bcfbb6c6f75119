"""Write a file in one step, on a local disk or to any fsspec URL."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from churn.data.csv_table import locate
from churn.errors import UserError


def _temporary_file(url: str) -> tuple[object, str, Path, bool]:
    """Where a file is written before it becomes `url`: file system, path, the part, whether it is
    local.

    Raises:
        UserError: a local path is a folder, or lies in a folder that does not exist or takes no
            files.
    """
    fs, path = locate(url)
    local = "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))
    folder = Path(path).parent if local else Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise UserError(f"{url}: the folder {folder} does not exist")
    if local and Path(path).is_dir():
        raise UserError(f"{url} is a folder; name a file to write")
    part = folder / f".{Path(path).name}.{os.getpid()}.part"
    try:
        part.touch()
    except OSError as error:
        raise UserError(f"{url} cannot be written: {error.strerror}") from None
    return fs, path, part, local


def check_writable(url: str) -> None:
    """Refuse before the work what could not be written after it (UserError)."""
    _temporary_file(url)[2].unlink()


@contextmanager
def atomic_output(url: str) -> Iterator[Path]:
    """A path to write to; what stands there at the end becomes the file, in one step.

    After an error, or a killed process, the file is what it was before.

    A local file is written beside and renamed, one elsewhere is uploaded whole.
    """
    fs, path, part, local = _temporary_file(url)
    try:
        yield part
        part.replace(path) if local else fs.put_file(str(part), path)
    finally:
        part.unlink(missing_ok=True)
