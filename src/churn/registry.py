"""A thin client of the MLflow Model Registry: find, load, check, register. It never sets the alias `production`."""

import contextlib
import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from churn import contract, lineage
from churn.contract import Contract
from churn.errors import UserError
from churn.tracking import quoted

# What churn/scoring.py runs, itself among it, when a registered model scores.
SCORING_CODE = [Path("src/churn", name) for name in ("contract.py", "errors.py", "model.py", "scoring.py")]


def log_scoring_model(contract: Contract, threshold: float, example: pd.DataFrame):
    """Log the scoring model (churn/scoring.py over the DVC-tracked booster and contract) into the active run.

    Args:
        example: a few customer rows, kept as the model's input example.
    """
    import mlflow

    # An artifact rather than MLflow's `model_config`, which would add these to the run's parameters.
    config = {"threshold": threshold, "id": contract.id, "target": contract.target, "positive": contract.positive}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scoring.json")
        path.write_text(json.dumps(config))
        return mlflow.pyfunc.log_model(
            name="churn",
            python_model="src/churn/scoring.py",
            code_paths=["src/churn"],
            artifacts={"booster": str(lineage.MODEL), "contract": str(lineage.SCHEMA), "config": str(path)},
            signature=contract.signature(),
            input_example=example[[c.name for c in contract.features]],
            pip_requirements=lineage.requirements(*lineage.MODEL_PACKAGES),
        )


@contextlib.contextmanager
def own_code() -> Iterator[None]:
    """Let a model that is loaded inside import the `churn` package it was logged with, not the workspace's."""
    ours = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "churn"}
    path = list(sys.path)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "churn"]:
            del sys.modules[name]
        sys.modules.update(ours)
        sys.path[:] = path


def load(uri: str):
    """Load a logged or registered scoring model, with its own code, as an MLflow PyFuncModel."""
    import mlflow

    with own_code():
        return mlflow.pyfunc.load_model(uri)


def scorer(version):
    """The scoring model of a version, its files checked, for callers that judge the rows themselves: the ChurnModel of
    churn/scoring.py (with the code that it was logged with) and its contract."""
    check_files(version)
    model = load(f"models:/{version.name}/{version.version}").unwrap_python_model()
    own = model.contract
    return model, contract.load(own.path, own.id, own.target, own.positive)


def scores(version, rows: pd.DataFrame) -> pd.DataFrame:
    """What a registered version says of customer rows: `churn_probability` and `churn`, in the rows' order.

    Raises:
        UserError: it cannot score them, since its contract is another.
    """
    import mlflow

    scorer = load(f"models:/{version.name}/{version.version}")
    wanted = set(scorer.metadata.signature.inputs.input_names())
    try:
        return scorer.predict(rows[[column for column in rows if column in wanted]])
    except mlflow.MlflowException as error:
        reason = str(error).rsplit("Error: ", 1)[-1]  # what stands before is the whole table
        raise UserError(f"version {version.version} cannot score today's test rows: {reason}") from None


def check_files(version) -> None:
    """Compare the files inside a registered version with the md5s and the threshold in its tags.

    Raises:
        UserError: a file is missing or is not the one that was registered.
    """
    import mlflow

    what = f"{version.name} version {version.version}"
    try:
        folder = Path(mlflow.artifacts.download_artifacts(f"models:/{version.name}/{version.version}"), "artifacts")
        code = "".join(lineage.md5(folder.parent / "code/churn" / path.name) for path in SCORING_CODE)
        found = {
            "scoring_md5": hashlib.md5(code.encode()).hexdigest(),
            "model_md5": lineage.md5(folder / lineage.MODEL.name),
            "schema_md5": lineage.md5(folder / lineage.SCHEMA.name),
            "threshold": repr(json.loads((folder / "scoring.json").read_text())["threshold"]),
        }
    except (mlflow.MlflowException, OSError, ValueError, KeyError) as error:
        raise UserError(f"{what}: its files cannot be read ({error}); train it again or choose another") from None
    for tag, value in found.items():
        if value != version.tags.get(tag):
            raise UserError(
                f"{what} is not what was registered: {tag} of its file is {value}, its tag says "
                f"{version.tags.get(tag)}; somebody changed it, train it again or choose another"
            )


