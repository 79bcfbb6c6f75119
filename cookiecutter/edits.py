"""Write the answers into the files of a project, and what left-out parts change in them."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

from answers import questions
from selection import PARTS, SHARED

LICENCES = {  # by answer, as SPDX names them
    "Apache-2.0": "Apache-2.0",
    "MIT": "MIT",
    "proprietary": "LicenseRef-Proprietary",
}
# By part, the packages that only it needs: those of the lock, and those that pyproject.toml names
# though another package brings them as well.
LOCKED_FOR = {"operations": (), "experiments": ("optuna", "colorlog"), "forensics": ()}
NAMED_FOR = {"operations": ("fsspec",), "experiments": ("optuna",), "forensics": ()}
# Files that list what there is, one line for each.
MAPS = ("src/churn/__init__.py", "docs/architecture.md")


def edit_files(answers: dict, is_own: bool) -> None:
    """Write the answers into the files of the project."""
    licence = answers["licence"]
    params = Path("params.yaml")  # whatever the template's model is called
    model = re.compile(r"^(registry:\n  model: )\S+", re.M)
    text = model.sub(lambda match: match[1] + answers["model"], params.read_text())
    if answers["time"]:  # else the model would be measured on periods that it knows
        text = re.sub(r"^(  by: )customer ", r"\1time     ", text, flags=re.M)
        text = re.sub(r"^(  folds: )\d+", r"\g<1>1", text, flags=re.M)
    params.write_text(text)

    author = json.dumps(answers["author"], ensure_ascii=False)
    owner = f'license = "{LICENCES[licence]}"\nauthors = [{{ name = {author} }}]'
    replace("pyproject.toml", 'license = "Apache-2.0"', owner)
    replace("README.md", "# Churn pipeline", f"# {answers['project_name']}")
    if licence != "Apache-2.0":
        kept = "what came from the template stays under Apache-2.0 (`LICENSE.template`)"
        replace("README.md", "Licence: Apache-2.0.", f"Licence: {licence}; {kept}.")
    if is_own:
        columns = json.dumps([answers["id"], answers["target"]], ensure_ascii=False)
        if answers["operations"] == "yes":
            replace("docs/first-steps.md", '["customer_id", "churn"]', columns)
        sample = "['remote \"sample\"']\n    url = ../data/sample\n    verify = true\n"
        replace(".dvc/config", sample, "")
    if answers["remote"] != "local":
        replace(".dvc/config", "url = ../storage", f"url = {answers['remote']}")


def replace(path: str, old: str, new: str) -> None:
    """Replace a text in a file of the project, in which it must be."""
    text = Path(path).read_text()
    if old not in text:
        raise ValueError(
            f"{path} of the template no longer has {old!r}; cookiecutter/edits.py must follow"
        )
    Path(path).write_text(text.replace(old, new))


def drop_parts(answers: dict) -> None:
    """Take the parts that were left out from the lists of packages, commands and modules."""
    dropped = {part for part in PARTS if answers[part] == "no"}
    for part in dropped:
        for package in LOCKED_FOR[part]:
            pattern = rf"^{package}==.*\n(?:    --hash.*\n)+"
            for lock in ("requirements.txt", "requirements-team.txt"):
                drop_lines(lock, pattern)
        for package in NAMED_FOR[part]:
            drop_lines("conda.yaml", rf"^ +- {package}==.*\n")
    files = [file for part in dropped for file in PARTS[part]]
    files += [file for file, parts in SHARED.items() if dropped.issuperset(parts)]
    for file in files:
        name = re.sub("^src/(churn/)?", "", file)
        for path in MAPS:
            text = Path(path).read_text()
            entry = rf"^ *{name.removesuffix('/')}/?  .*\n"
            Path(path).write_text(re.sub(entry, "", text, flags=re.M))


def drop_lines(path: str, pattern: str) -> None:
    """Drop the lines of a file that match, of which there must be some."""
    text, count = re.subn(pattern, "", Path(path).read_text(), flags=re.M)
    if not count:
        raise ValueError(
            f"{path} of the template has no line {pattern}; cookiecutter/edits.py must follow"
        )
    Path(path).write_text(text)


def follow_in_dvc_lock(original: Callable[[str], bytes]) -> None:
    """Note in dvc.lock the code that was edited, so that its stages are not out of date.

    `make repro` in the new project runs them, and git then shows whether the outputs are those that
    dvc.lock names.

    Args:
        original: gives the content of a file of the template.
    """
    lock = Path("dvc.lock")
    text = lock.read_text()
    for path in sorted(set(re.findall(r"path: (\S+)$", text, re.M))):
        if not Path(path).is_file():
            continue
        before, after = original(path), Path(path).read_bytes()
        if before != after:
            text = text.replace(_dvc_entry(before), _dvc_entry(after))
    lock.write_text(text)


def _dvc_entry(content: bytes) -> str:
    """A file's md5 and size, as in dvc.lock."""
    return f"md5: {hashlib.md5(content).hexdigest()}\n      size: {len(content)}\n"


def keep_answers(answers: dict, is_own: bool) -> None:
    """Keep the answers in the project, so that anyone who has the table can give them again."""
    kept = {name: answers[name] for name in questions()}
    kept |= {"data": "data/raw.parquet", "drop": ""} if is_own else {"data": "sample"}
    content = json.dumps({"cookiecutter": kept}, indent=2, ensure_ascii=False)
    Path(".cookiecutter.json").write_text(content + "\n")
