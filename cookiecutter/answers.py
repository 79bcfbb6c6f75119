"""Check the answers to cookiecutter's questions, as far as that needs no package."""

import json
import re
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent

SAMPLE = {"id": "customer_id", "target": "churn", "positive": "Yes"}
REMOTES = r"(s3|gs|azure|ssh|webdavs?|hdfs|oss)://[^\s#'\"]+|/[^\s#'\"]+|local"
NAME_IN_LIST = re.compile(r"\s*('[^']*'|\"[^\"]*\"|[^,]+)\s*(?:,|$)")


def questions() -> dict[str, object]:
    """The questions of cookiecutter.json, without its settings."""
    content = json.loads((HERE / "cookiecutter.json").read_text())
    return {name: answer for name, answer in content.items() if not name.startswith("_")}


def defaults() -> dict[str, str]:
    """The answers of somebody who presses Enter.

    For a project whose kept answers are older than a question.
    """
    answers = {}
    for name, answer in questions().items():
        answers[name] = answer[0] if isinstance(answer, list) else answer
    return answers


def listed(answer: str) -> list[str]:
    """The names in an answer, comma separated.

    One may be quoted: 'a, b' is one name, and '' is that of a column without one.
    """
    names = []
    for name in (name.strip() for name in NAME_IN_LIST.findall(answer)):
        is_quoted = len(name) > 1 and name[0] == name[-1] and name[0] in "'\""
        if name:
            names.append(name[1:-1] if is_quoted else name)
    return names


def find_faults(answers: dict[str, str]) -> list[str]:
    """Everything that is wrong with the answers and the machine, one line each."""
    faults = _faults_of_names(answers)
    if answers["data"] == "sample":
        faults += _faults_of_sample(answers)
    else:
        faults += _faults_of_own_table(answers)
    left_out = [
        part for part in ("operations", "experiments", "forensics") if answers[part] == "no"
    ]
    if answers["benchmarks"] == "yes" and left_out:
        faults.append(
            f"benchmarks: they time every part; without {', '.join(left_out)} answer `no`"
        )
    return faults + _faults_of_machine()


def _faults_of_names(answers: dict[str, str]) -> list[str]:
    faults = []
    for name in ("project_name", "author", "id", "target", "positive"):
        text = answers[name]
        if not text.strip() or not text.isprintable():
            faults.append(f"{name}: {text!r} is no single line of text")
    slug, model, remote = answers["slug"], answers["model"], answers["remote"]
    if not re.fullmatch("[a-z][a-z0-9-]*", slug):
        faults.append(f"slug: {slug!r} is not small letters, digits and hyphens")
    if not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", model):
        faults.append(f"model: {model!r} is not letters, digits, _ and -")
    if not re.fullmatch(REMOTES, remote):
        faults.append(f"remote: {remote!r} is no URL that DVC can push to, no folder, not `local`")
    return faults


def _faults_of_own_table(answers: dict[str, str]) -> list[str]:
    faults = []
    path = answers["path"]
    if answers["id"] == answers["target"]:
        faults.append(f"id and target are the same column, {answers['id']!r}")
    if answers["benchmarks"] == "yes":
        faults.append("benchmarks: they time the sample; with own data answer `no`")
    try:
        with open(path, "rb") as file:
            is_parquet = file.read(4) == b"PAR1"
        if not is_parquet and ".csv" not in Path(path).name.lower():
            faults.append(f"data: {path} is neither a Parquet file nor a .csv")
    except OSError as error:
        faults.append(f"data: {path}: {error.strerror}")
    if answers["time"] in (answers["id"], answers["target"]):
        faults.append(f"time is also id or target, {answers['time']!r}")
    for role in ("id", "time", "target"):
        if answers[role] in listed(answers["drop"]):
            faults.append(f"drop: {answers[role]!r} is the {role}")
    if answers["positive"] in listed(answers["negative"]):
        faults.append(f"negative: {answers['positive']!r} is positive")
    return faults


def _faults_of_sample(answers: dict[str, str]) -> list[str]:
    faults = []
    if answers["drop"].strip():
        faults.append("drop: the sample's columns stay")
    if answers["time"].strip():
        faults.append("time: the sample has one row per customer")
    if answers["negative"].strip():
        faults.append("negative: the sample has one other label")
    if answers["unlabelled"] != "refuse":
        faults.append("unlabelled: the sample's customers all have a label")
    for name, value in SAMPLE.items():
        if answers[name] != value:
            faults.append(f"{name}: the sample's is {value!r}, not {answers[name]!r}")
    return faults


def _faults_of_machine() -> list[str]:
    faults = [f"{tool} is not installed" for tool in ("git", "make") if not shutil.which(tool)]
    if any(Path.cwd().iterdir()):
        faults.append(f"{Path.cwd()} is not empty")
    if not output("git", "var", "GIT_COMMITTER_IDENT"):
        faults.append("git does not know you: `git config --global user.email ...`")
    if output("git", "-C", str(REPO), "rev-parse", "--show-toplevel") != str(REPO):
        faults.append(
            f"{REPO} is no git repository (a zip?); clone the template and name the clone"
        )
    return faults


def output(*command: str) -> str:
    """What a command printed, or "" where it failed."""
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else ""
