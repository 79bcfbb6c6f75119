"""Another model's workspace: what a model was made of, and a temporary copy of the project that makes it again.

Nothing here writes into the project, its git, its DVC cache or its MLflow store. A clone that borrows the project's
git objects is used rather than `git worktree`, which writes into .git and stays there when it is killed.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from churn import lineage, params, registry, tracking
from churn.errors import UserError

OUTS = {"train_md5": "train", "valid_md5": "valid", "test_md5": "test"}
# What would lead a rebuild into the caller's MLflow, DVC or git.
FOREIGN = ("MLFLOW_", "DVC_", "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")


@dataclass(frozen=True)
class Recipe:
    """Everything a model is made of, as it was recorded, and what came of it."""

    name: str  # what the user called it
    label: str  # for tables: "version 3", "HEAD~3 (1a2b3c4)"
    commit: str
    patch: str | None  # how the tree differed from the commit: "" not at all; None: it did, and nobody knows how
    data_md5: str
    schema_md5: str
    params: dict[str, object]  # by dotted name, seed among them
    params_md5: str  # params.digest of them
    lock_md5: str  # of requirements.txt
    outs: dict[str, str]  # {path: md5} of the splits and the model
    metrics: dict[str, float]
    deps: dict[str, str] = field(default_factory=dict)  # {path: md5} of code and contract, as the stages read them
    machine: dict[str, str] = field(default_factory=dict)  # environment, python, platform, processor
    model: str | None = None  # the name in the registry
    version: str | None = None
    run_id: str | None = None


def resolve(what: str) -> Recipe:
    """The recipe of a model, called by `models:/NAME@ALIAS`, `models:/NAME/3`, a version number or an alias of this
    project's model, an MLflow run id, the name of a DVC experiment, or a git revision.

    Raises:
        UserError: nothing is called so, with what was tried; or it names something that made no model.
    """
    import mlflow

    tracking.connect()
    model = params.load().registry.model
    if match := re.fullmatch(r"models:/([^/@]+)(?:@(.+)|/(\d+))", what):
        name, alias, number = match.groups()
        return of_version(what, registry.named(name, alias) if alias else _numbered(name, number))
    if what.startswith("models:"):
        raise UserError(f"{what} names no version; write models:/{model}@production or models:/{model}/3")
    if what.isdecimal() and (found := registry.version(model, what)):
        return of_version(what, found)
    if found := registry.exists(model) and registry.alias(model, what):
        return of_version(what, found)
    if re.fullmatch(r"[0-9a-f]{32}", what) and tracking.knows(what):
        return of_run(what, mlflow.get_run(what))
    if found := tracking.find_run(dvc_experiment=what.replace("'", ""), stage="train"):
        return of_run(what, found)
    refs = git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").split("\n")
    experiments = {ref.split()[0].split("/")[-1]: ref.split()[1] for ref in refs if ref}
    commit = experiments.get(what) or git("rev-parse", "--verify", "--quiet", f"{what}^{{commit}}", check=False).strip()
    if commit:
        return of_commit(what, commit, f"experiment {what}" if what in experiments else f"{what} ({commit[:7]})")
    raise UserError(
        f"{what}: no version and no alias of {model}, no run in {tracking.uri()}, no DVC experiment and no git "
        "revision is called so; `python src/promote.py --status` and `dvc exp show` list what there is"
    )


def _numbered(name: str, number: str):
    if found := registry.version(name, number):
        return found
    raise UserError(f"the registry has no version {number} of {name}")


def of_version(what: str, version) -> Recipe:
    """The recipe of a registered version: its tags. A patch and the metrics are its run's."""
    import mlflow

    tags = dict(version.tags)
    try:
        run = mlflow.get_run(version.run_id)
    except mlflow.MlflowException:  # deleted for good: the tags alone must do
        run = None
    if run and run.data.tags.get("model_md5") == tags.get("model_md5"):
        # A run that was judged again later holds that time's code and patch; they belong together.
        tags |= {key: run.data.tags[key] for key in ("git_commit", "git_dirty") if key in run.data.tags}
        tags |= {key: value for key, value in run.data.tags.items() if key.endswith(".inputs")}
    leaves = json.loads(tags["params"]) if "params" in tags else {}
    return _recipe(what, f"{version.name} version {version.version}", tags, leaves, run, version)


