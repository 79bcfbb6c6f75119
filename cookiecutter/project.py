"""What the two hooks do: `prepare` checks the answers and takes in own data, `build` makes the project.

They run in the new, empty folder under cookiecutter's own Python, which need have no package but cookiecutter. The
project is no second copy: it is what git tracks in the repository that this folder lies in. What needs the pipeline's
packages (reading a table, the contract, DVC) runs in the new project's own environment. When a hook fails,
cookiecutter removes the folder.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPO = HERE.parent

# What experiments and the pipeline write is taken as committed: parameters of the last experiment are no template.
WRITTEN = ("params.yaml", "dvc.lock", "reports/metrics.json")

SAMPLE = {"id": "customer_id", "target": "churn", "positive": "Yes"}
LICENCES = {
    "Apache-2.0": "Apache-2.0",
    "MIT": "MIT",
    "proprietary": "LicenseRef-Proprietary",
}  # SPDX
TEMPLATE_ONLY = (
    "CHANGELOG.md",
    "cookiecutter/",
    ".ci/",
    "docs/start-a-project.md",
    "tests/earlier_release.py",
    "tests/forensics/test_rebuild_earlier_release.py",
    "tests/operations/test_earlier_release.py",
    "tests/template/test_cookiecutter.py",
)
SAMPLE_ONLY = (
    "data/sample/",
    "data/raw.parquet.dvc",
    "dvc.lock",
    "reports/metrics.json",
    "tests/forensics/planted.py",
)
EXAMPLES = "The examples on this page are of the template's sample table: with yours, columns and figures differ."
# A passage of a text that only some projects get: `# only sample` and `# end`, or `<!-- only sample -->` and
# `<!-- end -->`, as lines of their own; the latter also within a line.
OWN_LINES = r"^(?:# only (?P<kind>\w+)|<!-- only (?P<html>\w+) -->)\n(?P<lines>.*?)^(?:# end|<!-- end -->)\n"
PASSAGES = re.compile(
    OWN_LINES + r"|<!-- only (?P<inline>\w+) -->(?P<text>.*?)<!-- end -->", re.S | re.M
)


def run(step: Callable[[dict], None], answers: dict) -> None:
    """Run a hook; what it refuses is one message. Ctrl-C also leaves no folder (cookiecutter itself would)."""
    try:
        step(defaults() | answers)
    except ValueError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:  # it has said why
        sys.exit(f"error: `{' '.join(map(str, error.cmd))}` failed")
    except KeyboardInterrupt:
        shutil.rmtree(Path.cwd(), ignore_errors=True)
        sys.exit(130)


def defaults() -> dict[str, str]:
    """The answers of somebody who presses Enter, for a project whose kept answers are older than a question."""
    questions = json.loads((HERE / "cookiecutter.json").read_text())
    asked = {name: answer for name, answer in questions.items() if not name.startswith("_")}
    return {
        name: answer[0] if isinstance(answer, list) else answer for name, answer in asked.items()
    }


def output(*command: str) -> str:
    """What a command printed, or "" where it failed."""
    result = subprocess.run(command, capture_output=True, text=True)
    return result.stdout.strip() if result.returncode == 0 else ""


def environment() -> Path:
    """The Python that reads the table: of an environment that is made from the lock and kept in the user's cache, so
    that a second try after a refused table takes seconds. VENV names another, as in the Makefile."""
    lock = hashlib.md5((REPO / "requirements.txt").read_bytes()).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("VENV") or caches / "churn-environments" / f"start-{lock}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = [
        "make",
        "--no-print-directory",
        "-C",
        str(REPO),
        "install",
        f"VENV={folder.absolute()}",
    ]
    subprocess.run(command, check=True)
    return folder.absolute() / "bin/python"


def content(name: str) -> bytes:
    """A file of the template: as it is, uncommitted changes too, except what an experiment writes."""
    committed = subprocess.run(
        ["git", "-C", str(REPO), "show", f"HEAD:{name}"], capture_output=True
    )
    if name in WRITTEN and committed.returncode == 0:
        return committed.stdout
    return (REPO / name).read_bytes()


def listed(answer: str) -> list[str]:
    """The names in an answer, comma separated. One may be quoted: 'a, b' is one name, and '' is that of a column
    without one."""
    found = re.findall(r"\s*('[^']*'|\"[^\"]*\"|[^,]+)\s*(?:,|$)", answer)
    names = [name.strip() for name in found]
    return [
        name[1:-1] if len(name) > 1 and name[0] == name[-1] in "'\"" else name
        for name in names
        if name
    ]


def faults(answers: dict) -> list[str]:
    """Everything that is wrong with the answers, and with the machine, as far as it is known without a package."""
    found, own = [], answers["data"] != "sample"

    def refuse(wrong: bool, why: str) -> None:
        if wrong:
            found.append(why)

    for name in ("project_name", "author", "id", "target", "positive"):
        text = answers[name]
        refuse(
            not text.strip() or not text.isprintable(),
            f"{name}: {text!r} is no single line of text",
        )
    slug, model, remote = answers["slug"], answers["model"], answers["remote"]
    refuse(
        not re.fullmatch("[a-z][a-z0-9-]*", slug),
        f"slug: {slug!r} is not small letters, digits and hyphens",
    )
    refuse(
        not re.fullmatch("[A-Za-z][A-Za-z0-9_-]*", model),
        f"model: {model!r} is not letters, digits, _ and -",
    )
    schemes = r"(s3|gs|azure|ssh|webdavs?|hdfs|oss)://[^\s#'\"]+|/[^\s#'\"]+|local"
    refuse(
        not re.fullmatch(schemes, remote),
        f"remote: {remote!r} is no URL that DVC can push to, no folder, not `local`",
    )
    if own:
        refuse(
            answers["id"] == answers["target"],
            f"id and target are the same column, {answers['id']!r}",
        )
        refuse(
            answers["benchmarks"] == "yes",
            "benchmarks: they time the sample; with own data answer `no`",
        )
        try:
            with open(answers["path"], "rb") as file:
                parquet = file.read(4) == b"PAR1"
            is_csv = ".csv" in Path(answers["path"]).name.lower()
            refuse(
                not parquet and not is_csv,
                f"data: {answers['path']} is neither a Parquet file nor a .csv",
            )
        except OSError as error:
            refuse(True, f"data: {answers['path']}: {error.strerror}")
        for role in ("id", "target"):
            refuse(
                answers[role] in listed(answers["drop"]), f"drop: {answers[role]!r} is the {role}"
            )
        refuse(
            answers["positive"] in listed(answers["negative"]),
            f"negative: {answers['positive']!r} is positive",
        )
    else:
        refuse(answers["drop"].strip() != "", "drop: the sample's columns stay")
        refuse(answers["negative"].strip() != "", "negative: the sample has one other label")
        refuse(
            answers["unlabelled"] != "refuse", "unlabelled: the sample's customers all have a label"
        )
        for name, value in SAMPLE.items():
            refuse(
                answers[name] != value, f"{name}: the sample's is {value!r}, not {answers[name]!r}"
            )
    for tool in ("git", "make"):
        refuse(not shutil.which(tool), f"{tool} is not installed")
    refuse(any(Path.cwd().iterdir()), f"{Path.cwd()} is not empty")
    refuse(
        not output("git", "var", "GIT_COMMITTER_IDENT"),
        "git does not know you: `git config --global user.email ...`",
    )
    where = output("git", "-C", str(REPO), "rev-parse", "--show-toplevel")
    refuse(
        where != str(REPO),
        f"{REPO} is no git repository (a zip?); clone the template and name the clone",
    )
    return found


def prepare(answers: dict) -> None:
    """Refuse bad answers; from own data make data/raw.parquet, `data:` in params.yaml and data/schema.yaml.

    Raises:
        ValueError: every bad answer.
        CalledProcessError: the table cannot be used; table.py or infer_schema.py said why.
    """
    if found := faults(answers):
        raise ValueError(
            "the project cannot be started:\n" + "\n".join(f"  {fault}" for fault in found)
        )
    if answers["data"] == "sample":
        return
    Path("params.yaml").write_bytes(content("params.yaml"))
    python = environment()
    env = {**os.environ, "PYTHONPATH": str(REPO / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    asked = {name: answers[name] for name in ("path", "id", "target", "positive", "unlabelled")}
    asked |= {name: listed(answers[name]) for name in ("negative", "drop")}
    if subprocess.run([python, HERE / "table.py", json.dumps(asked)], env=env).returncode:
        sys.exit(1)  # it has said why


def left_out(name: str, answers: dict) -> bool:
    """Whether a file of the template does not belong into this project."""
    if name.startswith(TEMPLATE_ONLY) or (
        name.startswith("benchmarks/") and answers["benchmarks"] == "no"
    ):
        return True
    if answers["data"] == "sample":
        return False
    module = (
        name.startswith("tests/")
        and "\npytestmark = pytest.mark.sample\n" in (REPO / name).read_text()
    )
    return name.startswith(SAMPLE_ONLY) or module


def passages(text: str, kinds: set[str]) -> str:
    """A text without the passages that are of no such kind, and without the marks of the others."""

    def kept(found: re.Match) -> str:
        kind = found["kind"] or found["html"] or found["inline"]
        return (found["lines"] or found["text"] or "") if kind in kinds else ""

    return PASSAGES.sub(kept, text)


def replace(path: str, old: str, new: str) -> None:
    """Replace a text in a file of the project, where it must be."""
    text = Path(path).read_text()
    if old not in text:
        raise ValueError(
            f"{path} of the template no longer has {old!r}; cookiecutter/project.py must follow"
        )
    Path(path).write_text(text.replace(old, new))


def build(answers: dict) -> None:
    """Copy what git tracks, but for what is left out; rename; commit on `main`, marked by the branch `template`."""
    own, licence = answers["data"] != "sample", answers["licence"]
    if own:
        Path("data-card.md").rename("data/README.md")
    else:
        Path("data-card.md").unlink()
    if licence == "Apache-2.0":
        Path("LICENSE").unlink()  # the template's own
    if answers["ci"] != "GitHub":
        shutil.rmtree(".github")

    kinds = {"benchmarks"} if answers["benchmarks"] == "yes" else set()
    kinds |= set() if own else {"sample"}
    listed = output("git", "-C", str(REPO), "ls-files", "-z").strip("\0").split("\0")
    for name in listed:
        if left_out(name, answers) or not (REPO / name).exists():
            continue
        target = Path("LICENSE.template" if name == "LICENSE" and Path(name).exists() else name)
        if not target.exists():  # what `prepare` made or cookiecutter rendered stays
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content(name))
            shutil.copymode(REPO / name, target)
        if not name.startswith("data/sample/") and not name.endswith(".png"):
            text = passages(target.read_text(), kinds)
            if own and name.startswith("docs/"):
                text = text.replace("\n", f"\n\n*{EXAMPLES}*\n", 1)
            target.write_text(
                text.replace("ChurnXGB", answers["model"]).replace(
                    "churn-pipeline", answers["slug"]
                )
            )

    # Whatever the template's model is called.
    params = Path("params.yaml").read_text()
    named = re.sub(
        r"(?m)^(registry:\n  model: )\S+", lambda found: found[1] + answers["model"], params
    )
    Path("params.yaml").write_text(named)

    author = json.dumps(answers["author"], ensure_ascii=False)
    written = f'license = "{LICENCES[licence]}"\nauthors = [{{ name = {author} }}]'
    replace("pyproject.toml", 'license = "Apache-2.0"', written)
    replace("README.md", "# Churn pipeline", f"# {answers['project_name']}")
    if licence != "Apache-2.0":
        kept = "what came from the template stays under Apache-2.0 (`LICENSE.template`)"
        replace("README.md", "Licence: Apache-2.0.", f"Licence: {licence}; {kept}.")
    if own:
        columns = json.dumps([answers["id"], answers["target"]], ensure_ascii=False)
        replace("docs/first-steps.md", '["customer_id", "churn"]', columns)
        replace(".dvc/config", "['remote \"sample\"']\n    url = ../data/sample\n", "")
    if answers["remote"] != "local":
        replace(".dvc/config", "url = ../storage", f"url = {answers['remote']}")

    # The table's place in this project, so that these answers can be given again by anyone who has it.
    questions = json.loads((HERE / "cookiecutter.json").read_text())
    public = {name: answers[name] for name in questions if not name.startswith("_")}
    public |= {"data": "data/raw.parquet", "drop": ""} if own else {"data": "sample"}
    Path(".cookiecutter.json").write_text(
        json.dumps({"cookiecutter": public}, indent=2, ensure_ascii=False) + "\n"
    )

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True)

    git("init", "--quiet", "--initial-branch", "main")
    if own:
        subprocess.run(
            [environment(), "-m", "dvc", "add", "--quiet", "data/raw.parquet"], check=True
        )
    git("add", "--all")
    if not own:
        git("add", "--force", "data/sample")  # ignored, but for the one blob
    commit = output("git", "-C", str(REPO), "describe", "--always", "--exclude=*", "--dirty")
    git("commit", "--quiet", "--message", f"Start from the churn template, {commit}")
    git("branch", "template")
    if commit.endswith("-dirty"):
        print(
            f"{REPO} has uncommitted changes. They are in the new project, except those of {', '.join(WRITTEN)}."
        )
    print(after(answers, own))


def after(answers: dict, own: bool) -> str:
    """What to do next."""
    lines = [
        f"{answers['project_name']} is ready. Next:",
        "",
        f"    cd {Path.cwd()}",
        "    make repro",
    ]
    if own:
        lines += ["    git add --all && git commit --message 'First model'"]
        lines += [
            "",
            "Look over data/schema.yaml (it allows what was seen) and fill in data/README.md. The thresholds under",
        ]
        lines += [
            "`gate:` and the costs in params.yaml were chosen for another table: choose your own."
        ]
        if answers["ci"] == "GitHub" and "://" not in answers["remote"]:
            lines += [
                "",
                "The workflow in .github cannot fetch the table from a folder: it fails until the remote is",
            ]
            lines += ["a URL (`dvc remote modify storage url s3://...`)."]
    if answers["remote"] != "local":
        lines += [
            "",
            f"{answers['remote']} may need a package of DVC's (s3: dvc-s3): add it to pyproject.toml, `make lock`,",
        ]
        lines += ["and `dvc push`."]
    return "\n".join(lines)
