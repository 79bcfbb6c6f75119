"""Measure the model, check that it is served as it was measured, and register it if it passes the gate.

    python src/evaluate.py    (as a stage: dvc repro evaluate)

Reads data/prepared/{valid,test}.parquet and models/churn.ubj; writes reports/metrics.json and reports/plots/*.csv;
resumes the model run in MLflow. A model that passes becomes a version of `registry.model` with the alias
`staging`; one that fails is not registered and moves no alias.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from churn import paths
from churn.console import run_command
from churn.data.contract import Contract, load_project_contract
from churn.errors import UserError
from churn.modeling import gate, plots
from churn.modeling.booster import feature_contributions, load_booster, predict_probabilities
from churn.modeling.bootstrap import bootstrap_intervals
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import best_threshold, point_metrics
from churn.params import Params, load_params, seed_global_generators
from churn.tracking import (
    dvc_lock,
    evaluation_record,
    launching_run,
    lineage,
    registration,
    registry,
    run_log,
    store,
)
from churn.tracking.store_errors import explain_store_error


def write(results: dict[str, float], failures: list[str], tables: dict[str, pd.DataFrame]) -> None:
    """Write the DVC outputs. Six digits: what a float holds beyond them differs from one processor to the next."""
    paths.PLOTS.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(paths.PLOTS / f"{name}.csv", index=False, float_format="%.6f")
    content = {**results, "gate_thresholds": "; ".join(failures) or "passed"}
    paths.METRICS.write_text(json.dumps(content, indent=2) + "\n")


def measure(p: Params, rules: Contract, rows: dict[str, pd.DataFrame]) -> tuple[dict, np.ndarray]:
    """Measure the model on the test split at the threshold that earns most on the validation split, and write the
    DVC outputs.

    Returns:
        The metrics, and the probabilities of the test rows, shape (rows,).
    """
    booster, costs, (valid, test) = (
        load_booster(paths.MODEL),
        p.evaluate.costs,
        (rows["valid"], rows["test"]),
    )
    threshold = best_threshold(
        encode_labels(valid, rules), predict_probabilities(booster, valid, rules), costs
    )
    y, probability = encode_labels(test, rules), predict_probabilities(booster, test, rules)
    results = point_metrics(y, probability, threshold, costs)
    results |= bootstrap_intervals(y, probability, p.evaluate.bootstrap, p.seed)
    results = {name: round(float(value), 6) for name, value in results.items()}
    tables = plots.plot_tables(
        y, probability, threshold, feature_contributions(booster, test, rules)
    )
    write(results, gate.missed_thresholds(results, p.gate), tables)
    return results, probability


def main() -> None:
    p = load_params()
    seed_global_generators(p.seed)
    rules = load_project_contract(p)
    origin, tags = dvc_lock.data_tags(), lineage.stage_tags("evaluate")
    dvc_lock.check_outputs("train", paths.MODEL, paths.CURVES)
    rows = {name: pd.read_parquet(paths.SPLITS[name]) for name in ("valid", "test")}
    results, probability = measure(p, rules, rows)

    with (
        tempfile.TemporaryDirectory() as pictures,
        # On the other core, while MLflow starts. Where the rest fails, it is waited for: its folder goes next.
        subprocess.Popen([sys.executable, "src/draw.py", pictures]) as drawing,
    ):
        launching_run.note_stage_executed("evaluate")
        store.connect()
        production, made = (
            registry.version_with_alias(p.registry.model, "production"),
            registry.workspace_identity(results["threshold"]),
        )
        identity = evaluation_record.evaluation_identity(
            p.flat(), json.loads(tags["evaluate.inputs"])
        )
        identity |= evaluation_record.compared_with_tag(production, made)
        if known := registration.find_record(p, identity, made, tags):
            drawing.wait()
            decision = (
                f"{known.data.tags['gate_reason']}, as recorded before in run {known.info.run_name}"
            )
            version = (
                registry.find_version(p.registry.model, made)
                if known.data.tags["gate"] == "passed"
                else None
            )
        else:
            with registration.evaluation_run(p, rules, origin, tags):
                customers = rows["test"].drop(columns=[rules.id, rules.target])
                logged = registration.verified_scoring_model(
                    p, rules, results["threshold"], customers, probability
                )
                comparison = registration.compare_with_production(
                    p, rules, rows["test"], probability, production
                )
                lineage.check_inputs_unchanged(tags)
                if drawing.wait() != 0:
                    raise UserError("src/draw.py failed; its message stands above")
                decision = gate.decide(results, p.gate, *comparison)
                run_log.log_evaluation(results, Path(pictures))
                version = registration.record_and_register(p, logged, results, decision, identity)
        place = (
            registration.stage_version(version, evaluation_record.is_experiment())
            if version
            else None
        )
    print(
        f"test ROC AUC {results['roc_auc']:.4f} ({results['roc_auc_low']:.4f} to {results['roc_auc_high']:.4f})"
    )
    print(f"gate {decision}")
    print(f"{version.name} version {version.version} is {place}" if version else "not registered")


if __name__ == "__main__":
    run_command(main, explain_store_error)
