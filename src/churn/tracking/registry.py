"""A thin client of the MLflow Model Registry: find, register, stage.

It never sets the alias `production`.
"""

import contextlib
import time
import warnings
from collections.abc import Callable

from churn import paths
from churn.errors import UserError
from churn.files import md5
from churn.tracking import logged_model, runs

TRIES = 5  # of a write that another process's write got in the way of


def version_with_alias(name: str, alias: str):
    """The version of a registered model that an alias names, or None."""
    import mlflow

    client = mlflow.MlflowClient()
    found = client.search_registered_models(f"name = {runs.quote_value(name)}")
    version = found[0].aliases.get(alias) if found else None
    return client.get_model_version(name, version) if version else None


def require_alias(name: str, wanted: str):
    """The version that an alias names.

    Raises:
        UserError: there is no such alias; the message names those that there are.
    """
    import mlflow

    found = mlflow.MlflowClient().search_registered_models(f"name = {runs.quote_value(name)}")
    if not found:
        raise UserError(f"the registry has no model {name}; `make repro` makes and registers one")
    if version := version_with_alias(name, wanted):
        return version
    known = (
        ", ".join(f"{key} (version {number})" for key, number in found[0].aliases.items()) or "none"
    )
    hint = '; `python src/promote.py --reason "..."` sets it' if wanted == "production" else ""
    raise UserError(f"{name} has no alias {wanted!r}; it has {known}{hint}")


def model_exists(name: str) -> bool:
    """Whether the registry knows a model of this name."""
    import mlflow

    return bool(mlflow.MlflowClient().search_registered_models(f"name = {runs.quote_value(name)}"))


def version_by_number(name: str, number: str):
    """A version by its number, or None if there is none (any more)."""
    return next((version for version in _versions(name) if str(version.version) == number), None)


IDENTITY = ("model_md5", "schema_md5", "scoring_md5", "threshold")  # the tags that `identity` gives


def workspace_identity(threshold: float) -> dict[str, str]:
    """What makes a version of the workspace's model: its booster, its contract, the code that
    scores with them, and the decision threshold. A change of one is another version.
    """
    return {
        "model_md5": md5(paths.MODEL),
        "schema_md5": md5(paths.SCHEMA),
        "scoring_md5": logged_model.scoring_code_md5(logged_model.CODE),
        "threshold": repr(threshold),
    }


def find_version(name: str, wanted: dict[str, str]):
    """The version with this identity, the oldest if there are several, or None."""
    import mlflow

    where = f"name = {runs.quote_value(name)} and tags.model_md5 = '{wanted['model_md5']}'"
    found = mlflow.MlflowClient().search_model_versions(where)
    same = [version for version in found if wanted.items() <= version.tags.items()]
    return min(same, key=lambda version: int(version.version), default=None)


def register_version(name: str, model_uri: str, tags: dict[str, str]):
    """Register a logged model as a version that carries its lineage as tags.

    Two processes may register one model at the same moment. Each looks again when its version is
    there: the oldest version stays, and whoever made a later one takes it back before anything
    names it.

    Args:
        tags: those of `identity`, by which an equal version is found, and the lineage.
    """
    import mlflow

    created = retry_write(mlflow.register_model, model_uri, name, tags=tags)
    made = {key: tags[key] for key in IDENTITY}
    oldest = find_version(name, made)
    if oldest is None or str(oldest.version) == str(created.version):
        return created
    mlflow.MlflowClient().delete_model_version(name, created.version)
    return oldest


def retry_write(write: Callable, *arguments, **named):
    """Call one of MLflow's writes, again if it failed because another process wrote at the same
    moment.

    MLflow's stores look whether a row is there and then insert it, so two processes may both insert
    it.
    """
    import mlflow

    for attempt in range(TRIES):
        try:
            return write(*arguments, **named)
        except mlflow.MlflowException as error:
            clash = any(
                sign in str(error)
                for sign in ("IntegrityError", "UniqueViolation", "database is locked")
            )
            if not clash or attempt == TRIES - 1:
                raise
            time.sleep(0.1 * 2**attempt)


def has_no_stage(name: str) -> bool:
    """Whether nothing is in staging or production yet."""
    return not any(version_with_alias(name, place) for place in ("staging", "production"))


def set_staging(name: str, version: str) -> str:
    """Let `staging` name this version, unless it is in production already: a version is in one
    stage of its life.

    The alias `production` is a person's to set (churn/promotion.py, which no stage of the pipeline
    imports).

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
    """Note in the tag `stage` of every version where it stands (None, Staging, Production,
    Archived), and in MLflow's deprecated stages, so that `models:/<name>/Production` goes on
    working where the server still has them.

    The aliases decide; the tags only say the same in a place that MLflow's page lists and old
    consumers read. What a killed process left half done, or another one wrote meanwhile, is put
    right here.
    """
    aliases = None
    while aliases != (now := _aliases(name)):  # again, if they moved while the tags were written
        aliases = now
        for version in _versions(name):
            _mark(version, _stage(version, aliases))


def _stage(version, aliases: dict[str, str]) -> str:
    for place in ("production", "staging"):
        if aliases.get(place) == str(version.version):
            return place.capitalize()
    was_production = "promoted_at" in version.tags or version.tags.get("stage") in (
        "Production",
        "Archived",
    )
    return "Archived" if was_production else "None"


def _aliases(name: str) -> dict[str, str]:
    import mlflow

    return {
        key: str(number)
        for key, number in mlflow.MlflowClient().get_registered_model(name).aliases.items()
    }


def _versions(name: str) -> list:
    import mlflow

    return list(mlflow.MlflowClient().search_model_versions(f"name = {runs.quote_value(name)}"))


def _mark(version, stage: str) -> None:
    import mlflow

    client = mlflow.MlflowClient()
    try:
        if version.tags.get("stage") != stage:
            retry_write(client.set_model_version_tag, version.name, version.version, "stage", stage)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # somebody deleted the version meanwhile
            raise
    if version.current_stage != stage:
        with (
            warnings.catch_warnings(),
            contextlib.suppress(mlflow.MlflowException),
        ):  # a server without stages
            warnings.simplefilter("ignore", FutureWarning)
            client.transition_model_version_stage(version.name, version.version, stage)
