"""Decide whether a version may come into staging or production."""

from __future__ import annotations

from typing import TYPE_CHECKING

from churn import paths
from churn.errors import UserError
from churn.files import md5
from churn.tracking import registered_versions, registry, runs

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

NEVER_JUDGED = "it was never judged"


def promotable_version(name: str) -> ModelVersion:
    """The version in staging, if it may be promoted.

    Raises:
        UserError: there is none, it is in production, the gate did not pass it, or it was judged on
            other test rows than today's.
    """
    version = registry.version_with_alias(name, "staging")
    if version is None:
        raise UserError(
            f"no version of {name} is in staging; `dvc repro` puts one there that passes the gate"
        )
    text = f"{name} version {version.version}"
    production = registry.version_with_alias(name, "production")
    if production and production.version == version.version:
        raise UserError(f"{text} is in production already")
    check_gate(version, text)
    check_test_rows(version, text)
    return version


# only forensics
def check_reproduced(version: ModelVersion) -> None:
    """Refuse a version that `reproduce.py` has not rebuilt identically (UserError)."""
    if version.tags.get("reproduced") == "identical":
        return
    result = "never rebuilt"
    if "reproduced" in version.tags:
        result = f"rebuilt, and {version.tags['reproduced']}"
    raise UserError(
        f"{version.name} version {version.version} was {result}; gate.require_reproduced asks for "
        f"an identical rebuild: `python src/reproduce.py {version.version}`"
    )


# end
def check_gate(version: ModelVersion, text: str) -> None:
    """Refuse a version that the gate did not pass (UserError)."""
    if version.tags.get("gate") != "passed":
        reason = version.tags.get("gate_reason", NEVER_JUDGED)
        raise UserError(f"{text} did not pass the gate ({reason})")


def check_test_rows(version: ModelVersion, text: str) -> None:
    """Refuse a version that the gate passed on other test rows than today's (UserError)."""
    path = paths.SPLITS["test"]
    if not path.exists():
        raise UserError(f"{path} is missing; `dvc pull` or `dvc repro` brings today's test rows")
    today, judged = md5(path), version.tags.get("test_md5")
    if judged != today and not has_passed_on(version, today):
        raise UserError(
            f"{text} was judged on other test rows (md5 {judged}) than today's ({today}); `dvc "
            "repro` judges a model on today's, or check out the data that it was judged on"
        )


def has_passed_on(version: ModelVersion, test_md5: str) -> bool:
    """Whether an evaluation after its registration passed a version on these test rows."""
    run = runs.find_run(
        model_version=f"{version.name}/{version.version}", test_md5=test_md5, gate="passed"
    )
    return run is not None and run.info.run_id != version.run_id


def version_of_experiment(name: str, experiment: str) -> ModelVersion | None:
    """The version as which the model of a DVC experiment was registered."""
    for stage in ("train", "evaluate"):
        run = runs.find_run(dvc_experiment=experiment, stage=stage)
        if run is None:
            continue
        model, _, number = run.data.tags.get("model_version", "").partition("/")
        if model == name:
            return registered_versions.version_by_number(name, number)
    return None
