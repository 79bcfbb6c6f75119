"""Load a registered scoring model, with the code that it was logged with, and score rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from churn.errors import UserError
from churn.tracking import logged_model, model_code

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.pyfunc import PyFuncModel

LONGEST_REASON = 500  # characters of MLflow's message; it becomes part of the gate's reason


def load_scoring_model(folder: Path, is_new: bool = False) -> PyFuncModel:
    """Load a checked copy of a model with its own code; the copy is not needed any more then.

    Args:
        is_new: it was logged just now, in this environment: MLflow need not compare its packages
            with those installed, which takes half a second.
    """
    import mlflow

    with model_code.own_code():
        return mlflow.pyfunc.load_model(str(folder), suppress_warnings=is_new)


def load_predictor(version: ModelVersion) -> PyFuncModel:
    """The scoring model of a version as MLflow calls it: it refuses rows that break its signature.

    Raises:
        UserError: it is not what was registered.
    """
    with logged_model.verified_version_copy(version) as folder:
        return load_scoring_model(folder)


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
