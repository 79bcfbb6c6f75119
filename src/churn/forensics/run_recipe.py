"""The recipe of a model that a registered version or an MLflow run recorded."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from churn import paths
from churn.errors import UserError
from churn.files import parse_yaml, text_md5
from churn.forensics.recipe import Recipe, code_and_contract
from churn.params import flatten
from churn.tracking import registered_versions

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

SPLIT_TAGS = {"train_md5": "train", "valid_md5": "valid", "test_md5": "test"}
MACHINE_TAGS = ("environment", "python", "platform", "processor")
NEEDED_TAGS = (
    "git_commit",
    "git_dirty",
    "data_md5",
    "schema_md5",
    "params_md5",
    "lock_md5",
    "model_md5",
    *SPLIT_TAGS,
)


def recipe_of_version(name: str, version: ModelVersion) -> Recipe:
    """The recipe of a registered version, from its tags, which no later run changes.

    Its patch is an artifact of its run.
    """
    import mlflow

    try:
        run = mlflow.get_run(version.run_id or "")
    except mlflow.MlflowException:  # deleted for good: the tags alone must do
        run = None
    tags = dict(version.tags)
    parameters = json.loads(tags["params"]) if "params" in tags else {}
    label = f"{version.name} version {version.version}"
    return _recipe_of_tags(name, label, tags, parameters, _Source(run, version))


def recipe_of_run(name: str, run: Run) -> Recipe:
    """The recipe of a model run, or of the launching run under which it was made.

    Raises:
        UserError: the run made no model.
    """
    import mlflow

    if "model_run" in run.data.tags:
        run = mlflow.get_run(run.data.tags["model_run"])
    tags = run.data.tags
    if "model_md5" not in tags:
        stage = tags.get("stage", run.info.run_name)
        raise UserError(
            f"run {run.info.run_id} ({stage}, {run.info.status}) made no model, so there is none "
            "to rebuild"
        )
    label = f"run {name[:12]}"
    if tags.get("dvc_experiment") == name:
        label = f"experiment {name}"
    source = _Source(run, _registered_version(run))
    return _recipe_of_tags(name, label, tags, _parameters_of_run(run), source)


@dataclass(frozen=True)
class _Source:
    """Where a recipe was recorded."""

    run: Run | None
    version: ModelVersion | None


def _recipe_of_tags(
    name: str,
    label: str,
    tags: Mapping[str, str],
    parameters: dict[str, object],
    source: _Source,
) -> Recipe:
    """The recipe that the tags of a version or a run describe.

    Raises:
        UserError: a tag is missing.
    """
    missing = [tag for tag in NEEDED_TAGS if not tags.get(tag)]
    if missing:
        raise UserError(
            f"{label} has no tag {', '.join(missing)}: it does not say what it was made of"
        )
    outs = {str(paths.SPLITS[split]): tags[tag] for tag, split in SPLIT_TAGS.items()}
    outs[str(paths.MODEL)] = tags["model_md5"]
    inputs: dict[str, str] = {}
    for tag, value in tags.items():
        if tag.endswith(".inputs"):
            inputs |= json.loads(value)

    run, version = source.run, source.version
    model = version.name if version else None
    number = str(version.version) if version else None
    run_id = run.info.run_id if run else None
    patch = _logged_patch(run, tags) if tags["git_dirty"] == "true" else ""
    return Recipe(
        name=name,
        label=label,
        commit=tags["git_commit"],
        patch=patch,
        data_md5=tags["data_md5"],
        schema_md5=tags["schema_md5"],
        params=parameters,
        params_md5=tags["params_md5"],
        lock_md5=tags["lock_md5"],
        outs=outs,
        metrics=_recorded_metrics(source),
        deps=code_and_contract(inputs),
        machine={tag: tags[tag] for tag in MACHINE_TAGS if tag in tags},
        model=model,
        version=number,
        run_id=run_id,
    )


def _parameters_of_run(run: Run) -> dict[str, object]:
    """The parameters of a run in their types.

    MLflow keeps them as text. Whether a 1 was a number or a text, the logged params.yaml knows.
    """
    import mlflow

    typed: dict[str, object] = {}
    with contextlib.suppress(mlflow.MlflowException, OSError):
        text = mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/params.yaml")
        typed = flatten(parse_yaml(text))
    parameters = {}
    for name, text in run.data.params.items():
        is_logged = str(typed.get(name)) == text
        parameters[name] = typed[name] if is_logged else parse_yaml(text)
    return parameters


def _registered_version(run: Run) -> ModelVersion | None:
    """The version that was registered from this very run."""
    name, _, number = run.data.tags.get("model_version", "").partition("/")
    version = registered_versions.version_by_number(name, number) if number else None
    if version and version.run_id != run.info.run_id:
        return None  # the same model under parameters that only evaluate reads
    return version


def _logged_patch(run: Run | None, tags: Mapping[str, str]) -> str | None:
    """How a run's code differed from its commit.

    Returns:
        None if the run or the artifact is gone, or is no longer the one that the tags name.
    """
    import mlflow

    if run is None or run.data.tags.get("git_commit") != tags["git_commit"]:
        return None
    artifact = f"runs:/{run.info.run_id}/{run.data.tags['stage']}.patch"
    try:
        patch: str = mlflow.artifacts.load_text(artifact)
    except (mlflow.MlflowException, OSError):
        return None
    digest = text_md5(patch)
    return patch if tags.get("patch_md5", digest) == digest else None


def _recorded_metrics(source: _Source) -> dict[str, float]:
    """The recorded test metrics: the version's own, else those of the run."""
    if source.version:
        return registered_versions.registered_metrics(source.version)
    if source.run:
        return registered_versions.test_metrics(source.run.data.metrics)
    return {}
