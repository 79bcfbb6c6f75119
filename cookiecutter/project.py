"""The steps of the two hooks: `prepare` checks the answers, `build` makes the project.

They run in the new, empty folder under cookiecutter's own Python, which need have no package but
cookiecutter. The project is no second copy: it is what git tracks in the repository in which this
folder is. What needs the pipeline's packages (reading a table, the contract, DVC) runs in the new
project's own environment. When a hook fails, cookiecutter removes the folder.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import edits
from answers import HERE, REPO, defaults, find_faults, listed, output
from selection import chosen_kinds, is_left_out, select_passages

# What experiments and the pipeline write is taken as committed: the parameters of the last
# experiment are no template.
WRITTEN = ("params.yaml", "dvc.lock", "reports/metrics.json")

NO_TEXT = ("data/sample/", ".png")  # the beginning or the end of the names of binary files
EXAMPLES = (
    "The examples on this page are of the template's sample table: with yours, columns and figures "
    "differ."
)


def run(step: Callable[[dict], None], answers: dict) -> None:
    """Run a hook; a refusal is one message. After Ctrl-C no folder is left."""
    try:
        step(defaults() | answers)
    except ValueError as error:
        sys.exit(f"error: {error}")
    except subprocess.CalledProcessError as error:  # its message is above
        sys.exit(f"error: `{' '.join(map(str, error.cmd))}` failed")
    except KeyboardInterrupt:  # cookiecutter itself would leave the folder
        shutil.rmtree(Path.cwd(), ignore_errors=True)
        sys.exit(130)


def prepare(answers: dict) -> None:
    """Refuse bad answers; from own data make the table, the section `data`, and the contract.

    Raises:
        ValueError: every bad answer.
        CalledProcessError: the environment cannot be built.
    """
    faults = find_faults(answers)
    if faults:
        lines = [f"  {fault}" for fault in faults]
        raise ValueError("\n".join(["the project cannot be started:", *lines]))
    if answers["data"] == "sample":
        return
    Path("params.yaml").write_bytes(template_file("params.yaml"))
    env = {**os.environ, "PYTHONPATH": str(REPO / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    texts = ("path", "id", "time", "target", "positive", "unlabelled")
    request = {name: answers[name] for name in texts}
    request |= {name: listed(answers[name]) for name in ("negative", "drop")}
    command = [environment(), HERE / "table.py", json.dumps(request)]
    if subprocess.run(command, env=env).returncode:
        sys.exit(1)  # its message is above


def build(answers: dict) -> None:
    """Copy what git tracks, without what is left out; rename; commit on `main`.

    The branch `template` marks the commit, so that later changes of the template can be merged.
    """
    is_own = answers["data"] != "sample"
    choose_rendered_files(answers, is_own)
    copy_files(answers, is_own)
    edits.edit_files(answers, is_own)
    edits.drop_parts(answers)
    if not is_own:
        edits.follow_in_dvc_lock(template_file)
    edits.keep_answers(answers, is_own)
    commit(is_own)
    print(next_steps(answers, is_own))


def choose_rendered_files(answers: dict, is_own: bool) -> None:
    """Of the files that cookiecutter rendered, keep those that these answers want."""
    if is_own:
        Path("data-card.md").rename("data/README.md")
    else:
        Path("data-card.md").unlink()
    if answers["licence"] == "Apache-2.0":
        Path("LICENSE").unlink()  # the template's own takes its place
    if answers["ci"] != "GitHub":
        shutil.rmtree(".github")


def copy_files(answers: dict, is_own: bool) -> None:
    """Copy the files of the template under the project's own names."""
    kinds = chosen_kinds(answers)
    for name in output("git", "-C", str(REPO), "ls-files", "-z").strip("\0").split("\0"):
        if is_left_out(name, answers) or not (REPO / name).exists():
            continue
        is_second_licence = name == "LICENSE" and Path(name).exists()
        target = Path("LICENSE.template" if is_second_licence else name)
        if not target.exists():  # else `prepare` or cookiecutter made it
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(template_file(name))
            shutil.copymode(REPO / name, target)
        if name.startswith(NO_TEXT) or name.endswith(NO_TEXT):
            continue
        text = select_passages(name, target.read_text(), kinds)
        if is_own and name.startswith("docs/") and name.endswith(".md"):
            text = text.replace("\n", f"\n\n*{EXAMPLES}*\n", 1)
        text = text.replace("ChurnXGB", answers["model"])
        target.write_text(text.replace("churn-pipeline", answers["slug"]))


def template_file(name: str) -> bytes:
    """A file of the template, with uncommitted changes, but not those of an experiment."""
    if name in WRITTEN:
        command = ["git", "-C", str(REPO), "show", f"HEAD:{name}"]
        committed = subprocess.run(command, capture_output=True)
        if committed.returncode == 0:
            return committed.stdout
    return (REPO / name).read_bytes()


def commit(is_own: bool) -> None:
    """Commit the project, with the table as a DVC file, and mark the commit."""

    def git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True)

    git("init", "--quiet", "--initial-branch", "main")
    if is_own:
        command = [environment(), "-m", "dvc", "add", "--quiet", "data/raw.parquet"]
        subprocess.run(command, check=True)
    git("add", "--all")
    if not is_own:
        git("add", "--force", "data/sample")  # ignored, but for the one blob
    origin = output("git", "-C", str(REPO), "describe", "--always", "--exclude=*", "--dirty")
    git("commit", "--quiet", "--message", f"Start from the churn template, {origin}")
    git("branch", "template")
    if origin.endswith("-dirty"):
        exceptions = ", ".join(WRITTEN)
        print(
            f"{REPO} has uncommitted changes. They are in the new project, except those of "
            f"{exceptions}."
        )


def environment() -> Path:
    """The Python that reads the table.

    It is that of an environment which is made from the lock and kept in the user's cache, so that a
    second try after a refused table takes seconds. VENV names another, as in the Makefile.
    """
    lock = hashlib.md5((REPO / "requirements.txt").read_bytes()).hexdigest()
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("VENV") or caches / "churn-environments" / f"start-{lock}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    make = ["make", "--no-print-directory", "-C", str(REPO)]
    subprocess.run([*make, "install", f"VENV={folder.absolute()}"], check=True)
    return folder.absolute() / "bin/python"


def next_steps(answers: dict, is_own: bool) -> str:
    """What to do next."""
    remote = answers["remote"]
    lines = [
        f"{answers['project_name']} is ready. Next:",
        "",
        f"    cd {Path.cwd()}",
        "    make repro",
    ]
    if is_own:
        lines += [
            "    git add --all && git commit --message 'First model'",
            "",
            "Look over data/schema.yaml (it allows what was seen) and fill in data/README.md. The",
            "thresholds under `gate:` and the costs in params.yaml were chosen for another table:",
            "choose your own.",
        ]
        if answers["ci"] == "GitHub" and "://" not in remote:
            lines += [
                "",
                "The workflow in .github cannot fetch the table from a folder: it fails until the",
                "remote is a URL (`dvc remote modify storage url s3://...`).",
            ]
    if remote != "local":
        lines += [
            "",
            f"{remote} may need a package of DVC's: `make install-team` brings that of s3; add",
            "another one to pyproject.toml, and `make lock`. Then `dvc push`.",
        ]
    return "\n".join(lines)
