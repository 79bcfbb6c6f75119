"""The MLflow signature of a model, made from its contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

from churn.data.contract import SCORE_COLUMNS, Contract

if TYPE_CHECKING:  # MLflow takes two seconds to import
    from mlflow.models import ModelSignature


def model_signature(contract: Contract) -> ModelSignature:
    """The features in; the churn probability and the decision out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    inputs = []
    for column in contract.features:
        # A flag is a double too: for a boolean MLflow's server makes true of 2 and of "false", and
        # false of null.
        kind = "string" if column.kind == "text" else "double"
        inputs.append(ColSpec(kind, column.name))
    probability, decision = SCORE_COLUMNS
    outputs = [ColSpec("double", probability), ColSpec("boolean", decision)]
    return ModelSignature(Schema(list(inputs)), Schema(list(outputs)))
