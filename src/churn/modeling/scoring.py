"""The model that is registered and served: an MLflow "models from code" pyfunc over the files that
DVC tracks.

MLflow copies this file and the folder `churn` into the logged model and runs it there; nothing is
pickled.
"""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from churn.data.contract import load_contract
from churn.errors import UserError
from churn.modeling.booster import load_booster, predict_probabilities


class ChurnModel(mlflow.pyfunc.PythonModel):
    """Raw customer rows in; `churn_probability` and `churn` (true at the decision threshold) out,
    in the same order.
    """

    def load_context(self, context) -> None:
        """Read the booster, the contract and the decision threshold."""
        config = json.loads(Path(context.artifacts["config"]).read_text())
        self.threshold = config["threshold"]
        self.contract = load_contract(
            context.artifacts["contract"], config["id"], config["target"], config["positive"]
        )
        self.booster = load_booster(context.artifacts["booster"])

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Score rows; a row that the model cannot take is an error that names column and value (400
        when served).
        """
        try:
            probability = predict_probabilities(self.booster, model_input, self.contract)
        except UserError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        return pd.DataFrame(
            {"churn_probability": probability, "churn": np.asarray(probability >= self.threshold)}
        )


mlflow.models.set_model(ChurnModel())
