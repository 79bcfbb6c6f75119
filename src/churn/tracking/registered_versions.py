"""Find a registered version by alias or number, and the metrics of its registration."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from churn.errors import UserError
from churn.tracking import registry
from churn.tracking.evaluation_record import TOLERANCE

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion


def require_alias(name: str, alias: str) -> ModelVersion:
    """The version that an alias names.

    Raises:
        UserError: there is no such alias; the message lists the existing ones.
    """
    model = registry.find_model(name)
    if model is None:
        raise UserError(f"the registry has no model {name}; `make repro` makes and registers one")
    version = registry.version_with_alias(name, alias)
    if version:
        return version

    existing = [f"{key} (version {number})" for key, number in model.aliases.items()]
    message = f"{name} has no alias {alias!r}; it has {', '.join(existing) or 'none'}"
    # only operations
    if alias == "production":
        message += '; `python src/promote.py --reason "..."` sets it'
    # end
    raise UserError(message)


def version_by_number(name: str, number: str) -> ModelVersion | None:
    """A version by its number, or None if there is none (any more)."""
    for version in registry.list_versions(name):
        if str(version.version) == number:
            return version
    return None


def registered_metrics(version: ModelVersion) -> dict[str, float]:
    """The test metrics with which a version was registered; empty if they are lost.

    A version without them in its tags was registered by an earlier release, in which a later
    evaluation could write into the version's run. Of such a run, the last values before the
    registration count.
    """
    import mlflow

    if "metrics" in version.tags:
        metrics: dict[str, float] = json.loads(version.tags["metrics"])
        return metrics
    if version.run_id is None:
        return {}
    try:
        run = mlflow.get_run(version.run_id)
        names = test_metrics(run.data.metrics)
        return {name: _value_at_registration(run, name, version) for name in names}
    except mlflow.MlflowException:  # the run has been deleted for good
        return {}


def _value_at_registration(run: Run, name: str, version: ModelVersion) -> float:
    import mlflow

    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, name)
    before = [point for point in history if point.timestamp <= version.creation_timestamp]
    last = max(before or history, key=lambda point: point.timestamp)
    return float(last.value)


def test_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics of a run without the learning curves."""
    curves = ("train_", "valid_")
    return {name: value for name, value in metrics.items() if not name.startswith(curves)}


def metric_changes(
    recorded: dict[str, float], today: dict[str, float], names: tuple[str, ...]
) -> list[str]:
    """One line for each of these metrics whose value today is not the recorded one."""
    lines = []
    for name in names:
        before, now = recorded.get(name), today.get(name)
        if before is None and now is not None:
            lines.append(f"{name} was not measured when it was registered")
        elif before is not None and now is None:
            lines.append(f"{name} is no longer measured")
        elif before is not None and now is not None and abs(before - now) > TOLERANCE:
            lines.append(f"{name} is {now:.4f} today and was {before:.4f} when it was registered")
    return lines