def alias(name: str, alias: str):
    """The version of a registered model that an alias names, or None."""
    import mlflow

    client = mlflow.MlflowClient()
    found = client.search_registered_models(f"name = {quoted(name)}")
    version = found[0].aliases.get(alias) if found else None
    return client.get_model_version(name, version) if version else None


def named(name: str, wanted: str):
    """The version that an alias names.

    Raises:
        UserError: there is no such alias; the message names those that there are.
    """
    import mlflow

    found = mlflow.MlflowClient().search_registered_models(f"name = {quoted(name)}")
    if not found:
        raise UserError(f"the registry has no model {name}; `dvc repro` makes and registers one")
    if version := alias(name, wanted):
        return version
    known = ", ".join(f"{key} (version {number})" for key, number in found[0].aliases.items()) or "none"
    hint = '; `python src/promote.py --reason "..."` sets it' if wanted == "production" else ""
    raise UserError(f"{name} has no alias {wanted!r}; it has {known}{hint}")


def exists(name: str) -> bool:
    """Whether the registry knows a model of this name."""
    import mlflow

    return bool(mlflow.MlflowClient().search_registered_models(f"name = {quoted(name)}"))


def version(name: str, number: str):
    """A version by its number, or None if there is none (any more)."""
    import mlflow

    found = mlflow.MlflowClient().search_model_versions(f"name = {quoted(name)}")
    return next((version for version in found if str(version.version) == number), None)


IDENTITY = ("model_md5", "schema_md5", "scoring_md5", "threshold")  # the tags that `identity` gives


def identity(threshold: float) -> dict[str, str]:
    """What makes a version of the workspace's model: its booster, its contract, the code that scores with them, and the
    decision threshold. A change of one is another version."""
    code = "".join(lineage.md5(path) for path in SCORING_CODE)
    return {
        "model_md5": lineage.md5(lineage.MODEL),
        "schema_md5": lineage.md5(lineage.SCHEMA),
        "scoring_md5": hashlib.md5(code.encode()).hexdigest(),
        "threshold": repr(threshold),
    }


def find(name: str, wanted: dict[str, str]):
    """The version with this identity, the oldest if there are several, or None."""
    import mlflow

    where = f"name = {quoted(name)} and tags.model_md5 = '{wanted['model_md5']}'"
    found = mlflow.MlflowClient().search_model_versions(where)
    same = [version for version in found if wanted.items() <= version.tags.items()]
    return min(same, key=lambda version: int(version.version), default=None)


def register(name: str, model_uri: str, tags: dict[str, str]):
    """Register a logged model as a version that carries its lineage as tags.

    Two processes may register one model at the same moment. Each looks again when its version is there: the oldest
    version stays, and whoever made a later one takes it back before anything names it.

    Args:
        tags: those of `identity`, by which an equal version is found, and the lineage.
    """
    import mlflow

    created = mlflow.register_model(model_uri, name, tags=tags)
    made = {key: tags[key] for key in IDENTITY}
    oldest = find(name, made)
    if oldest is None or str(oldest.version) == str(created.version):
        return created
    mlflow.MlflowClient().delete_model_version(name, created.version)
    return oldest


def is_first(name: str) -> bool:
    """Whether nothing is in staging or production yet."""
    return not any(alias(name, place) for place in ("staging", "production"))


def stage(name: str, version: str) -> str:
    """Let `staging` name this version, unless it is in production already: a version is in one stage of its life.

    The alias `production` is a person's to set (churn/promotion.py, which no stage of the pipeline imports).

    Returns:
        The alias that the version now has.
    """
    import mlflow

    before, production = alias(name, "staging"), alias(name, "production")
    if production and str(production.version) == str(version):
        return "production"
    mlflow.MlflowClient().set_registered_model_alias(name, "staging", version)
    mark(name, version, "Staging")
    if before and str(before.version) != str(version):
        mark(name, before.version, "None")
    return "staging"


def mark(name: str, version: str, stage: str) -> None:
    """Note the stage of a version's life (None, Staging, Production, Archived) in its tag `stage`, and in MLflow's
    deprecated stages, so that `models:/<name>/Production` goes on working where the server still has them."""
    import mlflow

    client = mlflow.MlflowClient()
    client.set_model_version_tag(name, version, "stage", stage)
    with warnings.catch_warnings(), contextlib.suppress(mlflow.MlflowException):
        warnings.simplefilter("ignore", FutureWarning)
        client.transition_model_version_stage(name, version, stage)
