"""Load a registered scoring model, with the code that it was logged with, and score rows."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import pandas as pd

from churn.data.contract import Contract, load_contract
from churn.errors import UserError
from churn.tracking import logged_model

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.pyfunc import PyFuncModel

    from churn.modeling.scoring import ChurnModel

LONGEST_REASON = 500  # characters of MLflow's message; it becomes part of the gate's reason


@contextlib.contextmanager
def model_code() -> Iterator[None]:
    """Let a model that is loaded in the `with` import its own `churn` package, not the workspace's.

    MLflow puts a model's code first on sys.path, which is not enough: a package that is imported
    already is not looked for again. So the workspace's modules are put aside meanwhile.
    """
    workspace = _remove_churn_modules()
    search_path = list(sys.path)
    try:
        yield
    finally:
        _remove_churn_modules()
        sys.modules.update(workspace)
        sys.path[:] = search_path


def _remove_churn_modules() -> dict[str, ModuleType]:
    """Take every module of `churn` out of sys.modules, and return them by name."""
    names = [name for name in sys.modules if name.split(".")[0] == "churn"]
    return {name: sys.modules.pop(name) for name in names}


def load_scoring_model(folder: Path) -> PyFuncModel:
    """Load a checked copy of a model with its own code; the copy is not needed any more then."""
    import mlflow

    with model_code():
        return mlflow.pyfunc.load_model(str(folder))


def load_predictor(version: ModelVersion) -> PyFuncModel:
    """The scoring model of a version as MLflow calls it: it refuses rows that break its signature.

    Raises:
        UserError: it is not what was registered.
    """
    with logged_model.verified_version_copy(version) as folder:
        return load_scoring_model(folder)


def load_scorer(version: ModelVersion) -> tuple[ChurnModel, Contract]:
    """The scoring model of a version for callers that check the rows themselves, and its contract.

    Raises:
        UserError: it is not what was registered.
    """
    with logged_model.verified_version_copy(version) as folder:
        model = load_scoring_model(folder).unwrap_python_model()
        own = model.contract  # an object of the model's own code
        return model, load_contract(own.path, own.id, own.target, own.positive)


def score_rows(version: ModelVersion, predictor: PyFuncModel, rows: pd.DataFrame) -> pd.DataFrame:
    """Score customer rows with a version's predictor.

    Args:
        rows: columns that the model does not know are left out.

    Returns:
        The columns `churn_probability` and `churn`, in the order of the rows.

    Raises:
        UserError: it cannot score them, since its contract is another.
    """
    import mlflow

    known = set(predictor.metadata.signature.inputs.input_names())
    columns = [column for column in rows if column in known]
    try:
        return predictor.predict(rows[columns])
    except mlflow.MlflowException as error:
        message = str(error).rsplit("Error: ", 1)[-1]  # the whole table stands before it
        reason = " ".join(message.split())[:LONGEST_REASON]
        raise UserError(
            f"version {version.version} cannot score today's test rows: {reason}"
        ) from None
