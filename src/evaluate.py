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

from churn import candidate, contract, evaluation, gate, lineage, metrics, model, params, plots, registry, tracking
from churn.errors import UserError, run


def write(results: dict[str, float], failures: list[str], tables: dict[str, pd.DataFrame]) -> None:
    """Write the DVC outputs. Six digits: what a float holds beyond them differs from one processor to the next."""
    lineage.PLOTS.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(lineage.PLOTS / f"{name}.csv", index=False, float_format="%.6f")
    content = {**results, "gate_thresholds": "; ".join(failures) or "passed"}
    lineage.METRICS.write_text(json.dumps(content, indent=2) + "\n")


def measure(p: params.Params, rules: contract.Contract, rows: dict[str, pd.DataFrame]) -> tuple[dict, np.ndarray]:
    """Measure the model on the test split at the threshold that earns most on the validation split, and write the
    DVC outputs.

    Returns:
        The metrics, and the probabilities of the test rows, shape (rows,).
    """
    booster, costs, (valid, test) = model.load(lineage.MODEL), p.evaluate.costs, (rows["valid"], rows["test"])
    threshold = metrics.best_threshold(model.labels(valid, rules), model.predict(booster, valid, rules), costs)
    y, probability = model.labels(test, rules), model.predict(booster, test, rules)
    results = metrics.measure(y, probability, threshold, costs)
    results |= metrics.intervals(y, probability, p.evaluate.bootstrap, p.seed)
    results = {name: round(float(value), 6) for name, value in results.items()}
    tables = plots.tables(y, probability, threshold, model.contributions(booster, test, rules))
    write(results, gate.thresholds(results, p.gate), tables)
    return results, probability


def main() -> None:
    p = params.load()
    rules = contract.load(lineage.SCHEMA, p.data.id, p.data.target, p.data.positive)
    origin, tags = lineage.data(), lineage.tags("evaluate")
    lineage.check_outputs("train", lineage.MODEL, lineage.CURVES)
    rows = {name: pd.read_parquet(lineage.SPLITS[name]) for name in ("valid", "test")}
    results, probability = measure(p, rules, rows)

    with (
        tempfile.TemporaryDirectory() as pictures,
        # On the other core, while MLflow starts. Where the rest fails, it is waited for: its folder goes next.
        subprocess.Popen([sys.executable, "src/draw.py", pictures]) as drawing,
    ):
        tracking.note_executed("evaluate")
        tracking.connect()
        production, made = registry.alias(p.registry.model, "production"), registry.identity(results["threshold"])
        identity = evaluation.identity(params.flatten(p.model_dump()), json.loads(tags["evaluate.inputs"]))
        identity |= evaluation.production_key(production, made)
        if known := candidate.recorded(p, identity, made, tags):
            drawing.wait()
            decision = f"{known.data.tags['gate_reason']}, as recorded before in run {known.info.run_name}"
            version = registry.find(p.registry.model, made) if known.data.tags["gate"] == "passed" else None
        else:
            with candidate.evaluation_run(p, rules, origin, tags):
                customers = rows["test"].drop(columns=[rules.id, rules.target])
                logged = candidate.scoring_model(p, rules, results["threshold"], customers, probability)
                comparison = candidate.compare(p, rules, rows["test"], probability, production)
                lineage.verify(tags)
                if drawing.wait() != 0:
                    raise UserError("src/draw.py failed; its message stands above")
                decision = gate.decide(results, p.gate, *comparison)
                tracking.log_evaluation(results, Path(pictures))
                version = candidate.publish(p, logged, results, decision, identity)
        place = candidate.stage(version, evaluation.is_experiment()) if version else None
    print(f"test ROC AUC {results['roc_auc']:.4f} ({results['roc_auc_low']:.4f} to {results['roc_auc_high']:.4f})")
    print(f"gate {decision}")
    print(f"{version.name} version {version.version} is {place}" if version else "not registered")


if __name__ == "__main__":
    run(main)
