"""Compare a scored batch of customers with the rows that its model was trained on.

    python src/monitor.py customers.parquet scores.parquet
    python src/monitor.py customers.parquet scores.parquet --labels churned.parquet

The scores name the model version that made them, the version's tags name the md5 of its training
rows, and DVC has those. Prints a table of the columns, the most drifted first; draws the worst into
scores.drift.png; logs both to MLflow. With --labels, a table of id and target, also the metrics of
`evaluate` with their intervals.

Exit code 4: something is above the thresholds of `monitor:` in params.yaml.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from churn.console import progress, run_command
from churn.data import csv_table
from churn.data.contract import Contract, free_name
from churn.data.customer_table import CustomerTable, file_md5
from churn.data.drift import Bins, fit_bins
from churn.errors import UserError
from churn.modeling import plots
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import point_metrics
from churn.operations import monitoring
from churn.operations.monitoring import MONITORED_METRICS, PROBABILITY, BatchCounts
from churn.operations.scoring import LINEAGE
from churn.params import Params, load_params
from churn.tracking import (
    dvc_cache,
    environment,
    evaluation_record,
    git_state,
    model_loading,
    registry,
    run_log,
    runs,
    store,
)
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ALARM = 4  # exit code
MOST_DRAWN = 6  # columns
NOBODY_SCORED = "no customer was scored: each one was rejected"


@dataclass
class MonitoredModel:
    """The model that made the scores, and the rows with which it was trained and tested."""

    version: ModelVersion
    scorer: Any  # the ChurnModel of modeling/scoring.py
    contract: Contract
    training: pd.DataFrame
    test: pd.DataFrame


def main() -> None:
    options = parse_arguments()
    params = load_params()
    lineage = read_lineage(options.scores, options.customers)
    store.connect()
    model = load_model(lineage, options.scores)
    contract = model.contract
    with csv_table.opened(options.scores) as file:
        scores = pd.read_parquet(file, columns=[contract.id, PROBABILITY])

    tags = {
        "stage": "monitor",
        **git_state.code_tags(),
        **environment.environment_tags(),
        **lineage,
    }
    with runs.open_run("monitor", tags):
        bins = {c.name: fit_bins(model.training[c.name], c) for c in contract.features}
        training = {name: b.count(model.training[name]) for name, b in bins.items()}
        table = CustomerTable(options.customers, contract, list(bins))
        show = progress(table.rows, "row", line_every=1_000_000)
        batch = monitoring.count_batch(table, contract, bins, show)

        labelled: dict[str, float] = {}
        changes: list[str] = []
        registered = evaluation_record.registered_metrics(model.version)
        if len(scores):
            usual = model.scorer.predict(None, model.test)[PROBABILITY]
            add_score(bins, training, batch, usual, scores[PROBABILITY])
            changes = changed_metrics(model, usual.to_numpy(), registered, params)
        if options.labels and len(scores):
            roles = [contract.id, contract.target]
            labels = CustomerTable(options.labels, contract, roles)
            labelled = monitoring.labelled_metrics(
                labels, contract, scores, params, model.scorer.threshold
            )

        drift = monitoring.drift_table(training, batch)
        alarms = monitoring.find_alarms(drift, labelled, registered, params.monitor)
        if not len(scores):
            alarms.append(NOBODY_SCORED)
        picture = Path(options.scores).with_suffix(".drift.png")
        draw_worst(drift, bins, training, batch, picture)
        log_monitoring(drift, labelled, alarms, picture)

    print(monitoring.drift_report(drift, labelled, registered))
    if changes:
        text = "on the same test split, today's code does not give what was recorded"
        print(f"\nnote: {text}: {'; '.join(changes)}")
    version = f"{model.version.name} version {model.version.version}"
    print(
        f"\n{batch.rows:,} customers against {len(model.training):,} training rows of {version}; "
        f"{picture}"
    )
    if alarms:
        print("\n".join(f"alarm: {alarm}" for alarm in alarms), file=sys.stderr)
        sys.exit(ALARM)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare a scored batch with the training rows of its model."
    )
    parser.add_argument("customers", help="the table that was scored")
    parser.add_argument("scores", help="what src/score.py made of it")
    parser.add_argument(
        "--labels", help="a Parquet or CSV table of id and target, for customers with known labels"
    )
    return parser.parse_args()


def read_lineage(scores: str, customers: str) -> dict[str, str]:
    """The lineage that src/score.py wrote into the scores.

    Raises:
        UserError: the scores have none, or were made of another table.
    """
    key = LINEAGE.encode()
    with csv_table.opened(scores) as file:
        content = (pq.read_schema(file).metadata or {}).get(key)
        content = content or (pq.read_metadata(file).metadata or {}).get(key)
    if not content:
        raise UserError(f"{scores} does not say which model made it; src/score.py writes that")
    lineage: dict[str, str] = json.loads(content)
    digest = file_md5(customers)
    if digest != lineage["input_md5"]:
        raise UserError(
            f"{customers} (md5 {digest}) is not the table that was scored (md5 "
            f"{lineage['input_md5']})"
        )
    return lineage


def load_model(lineage: dict[str, str], scores: str) -> MonitoredModel:
    """Load the model that made the scores, and bring its rows by their md5.

    Raises:
        UserError: the registry does not have it any more, or nobody has its rows.
    """
    name, number = lineage["model"], lineage["model_version"]
    version = registry.version_by_number(name, number)
    if version is None or version.tags["model_md5"] != lineage["model_md5"]:
        raise UserError(f"the registry has no {name} version {number} that made {scores}")
    scorer, contract = model_loading.load_scorer(version)
    training = dvc_cache.fetch_to_cache(version.tags["train_md5"], "the training split")
    test = dvc_cache.fetch_to_cache(version.tags["test_md5"], "the test split")
    return MonitoredModel(
        version, scorer, contract, pd.read_parquet(training), pd.read_parquet(test)
    )


def add_score(
    bins: dict[str, Bins],
    training: dict[str, np.ndarray],
    batch: BatchCounts,
    usual: pd.Series,
    scores: pd.Series,
) -> None:
    """Add the score as a column.

    It is compared with the scores of the test split: the model has not seen those rows either.
    """
    name = free_name(PROBABILITY, bins)
    bins[name] = fit_bins(usual)
    training[name] = bins[name].count(usual)
    batch.bins[name] = bins[name].count(scores)


def changed_metrics(
    model: MonitoredModel,
    probabilities: np.ndarray,
    registered: dict[str, float],
    params: Params,
) -> list[str]:
    """Which metrics today's code gives for the test split otherwise than they were recorded."""
    today = point_metrics(
        encode_labels(model.test, model.contract),
        probabilities,
        model.scorer.threshold,
        params.evaluate.costs,
    )
    return evaluation_record.metric_changes(registered, today, MONITORED_METRICS)


def draw_worst(
    drift: pd.DataFrame,
    bins: dict[str, Bins],
    training: dict[str, np.ndarray],
    batch: BatchCounts,
    path: Path,
) -> None:
    """Draw the columns that have drifted most into a PNG file."""
    worst = {}
    for name in drift.index[:MOST_DRAWN]:
        worst[name] = (bins[name].labels, training[name], batch.bins[name])
    plots.draw_drift(worst).savefig(path, dpi=100)


def log_monitoring(
    drift: pd.DataFrame, labelled: dict[str, float], alarms: list[str], picture: Path
) -> None:
    """Log the drift, the metrics of labelled customers, the picture and the alarms."""
    import mlflow

    for measure in drift:
        values = drift[measure].items()
        run_log.log_metrics({f"{measure}.{name}": value for name, value in values})
    mlflow.log_metrics({f"labelled.{name}": value for name, value in labelled.items()})
    mlflow.log_text(drift.to_csv(), "drift.csv")
    mlflow.log_artifact(str(picture))
    mlflow.set_tag("alarms", "; ".join(alarms) or "none")


if __name__ == "__main__":
    run_command(main, explain_store_error)
