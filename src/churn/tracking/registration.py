"""Register a model: log its evaluation, apply the gate, create the version, set `staging`.

evaluate.py does this for a new model; report.py does it where a new store, or a stage that came
from DVC's cache, left something out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from churn import paths
from churn.modeling import gate, single_columns
from churn.tracking import (
    evaluation_record,
    held_runs,
    lineage,
    logged_model,
    mlflow_page,
    model_loading,
    production_comparison,
    registry,
    run_log,
    runs,
    unseen_rows,
)
from churn.tracking.evaluation_record import Evaluation
from churn.tracking.pictures import FinishDrawing

if TYPE_CHECKING:  # MLflow takes two seconds to import, and evaluate has other work to begin with
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Outcome:
    """What the gate decided, in words, and the version of a model that passed."""

    gate: str
    version: ModelVersion | None


def find_outcome(evaluation: Evaluation) -> Outcome | None:
    """The outcome of an equal evaluation that was recorded before, if nothing is missing of it.

    Raises:
        UserError: an input of the stage changed meanwhile.
    """
    lineage.check_inputs_unchanged(evaluation.stage_tags, evaluation.params.flat())
    name, identity = evaluation.model_name, evaluation.model_identity
    production = registry.version_with_alias(name, "production")
    record = evaluation_record.find_record(
        evaluation.params, identity, evaluation.tags(production), evaluation.stage_tags
    )
    if record is None:
        return None

    held_runs.finish_whole_record(record)
    text = f"{record.data.tags['gate_reason']}, as recorded before in run {record.info.run_name}"
    version = None
    if record.data.tags["gate"] == "passed":
        version = registry.find_version(name, identity)
    return Outcome(text, version)


def record_evaluation(evaluation: Evaluation, finish_drawing: FinishDrawing) -> Outcome:
    """Log an evaluation, apply the gate, and register the model if it passes.

    Raises:
        UserError: an input of the stage changed meanwhile, the production model is not what was
            registered, or drawing failed.
    """
    production = registry.version_with_alias(evaluation.model_name, "production")
    tags = evaluation.tags(production)
    with evaluation_record.evaluation_run(evaluation):
        scoring_model = _verified_scoring_model(evaluation)
        comparison = production_comparison.compare_with_production(evaluation, production)
        lineage.check_inputs_unchanged(evaluation.stage_tags, evaluation.params.flat())

        decision = gate.decide(evaluation.results, evaluation.params.gate, comparison)
        run_log.log_evaluation(evaluation.results, finish_drawing())
        suspicion = single_columns.read_suspicion(evaluation.params.evaluate.suspicious_auc)
        if suspicion:
            tags = {**tags, "leakage": mlflow_page.shortened(suspicion)}
        _log_decision(decision, tags)
        version = _register(evaluation, scoring_model) if decision.passed else None
        _log_description(evaluation, decision, version)
    return Outcome(str(decision), version)


def _verified_scoring_model(evaluation: Evaluation) -> tuple[str, str]:
    """Log the scoring model, or find the registered one, and check that it scores as was measured.

    It is loaded as a consumer loads it, and must give the test rows the measured probabilities.

    Returns:
        Its URI, and the digest of its files.
    """
    identity, customers = evaluation.model_identity, evaluation.customers
    registered = registry.find_version(evaluation.model_name, identity)
    if registered:
        uri, tags = str(registered.source), registered.tags
    else:
        threshold = evaluation.results["threshold"]
        example = customers.head(3)
        uri = logged_model.log_scoring_model(evaluation.contract, threshold, example)
        tags = identity

    description = "the scoring model of this evaluation"
    with logged_model.verified_copy(uri, tags, description) as folder:
        digest = logged_model.files_digest(folder)
        model = model_loading.load_scoring_model(folder, is_new=registered is None)
        served: pd.DataFrame = model.predict(customers)
    if not np.array_equal(served["churn_probability"], evaluation.probabilities):
        raise AssertionError("the scoring model gives other probabilities than were measured")
    return uri, digest


def _log_decision(decision: gate.Decision, evaluation_tags: dict[str, str]) -> None:
    """Tag the active run with what was evaluated and decided; from now on it is a whole record."""
    import mlflow

    verdict = "passed" if decision.passed else "failed"
    mlflow.set_tags({**evaluation_tags, "gate": verdict, "gate_reason": str(decision)})


def _register(evaluation: Evaluation, scoring_model: tuple[str, str]) -> ModelVersion:
    """Register the active run's model, unless an equal version is there.

    The same booster, contract, scoring code and threshold are one version, whoever registers them.

    Args:
        scoring_model: what `_verified_scoring_model` returned.
    """
    import mlflow

    identity = evaluation.model_identity
    version = registry.find_version(evaluation.model_name, identity)
    if version is None:
        uri, digest = scoring_model
        tags = runs.lineage_of_active_run() | identity
        tags |= unseen_rows.trained_until_tag(evaluation.contract)
        tags["seed"] = str(evaluation.params.seed)
        tags["params"] = json.dumps(evaluation.params.flat())
        tags["metrics"] = json.dumps(evaluation.results)
        tags[logged_model.SEAL] = digest
        version = registry.register_version(evaluation.model_name, uri, tags)
        description = mlflow_page.shortened(paths.CARD.read_text(encoding="utf-8"))
        mlflow.MlflowClient().update_model_version(version.name, version.version, description)
    mlflow.set_tag("model_version", f"{version.name}/{version.version}")
    return version


def _log_description(
    evaluation: Evaluation, decision: gate.Decision, version: ModelVersion | None
) -> None:
    """Describe the active run on MLflow's page."""
    import mlflow

    tags = {**evaluation.stage_tags, **evaluation.model_identity}
    registered = f"{version.name}/{version.version}" if version else None
    text = mlflow_page.describe_evaluation(tags, decision, registered)
    card = paths.CARD.read_text(encoding="utf-8")
    mlflow.set_tag(mlflow_page.DESCRIPTION, mlflow_page.shortened(f"{text}\n\n{card}"))


def stage_version(version: ModelVersion, is_experiment: bool) -> str:
    """Let `staging` name a version that passed the gate.

    Trying something out must not displace a candidate: the version of an experiment gets `staging`
    only in a registry that has neither staging nor production.

    Returns:
        The stage of the version, in words.
    """
    if not is_experiment or registry.has_no_stage(version.name):
        return registry.set_staging(version.name, version.version)
    for alias in ("staging", "production"):
        holder = registry.version_with_alias(version.name, alias)
        if holder and holder.version == version.version:
            return f"{alias} already"
    stage = "registered, and not staged, as an experiment"
    # only operations
    stage += f": `python src/promote.py --stage {version.version}` does that"
    # end
    return stage
