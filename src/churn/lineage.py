"""The four moving parts of a model (code, data, parameters, randomness) as md5s and git state."""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ruamel.yaml import YAML

from churn.errors import UserError
from churn.project_files import mapping, reading

RAW = Path("data/raw.parquet")
SCHEMA = Path("data/schema.yaml")
SPLITS = {name: Path(f"data/prepared/{name}.parquet") for name in ("train", "valid", "test")}
MODEL = Path("models/churn.ubj")
CURVES = Path("reports/training.csv")
METRICS = Path("reports/metrics.json")
PLOTS = Path("reports/plots")

MODEL_PACKAGES = ("mlflow", "xgboost", "pandas", "numpy", "pyyaml")  # what the scoring model imports


def read_yaml(path: str | Path) -> dict:
    """A YAML file as DVC reads it: YAML 1.2, where Yes is a text (in YAML 1.1, and so in PyYAML, it is true).

    Raises:
        UserError: it is none, or holds no names with values.
    """
    with reading(path):
        return mapping(path, YAML(typ="safe").load(Path(path)))


def parse_yaml(text: str):
    """A value as it would be read from params.yaml."""
    return YAML(typ="safe").load(text)


def md5(path: str | Path) -> str:
    """The md5 of a file's bytes, as DVC computes it; read in blocks, so the file may be larger than memory."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def lock() -> dict[str, dict[str, dict[str, str]]]:
    """dvc.lock as {stage: {"deps": {path: md5}, "outs": {path: md5}, "params": {name: value}}}."""
    with reading("dvc.lock"):
        stages = read_yaml("dvc.lock")["stages"] if Path("dvc.lock").exists() else {}
        return locked(stages)


def locked(stages: dict) -> dict[str, dict[str, dict[str, str]]]:
    """The stages of a dvc.lock, as `lock` gives them."""
    return {
        name: {
            "deps": {d["path"]: d["md5"] for d in stage.get("deps", [])},
            "outs": {o["path"]: o["md5"] for o in stage.get("outs", [])},
            "params": stage.get("params", {}).get("params.yaml", {}),
        }
        for name, stage in stages.items()
    }


def inputs(stage: str) -> dict[str, str]:
    """The md5 of every dependency of a stage, hashed now: what this run reads, whatever dvc.lock says later.

    Raises:
        UserError: a dependency is missing.
    """
    with reading("dvc.yaml"):
        paths = sorted(read_yaml("dvc.yaml")["stages"][stage]["deps"])
    if missing := [path for path in paths if not Path(path).exists()]:
        raise UserError(f"{', '.join(missing)}: missing; `make repro` fetches the table and makes the rest")
    return {path: md5(path) for path in paths}


def data(*splits: str) -> dict[str, str]:
    """md5 tags of the raw table, the contract and the splits (all three, or those named), as dvc.lock chains them.

    Raises:
        UserError: the splits on disk are not those that `preprocess` wrote; their origin is then unknown.
    """
    names = splits or tuple(SPLITS)
    preprocess = check_outputs("preprocess", *(SPLITS[name] for name in names))
    tags = {f"{name}_md5": preprocess["outs"][str(SPLITS[name])] for name in names}
    return {"data_md5": preprocess["deps"][str(RAW)], "schema_md5": preprocess["deps"][str(SCHEMA)], **tags}


def check_outputs(stage: str, *paths: Path) -> dict[str, dict[str, str]]:
    """Compare files that a stage wrote with dvc.lock, before anything is read from them.

    Returns:
        The stage as `lock` gives it.

    Raises:
        UserError: one is missing, damaged, or of another run.
    """
    written = lock().get(stage, {"deps": {}, "outs": {}})
    for path in paths:
        if not is_intact(path, written["outs"].get(str(path), "")):
            raise UserError(f"{path} is not what dvc.lock says `{stage}` wrote; run `dvc repro`")
    return written


def fetch(digest: str, what: str) -> Path:
    """A file that DVC tracks, by its md5: in DVC's cache, brought there where the cache has none or a damaged one.

    Raises:
        UserError: as `bring`.
    """
    path = cached(digest)
    if is_intact(path, digest):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        bring(digest, part, what)
        part.chmod(0o444)  # as DVC keeps them
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def bring(digest: str, target: Path, what: str) -> None:
    """Copy a file that DVC tracks to `target`, by its md5: from DVC's cache, else from the first remote with an intact
    copy. DVC itself believes the name of a file. The cache stays as it is.

    Raises:
        UserError: no place that DVC knows has an intact copy; the message names the places.
    """
    from dvc.repo import Repo

    path = cached(digest)
    asked = [f"DVC's cache ({f'damaged: {path}' if path.exists() else 'it has none'})"]
    if is_intact(path, digest):
        shutil.copyfile(path, target)
        return
    with Repo() as repo:
        for remote in repo.config["remote"]:
            try:
                store = repo.cloud.get_remote_odb(remote)
                found = store.exists(digest)
                if found:
                    store.fs.get_file(store.oid_to_path(digest), str(target))
                if is_intact(target, digest):
                    return
                answer = "damaged" if found else "it has none"
            except Exception as error:  # each kind of store has errors of its own; the next may have the file
                answer = f"it failed: {error}"
            asked.append(f"the remote {remote} at {repo.config['remote'][remote]['url']} ({answer})")
    target.unlink(missing_ok=True)
    raise UserError(
        f"{what} (md5 {digest}) is intact in none of the places that DVC knows: {', '.join(asked)}. Whoever has it "
        "must `dvc push` it; where the workspace still has it, delete the damaged file and `dvc commit` puts it back"
    )


def cached(digest: str) -> Path:
    """Where DVC's cache has, or would have, the file of this md5."""
    from dvc.repo import Repo

    with Repo() as repo:
        return Path(repo.cache.local.oid_to_path(digest))


