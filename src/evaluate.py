"""Measure the model, check that it is served as it was measured, and register it if it passes the
gate.

    python src/evaluate.py    (as a stage: dvc repro evaluate)

Reads data/prepared/{valid,test}.parquet and models/churn.ubj; writes reports/metrics.json and
reports/plots/*.csv; resumes the model run in MLflow. A model that passes becomes a version of
`registry.model` with the alias `staging`; one that fails is not registered and moves no alias.
"""

import json

import numpy as np
import pandas as pd

from churn import paths
from churn.console import run_command
from churn.data.contract import Contract, load_project_contract
from churn.modeling import gate
from churn.modeling.booster import feature_contributions, load_booster, predict_probabilities
from churn.modeling.bootstrap import Resampling, bootstrap_intervals
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import best_threshold, point_metrics
from churn.modeling.plot_data import plot_tables
from churn.params import Params, load_params, seed_global_generators
from churn.tracking import (
    dvc_lock,
    evaluation_record,
    launching_run,
    lineage,
    pictures,
    registration,
    store,
)
from churn.tracking.store_errors import explain_store_error


def main() -> None:
    # What this run is made of, noted before anything is read.
    params = load_params()
    seed_global_generators(params.seed)
    contract = load_project_contract(params)
    data_tags = dvc_lock.data_tags()
    stage_tags = lineage.stage_tags("evaluate")
    dvc_lock.check_outputs("train", paths.MODEL, paths.CURVES)

    valid, test = (pd.read_parquet(paths.SPLITS[name]) for name in ("valid", "test"))
    results, probabilities = measure(params, contract, valid, test)
    evaluation = registration.Evaluation(
        params, contract, data_tags, stage_tags, results, test, probabilities
    )

    with pictures.drawing() as finish_drawing:
        launching_run.note_stage_executed("evaluate")
        store.connect()
        outcome = registration.find_outcome(evaluation)
        if outcome is None:
            outcome = registration.record_evaluation(evaluation, finish_drawing)
        finish_drawing()

    version = outcome.version
    interval = f"{results['roc_auc_low']:.4f} to {results['roc_auc_high']:.4f}"
    print(f"test ROC AUC {results['roc_auc']:.4f} ({interval})")
    print(f"gate {outcome.gate}")
    if version is None:
        print("not registered")
    else:
        stage = registration.stage_version(version, evaluation_record.is_experiment())
        print(f"{version.name} version {version.version} is {stage}")


def measure(
    params: Params, contract: Contract, valid: pd.DataFrame, test: pd.DataFrame
) -> tuple[dict[str, float], np.ndarray]:
    """Measure the model on the test split, and write the DVC outputs.

    The decision threshold is the one with the highest value on the validation split.

    Returns:
        The metrics, and the probabilities of the test rows, shape (rows,).
    """
    booster = load_booster(paths.MODEL)
    costs = params.evaluate.costs
    threshold = best_threshold(
        encode_labels(valid, contract), predict_probabilities(booster, valid, contract), costs
    )

    labels = encode_labels(test, contract)
    probabilities = predict_probabilities(booster, test, contract)
    metrics = point_metrics(labels, probabilities, threshold, costs)
    resampling = Resampling(params.evaluate.bootstrap, params.seed)
    metrics |= bootstrap_intervals(labels, probabilities, resampling)
    # Six digits: what a float holds beyond them differs from one processor to the next.
    metrics = {name: round(float(value), 6) for name, value in metrics.items()}

    contributions = feature_contributions(booster, test, contract)
    write_outputs(
        metrics,
        gate.missed_thresholds(metrics, params.gate),
        plot_tables(labels, probabilities, threshold, contributions),
    )
    return metrics, probabilities


def write_outputs(
    metrics: dict[str, float], missed_thresholds: list[str], tables: dict[str, pd.DataFrame]
) -> None:
    """Write what DVC tracks: the metrics with the gate's thresholds, and the data of the plots."""
    paths.PLOTS.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(paths.PLOTS / f"{name}.csv", index=False, float_format="%.6f")
    content = {**metrics, "gate_thresholds": "; ".join(missed_thresholds) or "passed"}
    paths.METRICS.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    run_command(main, explain_store_error)
