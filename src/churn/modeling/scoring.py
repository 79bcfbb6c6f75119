"""The model that is registered and served: an MLflow "models from code" pyfunc.

It reads the booster and the contract that DVC tracks. MLflow copies this file, and the packages
that it imports, into the logged model and runs them there; nothing is pickled.
"""

import json
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from churn.data.contract import SCORE_COLUMNS, load_contract, with_derived
from churn.errors import UserError
from churn.modeling.booster import (
    feature_contributions,
    load_booster,
    predict_probabilities,
)
from churn.modeling.encoding import encode_features

PROBABILITY, DECISION = SCORE_COLUMNS


class ChurnModel(PythonModel):
    """Customer rows in; churn probability and decision out, in the same order.

    The decision is true at or above the decision threshold.
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Read the booster, the contract and the decision threshold."""
        config = json.loads(Path(context.artifacts["config"]).read_text())
        self.threshold = config["threshold"]
        roles = (config[role] for role in ("id", "target", "positive", "time"))
        contract = load_contract(context.artifacts["contract"], *roles)
        self.contract = with_derived(contract, config["features"])
        self.booster = load_booster(context.artifacts["booster"])

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """Score rows.

        Raises:
            MlflowException: a row does not fit the contract; the message names column and value,
                and the server answers 400.
        """
        try:
            probabilities = predict_probabilities(self.booster, model_input, self.contract)
        except UserError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        decisions = probabilities >= self.threshold
        return pd.DataFrame({PROBABILITY: probabilities, DECISION: decisions})

    def features(self, rows: pd.DataFrame) -> pd.DataFrame:
        """What the booster sees of rows, derived features too (`encode_features`)."""
        return encode_features(rows, self.contract)

    def contributions(self, rows: pd.DataFrame) -> pd.DataFrame:
        """What moves the score of each row (`feature_contributions`)."""
        return feature_contributions(self.booster, rows, self.contract)


mlflow.models.set_model(ChurnModel())
