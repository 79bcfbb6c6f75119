"""Read the project's own files; one that cannot be read is named, with its fault and its remedy."""

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from churn.errors import UserError

# How to restore a file, by the end of its path; any other comes from git.
REMEDIES = {
    "dvc.lock": (
        "delete it: `dvc repro` writes it again, and takes from DVC's cache what did not change"
    ),
    "reports/metrics.json": "`dvc repro evaluate` writes it again",
    ".csv": "`dvc checkout --force {path}` brings it back, or `dvc repro` makes it again",
    ".parquet.dvc": (
        "`git checkout {path}` brings the committed one back, `dvc add` of the table writes it "
        "again"
    ),
}
FROM_GIT = "mend it, or `git checkout {path}` brings the committed one back"
CONFLICT = "begins a conflict that git could not merge"
RESOLVE_CONFLICT = "keep one side of each conflict, and delete the marks"
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}  # a disk, a quota, a limit for files
DVC_LIBRARIES = {"dvc", "dvc_data", "dvc_objects", "scmrepo"}


@contextmanager
def reading(path: str | Path, remedy: str = "") -> Iterator[None]:
    """Turn any error in the body into a UserError that names the file, its fault and its remedy.

    Args:
        path: the file that the body reads.
        remedy: what to do; by default the one of REMEDIES.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # every parser has errors of its own
        fault = fault_in(Path(path), error)
        remedy = remedy or remedy_for(path)
        if CONFLICT in fault and remedy == FROM_GIT.format(path=path):
            remedy = RESOLVE_CONFLICT  # git restores no file that it has still to merge
        raise UserError(f"{path} cannot be read: {fault}; {remedy}") from None


def remedy_for(path: str | Path) -> str:
    """How to restore a file of the project."""
    for end, remedy in REMEDIES.items():
        if str(path).endswith(end):
            return remedy.format(path=path)
    return FROM_GIT.format(path=path)


def fault_in(path: Path, error: Exception) -> str:
    """What is wrong with a file that gave this error, in one line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    lines: list[str] = []
    if path.is_file():
        content = path.read_text(encoding="utf-8", errors="replace")
        if not content.strip():
            return "it is empty"
        lines = content.splitlines()
        for number, line in enumerate(lines, start=1):
            if line.startswith("<<<<<<< "):
                return f"line {number} {CONFLICT}"

    mark = getattr(error, "problem_mark", None)  # of a YAML parser
    if mark:
        number = mark.line + 1
        if lines:  # the end of a file counts as the line below it
            number = min(number, len(lines))
        return f"line {number}: {getattr(error, 'problem', error)}"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return first_line(error)


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file as DVC reads it.

    That is YAML 1.2, where Yes is a text; in YAML 1.1, and so in PyYAML, it is true.

    Raises:
        UserError: it cannot be read, or holds no names with values.
    """
    with reading(path):
        return _require_mapping(YAML(typ="safe").load(Path(path)))


def parse_yaml(text: str) -> Any:
    """A value as it would be read from params.yaml."""
    return YAML(typ="safe").load(text)


def numbers_only(metrics: Mapping[str, object]) -> dict[str, float]:
    """The metrics of an evaluation without what the gate says of them (`gate_thresholds`)."""
    return {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}


def read_metrics(path: Path) -> dict[str, float]:
    """Read the metrics of an evaluation.

    Raises:
        UserError: the file cannot be read, or lacks the main ones.
    """
    with reading(path):
        metrics = numbers_only(_require_mapping(json.loads(path.read_text())))
        for name in ("threshold", "roc_auc"):
            if name not in metrics:
                raise ValueError(f"it has no number {name}")
        return metrics


def write_whole(text: str, path: Path) -> None:
    """Write a text file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        if part.is_file():
            part.unlink()
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def md5(path: str | Path) -> str:
    """The md5 of a file's bytes, as DVC computes it.

    It is read in blocks, so that the file may be larger than memory.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def text_md5(text: str) -> str:
    """The md5 of a text in UTF-8."""
    return hashlib.md5(text.encode()).hexdigest()


def is_intact(path: Path, digest: str) -> bool:
    """Whether a file is there and has this md5."""
    return path.exists() and md5(path) == digest


def explain_dvc_error(error: BaseException) -> str:
    """What an exception of DVC means to the user; "" for any other."""
    libraries = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    if not libraries & DVC_LIBRARIES:
        return ""
    if type(error).__name__ == "ConfigError":
        files = ".dvc/config or .dvc/config.local"
        return f"{files}: {first_line(error)}; mend it, or `git checkout .dvc/config`"
    return f"DVC: {first_line(error)}"


def explain_full_disk(error: BaseException) -> str:
    """What an exception means that a full disk caused; "" for any other."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        return ""
    places = f"{Path.cwd()} or {tempfile.gettempdir()}"
    return (
        f"a file could not be written whole ({error.strerror or error}); the disk of {places} is "
        "full, or your quota is: make room, and run the command again"
    )


def says_full_disk(text: str) -> bool:
    """Whether a message of a library speaks of a full disk."""
    return any(os.strerror(number) in text for number in FULL)


def first_line(error: BaseException) -> str:
    """The first line of an exception's message; its name, if it has no message."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0]


def _require_mapping(content: object) -> dict[str, Any]:
    if content is None:
        raise ValueError("it holds nothing")
    if not isinstance(content, dict):
        raise ValueError("it holds no names with values")
    return content