def of_run(what: str, run) -> Recipe:
    """The recipe of a model run, or of the launching run that had it made.

    Raises:
        UserError: the run made no model.
    """
    import mlflow

    if "model_run" in run.data.tags:
        run = mlflow.get_run(run.data.tags["model_run"])
    if "model_md5" not in run.data.tags:
        stage = run.data.tags.get("stage", run.info.run_name)
        raise UserError(
            f"run {run.info.run_id} ({stage}, {run.info.status}) made no model, so there is none to rebuild"
        )
    written = {}  # MLflow keeps parameters as text; whether a 1 was a number or a text, the logged file knows
    with contextlib.suppress(mlflow.MlflowException, OSError):
        written = params.flatten(lineage.parse_yaml(mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/params.yaml")))
    leaves = {
        name: written[name] if str(written.get(name)) == text else lineage.parse_yaml(text)
        for name, text in run.data.params.items()
    }
    registered = run.data.tags.get("model_version", "").split("/")
    version = registry.version(*registered) if len(registered) == 2 else None
    if version and version.run_id != run.info.run_id:  # the same model under parameters that only evaluate reads
        version = None
    kind = "experiment" if run.data.tags.get("dvc_experiment") == what else "run"
    return _recipe(what, f"{kind} {what[:12] if kind == 'run' else what}", run.data.tags, leaves, run, version)


def _recipe(what: str, label: str, tags: dict, leaves: dict, run, version) -> Recipe:
    needed = ("git_commit", "git_dirty", "data_md5", "schema_md5", "params_md5", "lock_md5", "model_md5", *OUTS)
    if missing := [name for name in needed if not tags.get(name)]:
        raise UserError(f"{label} has no tag {', '.join(missing)}: it does not say what it was made of")
    deps = {}
    for key, value in tags.items():
        deps |= json.loads(value) if key.endswith(".inputs") else {}
    return Recipe(
        name=what,
        label=label,
        commit=tags["git_commit"],
        patch=_patch(run) if tags["git_dirty"] == "true" else "",
        data_md5=tags["data_md5"],
        schema_md5=tags["schema_md5"],
        params=leaves,
        params_md5=tags["params_md5"],
        lock_md5=tags["lock_md5"],
        outs={str(lineage.SPLITS[split]): tags[tag] for tag, split in OUTS.items()}
        | {str(lineage.MODEL): tags["model_md5"]},
        metrics=_test_metrics(run.data.metrics) if run else {},
        deps={path: digest for path, digest in deps.items() if path == str(lineage.SCHEMA) or path.startswith("src/")},
        machine={key: tags[key] for key in ("environment", "python", "platform", "processor") if key in tags},
        model=version.name if version else None,
        version=str(version.version) if version else None,
        run_id=run.info.run_id if run else None,
    )


def _patch(run) -> str | None:
    """The logged difference of a run's tree from its commit, or None when the run or the artifact is gone."""
    import mlflow

    if run is None:
        return None
    try:
        return mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/train.patch") or None
    except (mlflow.MlflowException, OSError):
        return None


def _test_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """What evaluate measured, without the learning curves that the same run holds."""
    return {name: value for name, value in metrics.items() if not re.match(r"(train|valid)_", name)}


def of_commit(what: str, commit: str, label: str) -> Recipe:
    """The recipe of the model that dvc.lock of a commit names (a DVC experiment is a commit too).

    Raises:
        UserError: the commit has no dvc.lock, or one without the whole pipeline.
    """
    written = git("show", f"{commit}:dvc.lock", check=False)
    stages = lineage.parse_yaml(written)["stages"] if written else {}
    deps, outs, leaves = {}, {}, {}
    for stage in stages.values():
        deps |= {dep["path"]: dep["md5"] for dep in stage.get("deps", ())}
        outs |= {out["path"]: out["md5"] for out in stage.get("outs", ())}
        leaves |= stage.get("params", {}).get("params.yaml", {})
    wanted = [str(path) for path in (*lineage.SPLITS.values(), lineage.MODEL)]
    metrics = git("show", f"{commit}:{lineage.METRICS}", check=False)
    if not metrics or [path for path in wanted if path not in outs]:
        raise UserError(f"{label}: dvc.lock of this commit names no model; `dvc repro` and a commit would have")
    content = git("show", f"{commit}:requirements.txt", check=False).encode()
    return Recipe(
        name=what,
        label=label,
        commit=commit,
        patch="",
        data_md5=deps[str(lineage.RAW)],
        schema_md5=deps[str(lineage.SCHEMA)],
        params=leaves,
        params_md5=params.digest(leaves),
        lock_md5=hashlib.md5(content).hexdigest(),
        outs={path: outs[path] for path in wanted},
        metrics={name: value for name, value in json.loads(metrics).items() if isinstance(value, int | float)},
        deps={path: digest for path, digest in deps.items() if path == str(lineage.SCHEMA) or path.startswith("src/")},
    )


def git(*arguments: str, check: bool = True, cwd: str | Path = ".") -> str:
    """What git printed.

    Raises:
        UserError: git failed; with check=False the answer is "" then.
    """
    result = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=cwd)
    if result.returncode and check:
        raise UserError(f"git {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout if result.returncode == 0 else ""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: what is open is closed, what is temporary removed."""

    def stop(number, frame):
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # `nohup` asked for that
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A temporary folder that is gone afterwards, whatever ends the work; a second Ctrl-C does not keep it."""
    folder = Path(tempfile.mkdtemp(prefix="churn-"))
    try:
        with interruptible():
            yield folder
    finally:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        shutil.rmtree(folder, ignore_errors=True)
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def checkout(recipe: Recipe) -> Iterator[Path]:
    """A temporary clone of the project as the recipe names it: code of the commit with its patch, data by md5,
    parameters. Its DVC cache and its MLflow store are its own.

    A lost patch (recipe.patch is None) leaves the commit's own code: the caller must say so.

    Raises:
        UserError: the commit is not in this clone, its patch does not apply, or nobody has the data.
    """
    if not git("rev-parse", "--verify", "--quiet", f"{recipe.commit}^{{commit}}", check=False):
        raise UserError(
            f"commit {recipe.commit} of {recipe.label} is not in this clone; `git fetch --all` (in a shallow clone "
            "`git fetch --unshallow`) brings it if it was pushed"
        )
    with temporary() as parent:
        folder = parent / "project"
        quiet = ("-c", "advice.detachedHead=false", "-c", f"core.hooksPath={os.devnull}")
        git(*quiet, "clone", "--quiet", "--shared", "--no-checkout", str(Path.cwd()), str(folder))
        git(*quiet, "checkout", "--quiet", recipe.commit, cwd=folder)
        if recipe.patch:
            (parent / "patch").write_text(recipe.patch)
            git("apply", "--whitespace=nowarn", str(parent / "patch"), cwd=folder)
        (folder / ".dvc/config.local").write_text(f"[cache]\n    dir = {folder / '.dvc/cache'}\n")
        (folder / lineage.RAW).parent.mkdir(exist_ok=True)
        fetch(recipe.data_md5, folder / lineage.RAW)
        set_params(folder, recipe.params)
        yield folder


def fetch(digest: str, target: Path) -> None:
    """Copy a file that DVC tracks to `target`, by its md5: from the project's cache, else from the first remote that
    has it. Unlike lineage.fetch it leaves the cache as it is.

    Raises:
        UserError: no place that DVC knows has it; the message names the places.
    """
    from dvc.repo import Repo

    with Repo() as repo:
        cache, asked = Path(repo.cache.local.oid_to_path(digest)), ["DVC's cache"]
        if cache.exists():
            shutil.copyfile(cache, target)
        for remote in repo.config["remote"]:
            if _is(target, digest):
                return
            try:
                store = repo.cloud.get_remote_odb(remote)
                asked.append(f"{remote} ({repo.config['remote'][remote]['url']})")
                if store.exists(digest):
                    store.fs.get_file(store.oid_to_path(digest), str(target))
            except Exception as error:  # each kind of store has errors of its own; the next may have the file
                asked[-1] += f", which failed: {error}"
    if not _is(target, digest):
        target.unlink(missing_ok=True)
        raise UserError(
            f"the raw data (md5 {digest}) is in none of the places that DVC knows: {'; '.join(asked)}. Whoever has it "
            "must `dvc push` it"
        )


def _is(path: Path, digest: str) -> bool:
    return path.exists() and lineage.md5(path) == digest


def set_params(folder: Path, leaves: dict[str, object]) -> list[str]:
    """Write parameters by dotted name into a workspace's params.yaml, comments kept; the names that were other."""
    from ruamel.yaml import YAML

    yaml, path, changed = YAML(), folder / "params.yaml", []
    yaml.preserve_quotes = True
    tree = yaml.load(path)
    for name, value in leaves.items():
        *sections, leaf = name.split(".")
        node = tree
        for section in sections:
            node = node.setdefault(section, {})
        if leaf not in node or (node[leaf], type(node[leaf]) is bool) != (value, type(value) is bool):
            node[leaf] = value
            changed.append(name)
    if changed:
        yaml.dump(tree, path)
    return changed


def environment(folder: Path) -> Path:
    """The bin folder of an environment with a workspace's locked packages: this process's own when it is that one,
    else one that is built from the lock, once, and kept in the user's cache.

    Raises:
        UserError: it cannot be built, with what the installer says (a package that is no longer on the index).
    """
    lock = folder / "requirements.txt"
    if _is(_own_lock(), lineage.md5(lock)) and not _moved(folder):
        return Path(sys.executable).parent
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = caches / "churn-environments" / f"{lineage.md5(lock)}-{sys.version_info.major}.{sys.version_info.minor}"
    if not kept.exists():
        print(f"building the environment of lock {lineage.md5(lock)[:8]}; it is kept in {kept}", file=sys.stderr)
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f"{kept.name}.{os.getpid()}.part")  # renamed when it is whole
        try:
            _install(part, lock)
            with contextlib.suppress(OSError):  # another process was faster
                part.rename(kept)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return kept / "bin"


def _own_lock() -> Path:
    """The lock that this environment was made from: the Makefile leaves a copy in it."""
    copy = Path(sys.prefix, "requirements.txt")
    return copy if copy.exists() else Path("requirements.txt")


def _moved(folder: Path) -> bool:
    """Whether a package that a workspace pins has another version in this process's environment."""
    pins = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    try:
        return any(version(pin.split("==")[0]) != pin.split("==")[1] for pin in pins)
    except PackageNotFoundError:
        return True


def _install(target: Path, lock: Path) -> None:
    if shutil.which("uv"):
        make = ["uv", "venv", "--quiet", "--python", sys.executable, str(target)]
        fill = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(target)]
        fill += ["--require-hashes", "-r", str(lock)]
    else:
        make = [sys.executable, "-m", "venv", str(target)]
        fill = [str(target / "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        fill += ["--require-hashes", "-r", str(lock)]
    for command in (make, fill):
        result = execute(command, folder=Path.cwd(), env=dict(os.environ))
        if result.returncode:
            tail = "\n".join(result.stdout.strip().splitlines()[-12:])
            raise UserError(f"the environment of lock {lineage.md5(lock)} cannot be built here:\n{tail}")


def clean_environ(folder: Path, bin: Path) -> dict[str, str]:
    """The environment variables of a process that works in a checkout: its programs, its own MLflow store."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return kept | {
        "PATH": f"{bin}{os.pathsep}{os.environ.get('PATH', '')}",
        "VIRTUAL_ENV": str(bin.parent),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "DVC_SITE_CACHE_DIR": str(folder.parent / "dvc"),
        "DVC_NO_ANALYTICS": "true",
    }


def execute(command: list[str], folder: Path, env: dict[str, str], each_line=None) -> subprocess.CompletedProcess:
    """Run a command with all that it prints taken in, line by line to `each_line`.

    It gets a session of its own, so that it ends with its children when this process is interrupted: DVC would
    leave a stage running, and writing, behind.
    """
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    lines = []
    with subprocess.Popen(command, cwd=folder, env=env, text=True, start_new_session=True, **streams) as process:
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
    # `python -m dvc`: the first line of bin/dvc names the folder in which the environment was built.
    command = [str(bin / "python"), "-m", "dvc", "repro", "--force"]
    result = execute(command, folder, clean_environ(folder, bin), each_line)
    if result.returncode:
        tail = "\n".join(result.stdout.strip().splitlines()[-15:])
        raise UserError(f"`dvc repro --force` failed in the rebuilt workspace:\n{tail}")
    return outcome(folder)


def outcome(folder: Path) -> dict[str, dict]:
    """What the stages of a workspace left: {"outs": {path: md5}, "metrics": {name: value}}."""
    metrics = json.loads((folder / lineage.METRICS).read_text())
    return {
        "outs": {str(path): lineage.md5(folder / path) for path in (*lineage.SPLITS.values(), lineage.MODEL)},
        "metrics": {name: value for name, value in metrics.items() if isinstance(value, int | float)},
    }


@contextlib.contextmanager
def worker(bin: Path) -> Iterator[Callable[..., dict]]:
    """One process of an environment that runs the stages of any number of workspaces, one after another (rerun.py): a
    function that takes the folder of one and returns its `outcome`. It imports MLflow once, where `pipeline` does three
    times a run; the code that it runs is the workspace's own. Its MLflow store is its own, and is thrown away.

    The function also takes `instead`, {path of an output: the file that later stages read in its place}, and raises
    UserError when a stage failed.
    """
    with temporary() as folder, open(folder / "log", "w+") as log:
        env = clean_environ(folder, bin) | {"DVC_ROOT": str(folder)}  # where the stages keep their artifacts
        command = [str(bin / "python"), str(Path(__file__).with_name("rerun.py"))]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
        process = subprocess.Popen(command, cwd=folder, env=env, text=True, start_new_session=True, **streams)

        def run(workspace: Path, instead: dict[str, Path] | None = None) -> dict:
            request = {"folder": str(workspace), "instead": {path: str(file) for path, file in (instead or {}).items()}}
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
