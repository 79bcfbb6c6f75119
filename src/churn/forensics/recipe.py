"""What a model was made of, as a version, a run, an experiment or a commit recorded it."""

import contextlib
import hashlib
import json
import re
from dataclasses import dataclass, field

from churn import paths
from churn.errors import UserError
from churn.files import parse_yaml, reading
from churn.params import flatten, load_params, parameters_digest
from churn.tracking import evaluation_record, git_state, registry, runs, store

MARK = "MLproject"  # a file that is in the project's root and nowhere else in it
OUTS = {"train_md5": "train", "valid_md5": "valid", "test_md5": "test"}


@dataclass(frozen=True)
class Recipe:
    """Everything a model is made of, as it was recorded, and what came of it."""

    name: str  # what the user called it
    label: str  # for tables: "version 3", "HEAD~3 (1a2b3c4)"
    commit: str
    patch: (
        str | None
    )  # how the tree differed from the commit: "" not at all; None: it did, and nobody knows how
    data_md5: str
    schema_md5: str
    params: dict[str, object]  # by dotted name, seed among them
    params_md5: str  # params.digest of them
    lock_md5: str  # of requirements.txt
    outs: dict[str, str]  # {path: md5} of the splits and the model
    metrics: dict[str, float]
    deps: dict[str, str] = field(
        default_factory=dict
    )  # {path: md5} of code and contract, as the stages read them
    machine: dict[str, str] = field(
        default_factory=dict
    )  # environment, python, platform, processor
    model: str | None = None  # the name in the registry
    version: str | None = None
    run_id: str | None = None


def resolve_recipe(what: str) -> Recipe:
    """The recipe of a model, called by `models:/NAME@ALIAS`, `models:/NAME/3`, a version number or
    an alias of this project's model, an MLflow run id, the name of a DVC experiment, or a git
    revision.

    Raises:
        UserError: nothing is called so, with what was tried; or it names something that made no
            model.
    """
    import mlflow

    store.connect()
    model = load_params().registry.model
    if match := re.fullmatch(r"models:/([^/@]+)(?:@(.+)|/(\d+))", what):
        name, alias, number = match.groups()
        return recipe_of_version(
            what, registry.require_alias(name, alias) if alias else _numbered(name, number)
        )
    if what.startswith("models:"):
        raise UserError(
            f"{what} names no version; write models:/{model}@production or models:/{model}/3"
        )
    if what.isdecimal() and (found := registry.version_by_number(model, what)):
        return recipe_of_version(what, found)
    if found := registry.model_exists(model) and registry.version_with_alias(model, what):
        return recipe_of_version(what, found)
    if re.fullmatch(r"[0-9a-f]{32}", what) and runs.run_exists(what):
        return recipe_of_run(what, mlflow.get_run(what))
    if found := _run_of_experiment(what):
        return recipe_of_run(what, found)
    refs = git_state.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps").split(
        "\n"
    )
    experiments = {ref.split()[0].split("/")[-1]: ref.split()[1] for ref in refs if ref}
    commit = (
        experiments.get(what)
        or git_state.git(
            "rev-parse", "--verify", "--quiet", f"{what}^{{commit}}", check=False
        ).strip()
    )
    if commit:
        return recipe_of_commit(
            what, commit, f"experiment {what}" if what in experiments else f"{what} ({commit[:7]})"
        )
    raise UserError(
        f"{what}: no version and no alias of {model}, no run in {store.tracking_uri()}, no DVC experiment and no git "
        "revision is called so; `python src/promote.py --status` and `dvc exp show` list what there is"
    )


def _run_of_experiment(name: str):
    """The latest run that holds a model of a DVC experiment: its training run or, where training
    came from the cache, the record of its evaluation; None if there is none.
    """
    stages = ("train", "evaluate")
    found = [runs.find_run(dvc_experiment=name, stage=stage) for stage in stages]
    return max(filter(None, found), key=lambda run: run.info.start_time, default=None)


def _numbered(name: str, number: str):
    if found := registry.version_by_number(name, number):
        return found
    raise UserError(f"the registry has no version {number} of {name}")


def recipe_of_version(what: str, version) -> Recipe:
    """The recipe of a registered version: its tags, which no later run changes.

    Its patch is an artifact of its run.
    """
    import mlflow

    tags = dict(version.tags)
    try:
        run = mlflow.get_run(version.run_id)
    except mlflow.MlflowException:  # deleted for good: the tags alone must do
        run = None
    leaves = json.loads(tags["params"]) if "params" in tags else {}
    return _recipe(what, f"{version.name} version {version.version}", tags, leaves, run, version)


