"""Make another model's workspace: a temporary copy of the project that makes the model again.

Nothing here writes into the project, its git, its DVC cache or its MLflow store. A clone that
borrows the project's git objects is used rather than `git worktree`, which writes into .git and
stays there when it is killed.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from churn import paths
from churn.errors import UserError
from churn.files import md5, read_metrics
from churn.forensics.commit_recipe import project_folder_in
from churn.forensics.recipe import Recipe
from churn.signals import interruptible
from churn.tracking import dvc_cache, git_state, leftovers, store

# The beginnings of variables that would lead a rebuild into the caller's MLflow, DVC or git.
FOREIGN = ("MLFLOW_", "DVC_", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")
QUIET_GIT = ("-c", "advice.detachedHead=false", "-c", f"core.hooksPath={os.devnull}")
OWN_CACHE = "[cache]\n    dir = cache\n"  # as seen from .dvc
LAST_LINES = 15  # of what a failed run printed

Outcome = dict[str, dict[str, Any]]  # {"outs": {path: md5}, "metrics": {name: value}}
LineHandler = Callable[[str], None]


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A temporary folder that is removed at the end, whatever ends the work.

    A second Ctrl-C does not keep it. What a killed process left is removed by the next one.
    """
    stack = contextlib.ExitStack()
    parent = Path(tempfile.gettempdir())
    folder = stack.enter_context(leftovers.scratch_folder(parent, "churn-rebuild-"))
    try:
        with interruptible():
            yield folder
    finally:
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        stack.close()
        signal.signal(signal.SIGINT, handler)


@contextlib.contextmanager
def checkout(recipe: Recipe) -> Iterator[Path]:
    """A temporary clone of the project as a recipe describes it.

    It has the code of the commit with its patch, the data by md5, and the parameters. Its DVC cache
    and its MLflow store are its own. Where the patch is lost (recipe.patch is None) the code is the
    commit's, and the caller must say so.

    Raises:
        UserError: the commit is not in this clone, its patch does not apply, or nobody has the
            data.
    """
    if not git_state.commit_of(recipe.commit):
        raise UserError(
            f"commit {recipe.commit} of {recipe.label} is not in this clone; `git fetch --all` (in "
            "a shallow clone `git fetch --unshallow`) brings it if it was pushed"
        )
    with temporary() as parent:
        clone = parent / "project"
        subfolder = project_folder_in(recipe.commit)  # of a bigger repository
        folder = clone / subfolder
        root = git_state.git("rev-parse", "--show-toplevel").removesuffix("\n")
        git_state.git(*QUIET_GIT, "clone", "--quiet", "--shared", "--no-checkout", root, str(clone))
        git_state.git(*QUIET_GIT, "checkout", "--quiet", recipe.commit, cwd=clone)
        if recipe.patch:
            patch = parent / "patch"
            patch.write_text(recipe.patch)
            target = f"--directory={subfolder}"
            git_state.git("apply", "--whitespace=nowarn", target, str(patch), cwd=clone)

        (folder / ".dvc/config.local").write_text(OWN_CACHE)
        raw = folder / paths.RAW
        raw.parent.mkdir(exist_ok=True)
        dvc_cache.copy_tracked_file(recipe.data_md5, raw, "the raw data")
        set_params(folder, recipe.params)
        yield folder


def set_params(folder: Path, parameters: dict[str, object]) -> list[str]:
    """Write parameters into a workspace's params.yaml, and keep its comments.

    Args:
        parameters: by dotted name.

    Returns:
        The names of those that had another value.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    path = folder / "params.yaml"
    tree = yaml.load(path)
    changed = []
    for name, value in parameters.items():
        *sections, key = name.split(".")
        section = tree
        for part in sections:
            section = section.setdefault(part, {})
        if key not in section or not _is_same(section[key], value):
            section[key] = value
            changed.append(name)
    if changed:
        yaml.dump(tree, path)
    return changed


def _is_same(left: object, right: object) -> bool:
    """Whether two values are equal, and both or neither true or false (to Python, true is 1)."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def clean_environ(folder: Path, environment: Path) -> dict[str, str]:
    """The environment variables of a process that works in a checkout.

    Args:
        environment: the bin folder of its Python environment.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {
        "PATH": f"{environment}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(environment.parent),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": store.sqlite_uri(folder / "mlflow.db"),
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site"),
        "DVC_NO_ANALYTICS": "true",
    }


def execute(
    command: list[str], folder: Path, env: dict[str, str], on_line: LineHandler | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command and collect all that it prints.

    It gets a session of its own, so that it ends with its children when this process is
    interrupted: DVC would leave a stage running, and writing, behind.

    Args:
        on_line: called with each line that it prints.
    """
    lines = []
    with subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        text=True,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ) as process:
        try:
            for line in process.stdout or ():
                lines.append(line)
                if on_line:
                    on_line(line)
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, "".join(lines))


def run_pipeline(folder: Path, environment: Path, on_line: LineHandler | None = None) -> Outcome:
    """Run every stage of a checkout with DVC, whatever is cached.

    Args:
        environment: the bin folder of its Python environment.

    Raises:
        UserError: a stage failed, with the end of what it printed.
    """
    # Not bin/dvc: its first line names the folder in which the environment was built.
    command = [str(environment / "python"), "-m", "dvc", "repro", "--force"]
    result = execute(command, folder, clean_environ(folder, environment), on_line)
    if result.returncode:
        tail = "\n".join(result.stdout.strip().splitlines()[-LAST_LINES:])
        raise UserError(f"`dvc repro --force` failed in the rebuilt workspace:\n{tail}")
    return read_outcome(folder)


def read_outcome(folder: Path) -> Outcome:
    """The md5s of splits and model, and the metrics, that the stages of a workspace left."""
    outs = {}
    for path in (*paths.SPLITS.values(), paths.MODEL):
        outs[str(path)] = md5(folder / path)
    return {"outs": outs, "metrics": read_metrics(folder / paths.METRICS)}
