"""A thin client of the MLflow Model Registry: find, compare, register. It never touches the alias `production`."""

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from churn import lineage
from churn.contract import Contract


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


def alias(name: str, alias: str):
    """The version of a registered model that an alias names, or None."""
    import mlflow

    client = mlflow.MlflowClient()
    found = client.search_registered_models(f"name = '{name}'")
    version = found[0].aliases.get(alias) if found else None
    return client.get_model_version(name, version) if version else None


def find(name: str, model_md5: str, schema_md5: str, threshold: float):
    """The version made of exactly this booster, contract and threshold, or None."""
    import mlflow

    where = f"name = '{name}' and tags.model_md5 = '{model_md5}'"
    for version in mlflow.MlflowClient().search_model_versions(where):
        if version.tags["schema_md5"] == schema_md5 and float(version.tags["threshold"]) == threshold:
            return version
    return None


def register(name: str, model_uri: str, tags: dict[str, str]):
    """Register a logged model as a new version that carries its lineage as tags."""
    import mlflow

    return mlflow.register_model(model_uri, name, tags=tags)


def stage(name: str, version: str) -> None:
    """Let `staging` name this version. The alias `production` is a person's to set."""
    import mlflow

    mlflow.MlflowClient().set_registered_model_alias(name, "staging", version)
