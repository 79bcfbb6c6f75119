"""A thin client of the MLflow Model Registry: find, register, stage.

It never sets the alias `production`.
"""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING

from churn import paths
from churn.files import text_md5
from churn.tracking import logged_model, store, turns
from churn.tracking.write_conflicts import retry_write

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

PRODUCTION_STAGES = ("Production", "Archived")  # of a version that is or was in production


def find_model(name: str) -> RegisteredModel | None:
    """The registered model of this name, or None."""
    import mlflow

    matches = mlflow.MlflowClient().search_registered_models(f"name = {store.quote_value(name)}")
    return matches[0] if matches else None


def model_exists(name: str) -> bool:
    """Whether the registry has a model of this name."""
    return find_model(name) is not None


def version_with_alias(name: str, alias: str) -> ModelVersion | None:
    """The version of a registered model that an alias names, or None."""
    import mlflow

    model = find_model(name)
    number = model.aliases.get(alias) if model else None
    return mlflow.MlflowClient().get_model_version(name, number) if number else None


def workspace_identity(threshold: float) -> dict[str, str]:
    """The identity of the workspace's model (`logged_model.identity_tags`)."""
    return logged_model.identity_tags(paths.MODEL, paths.SCHEMA, logged_model.CODE, threshold)


def find_version(name: str, identity: dict[str, str]) -> ModelVersion | None:
    """The oldest version with this identity, or None."""
    import mlflow

    same_booster = mlflow.MlflowClient().search_model_versions(
        f"name = {store.quote_value(name)} and tags.model_md5 = '{identity['model_md5']}'"
    )
    matches = [version for version in same_booster if identity.items() <= version.tags.items()]
    return min(matches, key=lambda version: int(version.version), default=None)


def register_version(name: str, model_uri: str, tags: dict[str, str]) -> ModelVersion:
    """Register a logged model as a version that carries its lineage as tags.

    Of several processes that register one model at the same moment, one creates the version and
    the others find it: to delete a second one takes more rights than a data scientist may have.

    Args:
        tags: the identity, by which an equal version is found, and the lineage.
    """
    import mlflow

    identity = {key: tags[key] for key in logged_model.IDENTITY}
    if not model_exists(name):
        with contextlib.suppress(mlflow.MlflowException):  # another process was faster
            retry_write(mlflow.MlflowClient().create_registered_model, name)
    digest = text_md5("".join(sorted(identity.values())))
    with turns.one_at_a_time(name, f"register.{digest}"):
        version = find_version(name, identity)
        if version is None:
            created = retry_write(mlflow.register_model, model_uri, name, tags=tags)
            version = find_version(name, identity) or created
            if str(version.version) != str(created.version):
                _delete_double(created)
    return version


def _delete_double(version: ModelVersion) -> None:
    """Delete a version that MLflow's client made a second time, since the first answer was lost.

    Where that takes more rights than this user has, it stays: nothing refers to it.
    """
    import mlflow

    with contextlib.suppress(mlflow.MlflowException):
        mlflow.MlflowClient().delete_model_version(version.name, version.version)


def has_no_stage(name: str) -> bool:
    """Whether nothing is in staging or production yet."""
    return not any(version_with_alias(name, alias) for alias in ("staging", "production"))


def set_staging(name: str, version: str) -> str:
    """Let `staging` name this version, unless it is in production: a version is in one stage.

    Only a person sets the alias `production`: no stage of the pipeline does.

    Returns:
        The alias that the version now has.
    """
    import mlflow

    production = version_with_alias(name, "production")
    is_production = production is not None and str(production.version) == str(version)
    if not is_production:
        retry_write(mlflow.MlflowClient().set_registered_model_alias, name, "staging", version)
    update_stage_tags(name)
    return "production" if is_production else "staging"


def update_stage_tags(name: str) -> None:
    """Write the stage of every version into its tag `stage`: None, Staging, Production, Archived.

    The aliases decide; the tags repeat it where MLflow's page lists it and old consumers read it.
    What a killed process left half done, or another process wrote meanwhile, is corrected here.
    MLflow's deprecated stages are set too, so that `models:/<name>/Production` goes on working
    where the server still has them.
    """
    aliases = _aliases(name)
    while True:
        for version in list_versions(name):
            _write_stage(version, _stage(version, aliases))
        now = _aliases(name)
        if now == aliases:
            return
        aliases = now  # another process moved one while the tags were written


def _stage(version: ModelVersion, aliases: dict[str, str]) -> str:
    for alias in ("production", "staging"):
        if aliases.get(alias) == str(version.version):
            return alias.capitalize()
    if "promoted_at" in version.tags or version.tags.get("stage") in PRODUCTION_STAGES:
        return "Archived"
    return "None"


def _aliases(name: str) -> dict[str, str]:
    import mlflow

    aliases = mlflow.MlflowClient().get_registered_model(name).aliases
    return {alias: str(number) for alias, number in aliases.items()}


def list_versions(name: str) -> list[ModelVersion]:
    """Every version of a registered model."""
    import mlflow

    return list(mlflow.MlflowClient().search_model_versions(f"name = {store.quote_value(name)}"))


def _write_stage(version: ModelVersion, stage: str) -> None:
    """Write a version's stage into its tag and into MLflow's deprecated field."""
    import mlflow

    client = mlflow.MlflowClient()
    try:
        if version.tags.get("stage") != stage:
            retry_write(client.set_model_version_tag, version.name, version.version, "stage", stage)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # somebody deleted the version meanwhile
            raise

    if version.current_stage == stage:
        return
    with warnings.catch_warnings(), contextlib.suppress(mlflow.MlflowException):  # no such stages
        warnings.simplefilter("ignore", FutureWarning)
        client.transition_model_version_stage(version.name, version.version, stage)
