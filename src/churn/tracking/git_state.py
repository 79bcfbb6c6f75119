"""The code of a run: its commit, and how the workspace differs from it."""

import subprocess
from pathlib import Path

from churn.errors import UserError
from churn.files import text_md5

# What makes a difference independent of the user's settings for git.
PATCH_FORMAT = (
    "--binary",
    "--relative",
    "--no-color",
    "--no-ext-diff",
    "--src-prefix=a/",
    "--dst-prefix=b/",
)


def code_tags() -> dict[str, str]:
    """The tags git_commit, git_dirty ("true" or "false") and patch_md5, the md5 of `patch()`.

    The project may be a folder of a bigger repository, and what changes around it is not its own.
    Where it is in no commit (a project without git in somebody's repository), git_commit is "none".
    """
    # The second argument fails where the commit does not contain the project.
    printed = git("rev-parse", "HEAD", "HEAD:./dvc.yaml", check=False)
    commit = printed.partition("\n")[0] or "none"

    difference = patch()
    if not difference:
        return {"git_commit": commit, "git_dirty": "false", "patch_md5": "none"}
    return {"git_commit": commit, "git_dirty": "true", "patch_md5": text_md5(difference)}


def patch() -> str:
    """How the project's tracked files differ from the commit, for `git apply` in its folder.

    dvc.lock and reports/ are left out: the pipeline writes them itself, from inputs that the tags
    name.
    """
    files = (".", ":(exclude)dvc.lock", ":(exclude)reports")
    return git("diff", "HEAD", *PATCH_FORMAT, "--", *files, check=False)


def unfinished_experiment() -> bool:
    """Whether the workspace is as a killed (or running) `dvc exp run` leaves it.

    git's HEAD then names no branch, but the commit with which the experiment began, and the files
    are the experiment's.
    """
    base = git("rev-parse", "--quiet", "--verify", "refs/exps/exec/EXEC_BASELINE", check=False)
    if not base or base != git("rev-parse", "HEAD", check=False):
        return False
    return not git("symbolic-ref", "--quiet", "HEAD", check=False)


def latest_experiment() -> str:
    """The name of the DVC experiment that was created last."""
    references = "refs/exps/[0-9a-f][0-9a-f]/*/*"
    newest = ("--sort=-creatordate", "--count=1", "--format=%(refname:lstrip=-1)")
    return git("for-each-ref", *newest, references).strip()


def previous_branch() -> str:
    """The branch that was checked out before the current commit."""
    name = git("rev-parse", "--abbrev-ref", "@{-1}", check=False).strip()
    return name if name not in ("", "HEAD", "@{-1}") else "main"


def commit_of(name: str) -> str:
    """The full name of the commit that a git revision names, "" if there is none."""
    revision = f"{name}^{{commit}}"
    return git("rev-parse", "--verify", "--quiet", revision, check=False).strip()


def git(*arguments: str, check: bool = True, cwd: str | Path = ".") -> str:
    """Run git, and return what it printed.

    Raises:
        UserError: git failed; with check=False the answer is "" then.
    """
    result = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=cwd)
    if result.returncode == 0:
        return result.stdout
    if check:
        raise UserError(f"git {arguments[0]} failed: {result.stderr.strip()}")
    return ""
