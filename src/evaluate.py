"""Measure the model, check that it is served as it was measured, and register it if it passes the
gate.

    python src/evaluate.py    (as a stage: dvc repro evaluate)

Reads data/prepared/*.parquet and models/churn.ubj; writes reports/metrics.json, reports/plots/*.csv
and reports/model_card.md; resumes the model run in MLflow. A model that passes becomes a version of
`registry.model` with the alias `staging`; one that fails is not registered and moves no alias.
"""

import json
import shutil

import numpy as np
import pandas as pd

from churn import paths
from churn.console import run_command
from churn.data.contract import Contract, with_derived
from churn.data.origins import backtest_faults
from churn.data.project_contract import listed_faults, load_table_contract, parameter_faults
from churn.errors import UserError
from churn.modeling import backtest, baseline, gate, segments, single_columns
from churn.modeling.booster import feature_contributions, load_booster, predict_probabilities
from churn.modeling.bootstrap import Resampling, bootstrap_intervals
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import best_threshold, point_metrics
from churn.modeling.metrics_table import interval_text
from churn.modeling.model_card import render_model_card
from churn.modeling.plot_data import plot_tables, value_table
from churn.params import Params, load_params, seed_global_generators
from churn.tracking import (
    dvc_lock,
    evaluation_record,
    launching_run,
    leftovers,
    lineage,
    notification,
    pictures,
    registration,
    store,
)
from churn.tracking.store_errors import explain_store_error

METRICS_ARE_GONE = (
    f"DVC deletes the outputs of a stage before it runs, {paths.METRICS} too: correct params.yaml, "
    "and `dvc repro` makes them again"
)


def main() -> None:
    leftovers.end_with_dvc()
    # What this run is made of, noted before contract, splits and model are read.
    params = load_params()
    seed_global_generators(params.seed)
    data_tags = dvc_lock.data_tags()
    stage_tags = lineage.stage_tags("evaluate")
    dvc_lock.check_outputs("train", paths.MODEL, paths.CURVES)

    table_contract = load_table_contract(params)
    splits = {name: pd.read_parquet(path) for name, path in paths.SPLITS.items()}
    check_settings(params, table_contract, pd.concat(splits.values()))
    contract = with_derived(table_contract, params.features or [])
    results, tables, probabilities = measure(params, contract, splits)
    write_outputs(params, contract, splits, results, tables)

    evaluation = registration.Evaluation(
        params, contract, data_tags, stage_tags, results, splits["test"], probabilities
    )

    # The pictures are drawn on another core while MLflow starts.
    with pictures.drawing() as finish_drawing:
        launching_run.note_stage_executed("evaluate")
        store.connect()
        outcome = registration.find_outcome(evaluation)
        if outcome is None:
            outcome = registration.record_evaluation(evaluation, finish_drawing)
        finish_drawing()

    print_outcome(params, results, outcome)
    version = outcome.version
    if version is None:
        print("not registered")
        notification.notify(params, "gate", f"not registered, gate {outcome.gate}")
    else:
        stage = registration.stage_version(version, evaluation_record.is_experiment())
        print(f"{version.name} version {version.version} is {stage}")


def print_outcome(params: Params, results: dict[str, float], outcome: registration.Outcome) -> None:
    """Print how good the model is, what is suspicious, and what the gate decided."""
    interval = interval_text(results, "roc_auc")
    print(f"test ROC AUC {results['roc_auc']:.4f} ({interval}); {baseline.in_words(results)}")
    suspicion = single_columns.read_suspicion(params.evaluate.suspicious_auc)
    if suspicion:
        print(f"warning: {suspicion}")
    print(f"gate {outcome.gate}")