def is_intact(path: Path, digest: str) -> bool:
    """Whether a file is there and is the one of this md5."""
    return path.exists() and md5(path) == digest


def code() -> dict[str, str]:
    """git_commit, git_dirty: whether the code differs from it (then `patch` says how), and the md5 of that difference.

    The project may be a folder of a bigger repository, and what changes around it is not its own. Where it is in no
    commit (a project without git that lies in somebody's repository), git_commit is "none".
    """
    commit = _git("rev-parse", "HEAD", "HEAD:./dvc.yaml").partition("\n")[0] or "none"
    difference = patch()
    if not difference:
        return {"git_commit": commit, "git_dirty": "false", "patch_md5": "none"}
    digest = hashlib.md5(difference.encode()).hexdigest()
    return {"git_commit": commit, "git_dirty": "true", "patch_md5": digest}


def patch() -> str:
    """How the tracked files of the project differ from the commit, as `git apply` takes it in the project's folder,
    whatever git's settings say of how people like to read a difference.

    dvc.lock and reports/ are left out: the pipeline writes them itself, from inputs that the tags name.
    """
    form = ("--binary", "--relative", "--no-color", "--no-ext-diff", "--src-prefix=a/", "--dst-prefix=b/")
    return _git("diff", "HEAD", *form, "--", ".", ":(exclude)dvc.lock", ":(exclude)reports")


def unfinished_experiment() -> bool:
    """Whether the workspace is as a `dvc exp run` leaves it that was killed (or that still runs): git's HEAD names the
    commit that the experiment began with and no branch, and the files are the experiment's."""
    base = _git("rev-parse", "--quiet", "--verify", "refs/exps/exec/EXEC_BASELINE")
    return base != "" and base == _git("rev-parse", "HEAD") and not _git("symbolic-ref", "--quiet", "HEAD")


def previous_branch() -> str:
    """The branch that git left last."""
    name = _git("rev-parse", "--abbrev-ref", "@{-1}").strip()
    return name if name not in ("", "HEAD", "@{-1}") else "main"


def environment() -> dict[str, str]:
    """lock_md5 of requirements.txt, whether the pinned packages are the installed ones, and the machine."""
    moved = []
    for pin in requirements():
        name, wanted = pin.split("==")
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            moved.append(f"{name} {found} (pinned {wanted})")
    with reading("requirements.txt"):
        lock_md5 = md5("requirements.txt")
    return {
        "lock_md5": lock_md5,
        "environment": "as pinned" if not moved else "differs: " + ", ".join(moved),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
    }


def processor() -> str:
    """The models of this machine's processor and NVIDIA GPUs, as Linux names them: "Intel Xeon E5, NVIDIA H100"."""
    named = [(Path("/proc/cpuinfo"), "model name")]
    named += [(path, "Model") for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))]
    found = []
    for path, key in named:
        lines = path.read_text().splitlines() if path.exists() else []
        found += [line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key][:1]
    return ", ".join(found) or platform.processor() or platform.machine()


def project() -> dict:
    """The table [project] of pyproject.toml: the name of the project, its pins."""
    with reading("pyproject.toml"):
        return tomllib.loads(Path("pyproject.toml").read_text())["project"]


def requirements(*packages: str) -> list[str]:
    """The pins of pyproject.toml ("xgboost==3.2.0"), all of them or those of the named packages."""
    return [pin for pin in project()["dependencies"] if not packages or pin.split("==")[0] in packages]


def verify(tags: dict[str, str]) -> None:
    """End a stage whose inputs are no longer those it was tagged with when it started.

    DVC hashes a stage's dependencies after it ran: a file edited meanwhile would stand in dvc.lock as the input of
    an output that it never made.
    """
    stage = tags["stage"]
    then, now = json.loads(tags[f"{stage}.inputs"]), inputs(stage)
    if changed := [path for path in now if now[path] != then.get(path)]:
        raise UserError(f"{', '.join(changed)} changed while {stage} ran; run `dvc repro` again")


def tags(stage: str) -> dict[str, str]:
    """What every run of a stage is tagged with: its inputs, code and environment."""
    return {"stage": stage, f"{stage}.inputs": json.dumps(inputs(stage)), **code(), **environment()}


def _git(*arguments: str) -> str:
    result = subprocess.run(["git", *arguments], capture_output=True, text=True)
    return result.stdout if result.returncode == 0 else ""
