"""The code of a run: its commit, and how the workspace differs from it."""

import hashlib
import subprocess
from pathlib import Path

from churn.errors import UserError


def code_tags() -> dict[str, str]:
    """git_commit, git_dirty: whether the code differs from it (then `patch` says how), and the md5
    of that difference.

    The project may be a folder of a bigger repository, and what changes around it is not its own.
    Where it is in no commit (a project without git that lies in somebody's repository), git_commit
    is "none".
    """
    commit = _git_or_nothing("rev-parse", "HEAD", "HEAD:./dvc.yaml").partition("\n")[0] or "none"
    difference = patch()
    if not difference:
        return {"git_commit": commit, "git_dirty": "false", "patch_md5": "none"}
    digest = hashlib.md5(difference.encode()).hexdigest()
    return {"git_commit": commit, "git_dirty": "true", "patch_md5": digest}


def patch() -> str:
    """How the tracked files of the project differ from the commit, as `git apply` takes it in the
    project's folder, whatever git's settings say of how people like to read a difference.

    dvc.lock and reports/ are left out: the pipeline writes them itself, from inputs that the tags
    name.
    """
    form = (
        "--binary",
        "--relative",
        "--no-color",
        "--no-ext-diff",
        "--src-prefix=a/",
        "--dst-prefix=b/",
    )
    return _git_or_nothing(
        "diff", "HEAD", *form, "--", ".", ":(exclude)dvc.lock", ":(exclude)reports"
    )


def unfinished_experiment() -> bool:
    """Whether the workspace is as a `dvc exp run` leaves it that was killed (or that still runs):
    git's HEAD names the commit that the experiment began with and no branch, and the files are the
    experiment's.
    """
    base = _git_or_nothing("rev-parse", "--quiet", "--verify", "refs/exps/exec/EXEC_BASELINE")
    return (
        base != ""
        and base == _git_or_nothing("rev-parse", "HEAD")
        and not _git_or_nothing("symbolic-ref", "--quiet", "HEAD")
    )


def previous_branch() -> str:
    """The branch that git left last."""
    name = _git_or_nothing("rev-parse", "--abbrev-ref", "@{-1}").strip()
    return name if name not in ("", "HEAD", "@{-1}") else "main"


def _git_or_nothing(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return result.stdout if result.returncode == 0 else ""


def git(*arguments: str, check: bool = True, cwd: str | Path = ".") -> str:
    """What git printed.

    Raises:
        UserError: git failed; with check=False the answer is "" then.
    """
    result = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=cwd)
    if result.returncode and check:
        raise UserError(f"git {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout if result.returncode == 0 else ""
