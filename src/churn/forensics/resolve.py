"""Find a model by any name that people use for it: version, alias, run, experiment or revision."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from churn.errors import UserError
from churn.forensics.commit_recipe import recipe_of_commit
from churn.forensics.recipe import Recipe
from churn.forensics.run_recipe import recipe_of_run, recipe_of_version
from churn.params import load_params
from churn.tracking import git_state, registered_versions, registry, runs, store

if TYPE_CHECKING:
    from mlflow.entities import Run


def resolve_recipe(name: str) -> Recipe:
    """Find a model by any of its names.

    Args:
        name: `models:/NAME@ALIAS`, `models:/NAME/3`, a version number or an alias of this project's
            model, an MLflow run id, the name of a DVC experiment, or a git revision.

    Raises:
        UserError: nothing has this name, with what was tried; or what has it made no model.
    """
    store.connect()
    finders = (_find_model_uri, _find_version, _find_run, _find_experiment_or_commit)
    for find in finders:
        recipe = find(name)
        if recipe:
            return recipe
    raise UserError(
        f"{name}: no version and no alias of {load_params().registry.model}, no run in "
        f"{store.tracking_uri()}, no DVC experiment and no git revision is called so; "
        "`make ui` shows versions and runs, `dvc exp show` experiments"
    )


def _find_model_uri(name: str) -> Recipe | None:
    if not name.startswith("models:"):
        return None
    match = re.fullmatch(r"models:/([^/@]+)(?:@(.+)|/(\d+))", name)
    if match is None:
        model = load_params().registry.model
        raise UserError(
            f"{name} names no version; write models:/{model}@production or models:/{model}/3"
        )
    model, alias, number = match.groups()
    if alias:
        return recipe_of_version(name, registered_versions.require_alias(model, alias))
    version = registered_versions.version_by_number(model, number)
    if version is None:
        raise UserError(f"the registry has no version {number} of {model}")
    return recipe_of_version(name, version)


def _find_version(name: str) -> Recipe | None:
    """A version of this project's model, by its number or its alias."""
    model = load_params().registry.model
    version = registered_versions.version_by_number(model, name) if name.isdecimal() else None
    if version is None and registry.model_exists(model):
        version = registry.version_with_alias(model, name)
    return recipe_of_version(name, version) if version else None


def _find_run(name: str) -> Recipe | None:
    import mlflow

    if re.fullmatch(r"[0-9a-f]{32}", name) and runs.run_exists(name):
        return recipe_of_run(name, mlflow.get_run(name))
    run = _run_of_experiment(name)
    return recipe_of_run(name, run) if run else None


def _find_experiment_or_commit(name: str) -> Recipe | None:
    experiments = dict(_dvc_experiments())
    if name in experiments:
        return recipe_of_commit(name, experiments[name], f"experiment {name}")
    commit = git_state.commit_of(name)
    return recipe_of_commit(name, commit, f"{name} ({commit[:7]})") if commit else None


def _dvc_experiments() -> Iterator[tuple[str, str]]:
    """The name and the commit of every DVC experiment."""
    refs = git_state.git("for-each-ref", "--format=%(refname) %(objectname)", "refs/exps")
    for line in refs.splitlines():
        ref, commit = line.split()
        yield ref.split("/")[-1], commit


def _run_of_experiment(name: str) -> Run | None:
    """The latest run that holds a model of a DVC experiment.

    It is its training run or, where training came from the cache, the record of its evaluation.
    """
    candidates = []
    for stage in ("train", "evaluate"):
        run = runs.find_run(dvc_experiment=name, stage=stage)
        if run:
            candidates.append(run)
    return max(candidates, key=lambda run: run.info.start_time, default=None)
