"""Find what keeps a clone from working, and the command that mends each fault.

For src/doctor.py. Each check looks at one thing, changes nothing, and returns its faults.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from churn import paths
from churn.data.project_contract import load_project_contract
from churn.errors import UserError
from churn.params import load_params
from churn.tracking import environment, git_state, store

OLDEST_PYTHON = (3, 11)


@dataclass(frozen=True)
class Fault:
    """Something that does not work."""

    what: str
    mend: str  # a command, or what to do


def find_faults(name: str, check: Callable[[], list[Fault]]) -> list[Fault]:
    """The faults that a check finds; a check that fails is one of them."""
    try:
        return check()
    except UserError as error:  # its message says what to do
        return [Fault(str(error), "")]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return [Fault(f"{name} could not be looked at: {error}", "")]


def check_python() -> list[Fault]:
    """Python is new enough, and dvc is that of this environment."""
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return [Fault(f"Python is {sys.version.split()[0]}", f"install {wanted} or later")]
    own = Path(sys.executable).with_name("dvc")
    if not own.exists():
        return [Fault(f"{sys.prefix} has no dvc", "make install; source .venv/bin/activate")]
    found = shutil.which("dvc")
    if found is None:
        fault = "dvc is not on PATH, and DVC's queue calls it by that name"
        return [Fault(fault, "source .venv/bin/activate")]
    if Path(found).resolve() != own.resolve():
        fault = f"dvc on PATH is {found}, not that of {sys.prefix}"
        return [Fault(fault, "source .venv/bin/activate")]
    return []


def check_packages() -> list[Fault]:
    """The packages are those of the lock."""
    differing = environment.differing_packages()
    if not differing:
        return []
    listed = ", ".join(differing)
    target = "install-team" if Path(sys.prefix, "requirements-team.txt").exists() else "install"
    return [Fault(f"packages differ from their pins: {listed}", f"rm -r .venv && make {target}")]


def check_git() -> list[Fault]:
    """git is on a branch, with a commit."""
    if not git_state.git("rev-parse", "--git-dir", check=False):
        return [Fault("this is no git repository", "git init && git add . && git commit")]
    if not git_state.git("rev-parse", "--verify", "HEAD", check=False):
        return [Fault("git has no commit yet", "git add . && git commit")]
    if git_state.git("symbolic-ref", "--quiet", "HEAD", check=False):
        return []
    if git_state.unfinished_experiment():
        fault = "a `dvc exp run` was killed here, or still runs: git is on no branch"
        return [Fault(fault, way_back_from_experiment())]
    branch = git_state.previous_branch()
    return [Fault("git is on no branch (detached HEAD)", f"git switch {branch}")]


def way_back_from_experiment() -> str:
    """The commands that lead from what a killed `dvc exp run` left to the branch before it.

    A stage may have written outputs that no lock names: only `--force` takes them away. It is for
    what the stages make (`dvc.yaml`), not for a raw table that DVC does not have yet.
    """
    return (
        f"git checkout {git_state.previous_branch()} && git restore --staged --worktree "
        "params.yaml dvc.lock reports && dvc checkout --force dvc.yaml"
    )


def check_locks() -> list[Fault]:
    """No process that was killed has left a lock of git's or DVC's.

    DVC removes the notes of killed processes by itself, unless it was killed while it wrote them.
    """
    faults = []
    for name in ("index.lock", "HEAD.lock"):
        path = Path(git_state.git("rev-parse", "--git-path", name, check=False).strip())
        if path.name == name and path.exists():
            fault = f"{path} is there: a git that was killed left it, or one still runs"
            faults.append(Fault(fault, f"rm {path}, once no git runs here"))
    notes = paths.project_root() / ".dvc/tmp/rwlock"
    if notes.exists():
        try:
            json.loads(notes.read_text() or "x")
        except ValueError:
            fault = f"{notes}, in which DVC notes what it works on, is damaged"
            faults.append(Fault(fault, f"rm {notes}, once no dvc runs here"))
    return faults


def check_settings() -> list[Fault]:
    """params.yaml and the contract can be read."""
    load_project_contract(load_params())
    return []


def check_data() -> list[Fault]:
    """The table is here, DVC has a default remote, and dvc.lock describes the files."""
    faults = []
    if not paths.RAW.exists():
        faults.append(Fault(f"{paths.RAW} is missing", "python src/launch.py table"))
    if not _dvc("config", "core.remote").stdout.strip():
        faults.append(
            Fault("DVC has no default remote, to push to", "dvc remote add --default NAME URL")
        )
    status = _dvc("status", "--json")
    if status.returncode:
        last = status.stderr.strip().splitlines()[-1:]
        return [*faults, Fault(f"dvc status fails: {' '.join(last)}", "dvc status --verbose")]
    stale = [name for name in json.loads(status.stdout or "{}") if not name.endswith(".dvc")]
    if stale:
        fault = f"dvc.lock is not up to date with the files: {', '.join(stale)}"
        faults.append(Fault(fault, "dvc repro"))
    return faults


def check_store() -> list[Fault]:
    """The MLflow store can be used, and its experiment is there."""
    path = store.store_file()
    if path and not path.exists():
        return [Fault(f"there is no MLflow store yet ({path})", "make setup")]
    store.connect()
    store.check_artifact_root()
    return []


def _dvc(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


CHECKS: dict[str, Callable[[], list[Fault]]] = {
    "Python and dvc": check_python,
    "packages": check_packages,
    "git": check_git,
    "locks": check_locks,
    "params.yaml and the contract": check_settings,
    "data": check_data,
    "MLflow's store": check_store,
}
