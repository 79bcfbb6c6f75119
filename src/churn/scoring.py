"""The model that is registered and served: an MLflow "models from code" pyfunc over the files that DVC tracks.

MLflow copies this file and the folder `churn` into the logged model and runs it there; nothing is pickled.
"""

import json
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from churn import contract, model
from churn.errors import UserError


class ChurnModel(mlflow.pyfunc.PythonModel):
    """Raw customer rows in; `churn_probability` and `churn` (true at the decision threshold) out, in the same order."""

    def load_context(self, context) -> None:
        """Read the booster, the contract and the decision threshold."""
        config = json.loads(Path(context.artifacts["config"]).read_text())
        self.threshold = config["threshold"]
        self.contract = contract.load(context.artifacts["contract"], config["id"], config["target"], config["positive"])
        self.booster = model.load(context.artifacts["booster"])

    def predict(self, context, model_input: pd.DataFrame, params=None) -> pd.DataFrame:
        """Score rows; a row that the model cannot take is an error that names column and value (400 when served)."""
        try:
            probability = model.predict(self.booster, model_input, self.contract)
        except UserError as error:
            raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from None
        return pd.DataFrame({"churn_probability": probability, "churn": np.asarray(probability >= self.threshold)})


mlflow.models.set_model(ChurnModel())
