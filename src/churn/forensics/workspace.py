"""Another model's workspace: a temporary copy of the project that makes the model again.

Nothing here writes into the project, its git, its DVC cache or its MLflow store. A clone that
borrows the project's git objects is used rather than `git worktree`, which writes into .git and
stays there when it is killed.
"""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from churn import paths
from churn.errors import UserError
from churn.files import md5, read_metrics
from churn.forensics.recipe import Recipe, project_folder_in
from churn.signals import interruptible
from churn.tracking import dvc_cache, git_state, leftovers, store

# What would lead a rebuild into the caller's MLflow, DVC or git.
FOREIGN = ("MLFLOW_", "DVC_", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A temporary folder that is gone afterwards, whatever ends the work; a second Ctrl-C does not
    keep it. What a killed process left goes with the next one.
    """
    held = contextlib.ExitStack()
    folder = held.enter_context(
        leftovers.scratch_folder(Path(tempfile.gettempdir()), "churn-rebuild-")
    )
    try:
        with interruptible():
            yield folder
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        held.close()
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def checkout(recipe: Recipe) -> Iterator[Path]:
    """A temporary clone of the project as the recipe names it: code of the commit with its patch,
    data by md5, parameters. Its DVC cache and its MLflow store are its own.

    A lost patch (recipe.patch is None) leaves the commit's own code: the caller must say so.

    Raises:
        UserError: the commit is not in this clone, its patch does not apply, or nobody has the
            data.
    """
    if not git_state.git(
        "rev-parse", "--verify", "--quiet", f"{recipe.commit}^{{commit}}", check=False
    ):
        raise UserError(
            f"commit {recipe.commit} of {recipe.label} is not in this clone; `git fetch --all` (in a shallow clone "
            "`git fetch --unshallow`) brings it if it was pushed"
        )
    with temporary() as parent:
        clone, at = parent / "project", project_folder_in(recipe.commit)
        folder = clone / at  # the project may be a folder of a bigger repository
        root = git_state.git("rev-parse", "--show-toplevel").removesuffix("\n")
        quiet = ("-c", "advice.detachedHead=false", "-c", f"core.hooksPath={os.devnull}")
        git_state.git(*quiet, "clone", "--quiet", "--shared", "--no-checkout", root, str(clone))
        git_state.git(*quiet, "checkout", "--quiet", recipe.commit, cwd=clone)
        if recipe.patch:
            (parent / "patch").write_text(recipe.patch)
            git_state.git(
                "apply",
                "--whitespace=nowarn",
                f"--directory={at}",
                str(parent / "patch"),
                cwd=clone,
            )
        # From .dvc on, whatever the project says.
        (folder / ".dvc/config.local").write_text("[cache]\n    dir = cache\n")
        (folder / paths.RAW).parent.mkdir(exist_ok=True)
        dvc_cache.copy_tracked_file(recipe.data_md5, folder / paths.RAW, "the raw data")
        set_params(folder, recipe.params)
        yield folder


def set_params(folder: Path, leaves: dict[str, object]) -> list[str]:
    """Write parameters by dotted name into a workspace's params.yaml, comments kept; the names that
    were other.
    """
    from ruamel.yaml import YAML

    yaml, path, changed = YAML(), folder / "params.yaml", []
    yaml.preserve_quotes = True
    tree = yaml.load(path)
    for name, value in leaves.items():
        *sections, leaf = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        if leaf not in node or (node[leaf], type(node[leaf]) is bool) != (
            value,
            type(value) is bool,
        ):
            node[leaf] = value
            changed.append(name)
    if changed:
        yaml.dump(tree, path)
    return changed


def clean_environ(folder: Path, bin: Path) -> dict[str, str]:
    """The environment variables of a process that works in a checkout: its programs, its own MLflow
    store.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {
        "PATH": f"{bin}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(bin.parent),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": store.sqlite_uri(folder / "mlflow.db"),
        "DVC_SITE_CACHE_DIR": str(folder / ".dvc/tmp/site"),
        "DVC_NO_ANALYTICS": "true",
    }


def execute(
    command: list[str], folder: Path, env: dict[str, str], each_line=None
) -> subprocess.CompletedProcess:
    """Run a command with all that it prints taken in, line by line to `each_line`.

    It gets a session of its own, so that it ends with its children when this process is
    interrupted: DVC would leave a stage running, and writing, behind.
    """
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    lines = []
    with subprocess.Popen(
        command, cwd=folder, env=env, text=True, start_new_session=True, **streams
    ) as process:
        try:
            for line in process.stdout:
                lines.append(line)
                if each_line:
                    each_line(line)
            process.wait()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, process.returncode, "".join(lines))


def pipeline(folder: Path, bin: Path, each_line=None) -> dict[str, dict]:
    """Run every stage of a checkout with DVC, whatever is cached.

    Returns:
        {"outs": {path: md5} of the splits and the model, "metrics": {name: value}}.

    Raises:
        UserError: a stage failed, with the end of what it printed.
    """
    # `python -m dvc`: the first line of bin/dvc names the folder in which the environment was
    # built.
    command = [str(bin / "python"), "-m", "dvc", "repro", "--force"]
    result = execute(command, folder, clean_environ(folder, bin), each_line)
    if result.returncode:
        tail = "\n".join(result.stdout.strip().splitlines()[-15:])
        raise UserError(f"`dvc repro --force` failed in the rebuilt workspace:\n{tail}")
    return outcome(folder)


def outcome(folder: Path) -> dict[str, dict]:
    """What the stages of a workspace left: {"outs": {path: md5}, "metrics": {name: value}}."""
    metrics = read_metrics(folder / paths.METRICS)
    return {
        "outs": {str(path): md5(folder / path) for path in (*paths.SPLITS.values(), paths.MODEL)},
        "metrics": {
            name: value for name, value in metrics.items() if isinstance(value, int | float)
        },
    }


@contextlib.contextmanager
def worker(bin: Path) -> Iterator[Callable[..., dict]]:
    """One process of an environment that runs the stages of any number of workspaces, one after
    another (rerun.py): a function that takes the folder of one and returns its `outcome`. It
    imports MLflow once, where `pipeline` does three times a run; the code that it runs is the
    workspace's own. Its MLflow store is its own, and is thrown away.

    The function also takes `instead`, {path of an output: the file that later stages read in its
    place}, and raises UserError when a stage failed.
    """
    with temporary() as folder, open(folder / "log", "w+") as log:
        env = clean_environ(folder, bin) | {
            "DVC_ROOT": str(folder)
        }  # where the stages keep their artifacts
        command = [str(bin / "python"), str(Path(__file__).with_name("rerun.py"))]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
        process = subprocess.Popen(
            command, cwd=folder, env=env, text=True, start_new_session=True, **streams
        )

        def run(workspace: Path, instead: dict[str, Path] | None = None) -> dict:
            request = {
                "folder": str(workspace),
                "instead": {path: str(file) for path, file in (instead or {}).items()},
            }
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if failure := json.loads(answer) if answer else Path(log.name).read_text()[-3000:]:
                raise UserError(failure)
            return outcome(workspace)

        try:
            yield run
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
