"""Reading the project's own files: one that cannot be read is named, with what is wrong and what
brings it back.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ruamel.yaml import YAML

from churn.errors import UserError

# What brings a file back, by the end of its path; of any other: git.
REMEDIES = {
    "dvc.lock": "delete it: `dvc repro` writes it again, and takes from DVC's cache what did not change",
    "reports/metrics.json": "`dvc repro evaluate` writes it again",
    ".csv": "`dvc checkout --force {path}` brings it back, or `dvc repro` makes it again",
    ".parquet.dvc": "`git checkout {path}` brings the committed one back, `dvc add` of the table writes it again",
}
FROM_GIT = "mend it, or `git checkout {path}` brings the committed one back"
CONFLICT = "begins a conflict that git could not merge"
DVC_LIBRARIES = {"dvc", "dvc_data", "dvc_objects", "scmrepo"}


@contextmanager
def reading(path: str | Path, remedy: str = "") -> Iterator[None]:
    """Say which file of the project could not be read in the body, instead of what a parser says of
    its content.

    Args:
        remedy: what to do; else the one of REMEDIES.

    Raises:
        UserError: the body raised anything.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # every parser has errors of its own
        what, way_out = fault_in(Path(path), error), remedy or remedy_for(path)
        if CONFLICT in what and way_out.startswith(
            "mend it"
        ):  # git checks nothing out that it has still to merge
            way_out = "keep one side of each conflict, and delete the marks"
        raise UserError(f"{path} cannot be read: {what}; {way_out}") from None


def remedy_for(path: str | Path) -> str:
    """What brings a file of the project back."""
    found = [text for end, text in REMEDIES.items() if str(path).endswith(end)]
    return (found or [FROM_GIT])[0].format(path=path)


def fault_in(path: Path, error: Exception) -> str:
    """What is wrong with a file that gave this error, in one line."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    content = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else "unknown"
    if not content.strip():
        return "it is empty"
    for number, line in enumerate(content.splitlines(), start=1):
        if line.startswith("<<<<<<< "):
            return f"line {number} {CONFLICT}"
    if mark := getattr(error, "problem_mark", None):  # of YAML
        return f"line {mark.line + 1}: {error.problem}"
    if isinstance(error, KeyError):
        return f"it has no {error}"
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def require_mapping(path: str | Path, content: object) -> dict:
    """What a file holds that must be names and their values.

    Raises:
        UserError: it holds something else, or nothing.
    """
    with reading(path):
        if not isinstance(content, dict):
            raise ValueError(f"it holds {'nothing' if content is None else 'no names with values'}")
        return content


def read_metrics(path: Path) -> dict:
    """The numbers of an evaluation, and what the gate's thresholds say of them (`gate_thresholds`).

    Raises:
        UserError: the file is no such thing.
    """
    with reading(path):
        content = require_mapping(path, json.loads(path.read_text()))
        for name in ("threshold", "roc_auc"):
            if not isinstance(content.get(name), int | float):
                raise ValueError(f"it has no number {name}")
        return content


def explain_dvc_error(error: BaseException) -> str:
    """What an exception of DVC means to the user; "" for any other."""
    libraries = {kind.__module__.split(".")[0] for kind in type(error).__mro__}
    words = (str(error).strip() or type(error).__name__).splitlines()[0]
    if type(error).__name__ == "ConfigError" and libraries & DVC_LIBRARIES:
        return f".dvc/config or .dvc/config.local: {words}; mend it, or `git checkout .dvc/config`"
    if libraries & DVC_LIBRARIES:
        return f"DVC: {words}"
    return ""


def read_yaml(path: str | Path) -> dict:
    """A YAML file as DVC reads it: YAML 1.2, where Yes is a text (in YAML 1.1, and so in PyYAML, it
    is true).

    Raises:
        UserError: it is none, or holds no names with values.
    """
    with reading(path):
        return require_mapping(path, YAML(typ="safe").load(Path(path)))


def parse_yaml(text: str):
    """A value as it would be read from params.yaml."""
    return YAML(typ="safe").load(text)


def md5(path: str | Path) -> str:
    """The md5 of a file's bytes, as DVC computes it; read in blocks, so the file may be larger than
    memory.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def is_intact(path: Path, digest: str) -> bool:
    """Whether a file is there and is the one of this md5."""
    return path.exists() and md5(path) == digest