def check_settings(params: Params, contract: Contract, rows: pd.DataFrame) -> None:
    """Refuse settings that do not fit the contract or the periods, before anything is computed.

    preprocess refuses them too, but does not run again where they alone have changed.

    Raises:
        UserError: all of them.
    """
    faults = parameter_faults(params, contract)
    if params.evaluate.backtest is not None:
        has_churned = encode_labels(rows, contract)
        faults += backtest_faults(rows[contract.time], has_churned, params)
    if faults:
        raise UserError(f"{listed_faults(faults)}\n{METRICS_ARE_GONE}")


def measure(
    params: Params, contract: Contract, splits: dict[str, pd.DataFrame]
) -> tuple[dict[str, float], dict[str, pd.DataFrame], np.ndarray]:
    """Measure the model on the test split, beside a baseline.

    Returns:
        The metrics, the data of the plots by name, and the probabilities of the test rows, shape
        (rows,).
    """
    booster = load_booster(paths.MODEL)
    costs = params.evaluate.costs
    # The threshold is chosen on other rows than those that measure what it is worth.
    valid, test = splits["valid"], splits["test"]
    threshold = best_threshold(
        encode_labels(valid, contract), predict_probabilities(booster, valid, contract), costs
    )
    labels = encode_labels(test, contract)
    probabilities = predict_probabilities(booster, test, contract)
    resampling = Resampling(params.evaluate.bootstrap, params.seed)

    tables = plot_tables(
        labels, probabilities, threshold, feature_contributions(booster, test, contract)
    )
    tables["value"] = value_table(labels, probabilities, costs, resampling)
    tables["single_columns"] = single_columns.separation_table(splits["train"], test, contract)
    if params.evaluate.segments:
        tables["segments"] = segments.segment_table(
            test, contract, params.evaluate.segments, probabilities, threshold, resampling
        )
    if params.evaluate.backtest:
        tables["backtest"] = backtest.backtest_table(pd.concat(splits.values()), contract, params)

    metrics = point_metrics(labels, probabilities, threshold, costs)
    metrics |= bootstrap_intervals(labels, probabilities, resampling)
    metrics |= measure_baseline(contract, splits, probabilities, resampling)
    if "backtest" in tables:
        metrics |= backtest.backtest_metrics(tables["backtest"])
    limit = params.evaluate.suspicious_auc
    metrics["suspicious_columns"] = single_columns.count_suspicious(tables["single_columns"], limit)
    # Six digits: what a float holds beyond them differs from one processor to the next.
    metrics = {name: round(float(value), 6) for name, value in metrics.items()}
    return metrics, tables, probabilities


def measure_baseline(
    contract: Contract,
    splits: dict[str, pd.DataFrame],
    probabilities: np.ndarray,
    resampling: Resampling,
) -> dict[str, float]:
    """Fit the baseline on the training split, and measure it on the test split beside the model."""
    train, test = splits["train"], splits["test"]
    model = baseline.fit_baseline(train, contract)
    return baseline.baseline_metrics(
        encode_labels(test, contract),
        probabilities,
        baseline.baseline_probabilities(model, test, contract),
        encode_labels(train, contract).mean(),
        resampling,
    )


def write_outputs(
    params: Params,
    contract: Contract,
    splits: dict[str, pd.DataFrame],
    metrics: dict[str, float],
    tables: dict[str, pd.DataFrame],
) -> None:
    """Write what DVC tracks: the metrics with the gate's thresholds, the data of the plots, and the
    model card.
    """
    missed = gate.missed_thresholds(metrics, params.gate)
    card = render_model_card(params, contract, splits, metrics, missed, tables)
    shutil.rmtree(paths.PLOTS, ignore_errors=True)  # a table of other parameters must not stay
    paths.PLOTS.mkdir(parents=True)
    for name, table in tables.items():
        table.to_csv(paths.PLOTS / f"{name}.csv", index=False, float_format="%.6f")
    content = {**metrics, "gate_thresholds": "; ".join(missed) or "passed"}
    paths.METRICS.write_text(json.dumps(content, indent=2) + "\n")
    paths.CARD.write_text(card, encoding="utf-8")


if __name__ == "__main__":
    run_command(main, explain_store_error)
