"""The costs by which a registered version was evaluated, whatever params.yaml says today."""

from __future__ import annotations

from typing import TYPE_CHECKING

from churn.params import Costs
from churn.tracking.unseen_rows import recorded_parameters

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def costs_of_version(version: ModelVersion, today: Costs) -> Costs:
    """The costs by which a version was evaluated; today's, with a note, if those are lost."""
    costs = registered_costs(version)
    if costs is not None:
        return costs
    print(
        f"note: {version.name} version {version.version} no longer says by which costs it was "
        "evaluated; those of params.yaml are used"
    )
    return today


def registered_costs(version: ModelVersion) -> Costs | None:
    """The parameters `evaluate.costs` of a version; None if they are lost.

    They are in the version's own tags, or, of a version that an earlier release registered, in its
    run.
    """
    parameters = recorded_parameters(version)
    values = {}
    for name in Costs.model_fields:
        value = parameters.get(f"evaluate.costs.{name}")
        if value is None:
            return None
        values[name] = float(str(value))
    return Costs(**values)