def recipe_of_run(what: str, run) -> Recipe:
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
    # MLflow keeps parameters as text; whether a 1 was a number or a text, the logged file knows
    written = {}
    with contextlib.suppress(mlflow.MlflowException, OSError):
        written = flatten(
            parse_yaml(mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/params.yaml"))
        )
    leaves = {
        name: written[name] if str(written.get(name)) == text else parse_yaml(text)
        for name, text in run.data.params.items()
    }
    registered = run.data.tags.get("model_version", "").split("/")
    version = registry.version_by_number(*registered) if len(registered) == 2 else None
    if (
        version and version.run_id != run.info.run_id
    ):  # the same model under parameters that only evaluate reads
        version = None
    kind = "experiment" if run.data.tags.get("dvc_experiment") == what else "run"
    return _recipe(
        what, f"{kind} {what[:12] if kind == 'run' else what}", run.data.tags, leaves, run, version
    )


def _recipe(what: str, label: str, tags: dict, leaves: dict, run, version) -> Recipe:
    needed = (
        "git_commit",
        "git_dirty",
        "data_md5",
        "schema_md5",
        "params_md5",
        "lock_md5",
        "model_md5",
        *OUTS,
    )
    if missing := [name for name in needed if not tags.get(name)]:
        raise UserError(
            f"{label} has no tag {', '.join(missing)}: it does not say what it was made of"
        )
    deps = {}
    for key, value in tags.items():
        deps |= json.loads(value) if key.endswith(".inputs") else {}
    return Recipe(
        name=what,
        label=label,
        commit=tags["git_commit"],
        patch=_patch(run, tags) if tags["git_dirty"] == "true" else "",
        data_md5=tags["data_md5"],
        schema_md5=tags["schema_md5"],
        params=leaves,
        params_md5=tags["params_md5"],
        lock_md5=tags["lock_md5"],
        outs={str(paths.SPLITS[split]): tags[tag] for tag, split in OUTS.items()}
        | {str(paths.MODEL): tags["model_md5"]},
        metrics=_metrics(run, version),
        deps={
            path: digest
            for path, digest in deps.items()
            if path == str(paths.SCHEMA) or path.startswith("src/")
        },
        machine={
            key: tags[key]
            for key in ("environment", "python", "platform", "processor")
            if key in tags
        },
        model=version.name if version else None,
        version=str(version.version) if version else None,
        run_id=run.info.run_id if run else None,
    )


def _patch(run, tags: dict[str, str]) -> str | None:
    """The logged difference of a run's tree from its commit, or None when the run or the artifact
    is gone, or when it is no longer the one that the tags name.
    """
    import mlflow

    if run is None or run.data.tags.get("git_commit") != tags["git_commit"]:
        return None
    try:
        patch = mlflow.artifacts.load_text(
            f"runs:/{run.info.run_id}/{run.data.tags['stage']}.patch"
        )
    except (mlflow.MlflowException, OSError):
        return None
    digest = hashlib.md5(patch.encode()).hexdigest()
    return patch if tags.get("patch_md5", digest) == digest else None


def _metrics(run, version) -> dict[str, float]:
    """The recorded test metrics: a version's own, else those of the run."""
    if version:
        return evaluation_record.registered_metrics(version)
    return evaluation_record.test_metrics(run.data.metrics) if run else {}


def recipe_of_commit(what: str, commit: str, label: str) -> Recipe:
    """The recipe of the model that dvc.lock of a commit names (a DVC experiment is a commit too).

    Raises:
        UserError: the commit has no dvc.lock, or one without the whole pipeline.
    """
    at = f"{commit}:{project_folder_in(commit)}"
    written = git_state.git("show", f"{at}dvc.lock", check=False)
    with reading(f"dvc.lock of {label}", "choose a commit with an intact one"):
        stages = parse_yaml(written)["stages"] if written else {}
    deps, outs, leaves = {}, {}, {}
    for stage in stages.values():
        deps |= {dep["path"]: dep["md5"] for dep in stage.get("deps", ())}
        outs |= {out["path"]: out["md5"] for out in stage.get("outs", ())}
        leaves |= flatten(stage.get("params", {}).get("params.yaml", {}))
    wanted = [str(path) for path in (*paths.SPLITS.values(), paths.MODEL)]
    metrics = git_state.git("show", f"{at}{paths.METRICS}", check=False)
    if not metrics or [path for path in wanted if path not in outs]:
        raise UserError(
            f"{label}: dvc.lock of this commit names no model; `dvc repro` and a commit would have"
        )
    with reading(f"{paths.METRICS} of {label}", "choose a commit with an intact one"):
        metrics = {
            name: value
            for name, value in json.loads(metrics).items()
            if isinstance(value, int | float)
        }
    content = git_state.git("show", f"{at}requirements.txt", check=False).encode()
    return Recipe(
        name=what,
        label=label,
        commit=commit,
        patch="",
        data_md5=deps[str(paths.RAW)],
        schema_md5=deps[str(paths.SCHEMA)],
        params=leaves,
        params_md5=parameters_digest(leaves),
        lock_md5=hashlib.md5(content).hexdigest(),
        outs={path: outs[path] for path in wanted},
        metrics=metrics,
        deps={
            path: digest
            for path, digest in deps.items()
            if path == str(paths.SCHEMA) or path.startswith("src/")
        },
    )


def project_folder_in(commit: str) -> str:
    """Where the project is in the tree of a commit: "" for the repository's root, else a folder
    with a slash at its end. It may have moved since, as when a repository of its own became a
    folder of a bigger one.
    """
    now = git_state.git("rev-parse", "--show-prefix").removesuffix("\n")
    if git_state.git("rev-parse", "--verify", "--quiet", f"{commit}:{now}{MARK}", check=False):
        return now
    files = git_state.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit).split("\0")
    found = [path.removesuffix(MARK) for path in files if f"/{path}".endswith(f"/{MARK}")]
    return found[0] if len(found) == 1 else now
