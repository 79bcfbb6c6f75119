"""The scoring model of a version, for commands that check the rows themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from churn.data.contract import Contract, load_contract
from churn.tracking import logged_model, model_loading

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from churn.modeling.scoring import ChurnModel


def load_scorer(version: ModelVersion) -> tuple[ChurnModel, Contract]:
    """Load the scoring model of a version, and its contract.

    Raises:
        UserError: it is not what was registered.
    """
    with logged_model.verified_version_copy(version) as folder:
        model = model_loading.load_scoring_model(folder).unwrap_python_model()
        own = model.contract  # an object of the model's own code
        # Release 0.2 had neither periods nor derived features. The model's own code computes these.
        time = getattr(own, "time", None)
        contract = load_contract(own.path, own.id, own.target, own.positive, time)
        return model, replace(contract, derived=getattr(own, "derived", ()))
