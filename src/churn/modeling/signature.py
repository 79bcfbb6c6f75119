"""The MLflow signature of a model, made from its contract."""

from churn.data.contract import SCORE_COLUMNS, Contract


def model_signature(contract: Contract):
    """The features in; the churn probability and the decision out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    columns = []
    for column in contract.features:
        # A flag is a double too: for a boolean MLflow's server makes true of 2 and of "false", and
        # false of null.
        columns.append(ColSpec("string" if column.kind == "text" else "double", column.name))
    probability, decision = SCORE_COLUMNS
    return ModelSignature(
        Schema(columns), Schema([ColSpec("double", probability), ColSpec("boolean", decision)])
    )
