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
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from churn.console import progress, run_command
from churn.data import csv_table
from churn.data.contract import free_name
from churn.data.customer_table import CustomerTable
from churn.data.drift import Bins, fit_bins
from churn.modeling import plots
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import point_metrics
from churn.operations import monitoring
from churn.operations.monitored_model import MonitoredModel, load_model, read_lineage
from churn.operations.monitoring import MONITORED_METRICS, PROBABILITY, BatchCounts
from churn.params import Params, load_params
from churn.tracking import (
    environment,
    evaluation_record,
    git_state,
    run_log,
    runs,
    store,
)
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    pass

ALARM = 4  # exit code
MOST_DRAWN = 6  # columns
NOBODY_SCORED = "no customer was scored: each one was rejected"


@dataclass
class Counts:
    """What is compared: counts of the bins of each feature and of the score."""

    bins: dict[str, Bins]
    training: dict[str, np.ndarray]  # by column, shape (bins,)
    batch: BatchCounts
    test_scores: pd.Series | None = None  # None if nobody of the batch was scored


def main() -> None:
    options = parse_arguments()
    params = load_params()
    lineage = read_lineage(options.scores, options.customers)
    store.connect()
    model = load_model(lineage, options.scores)
    with csv_table.opened(options.scores) as file:
        scores = pd.read_parquet(file, columns=[model.contract.id, PROBABILITY])

    tags = {
        "stage": "monitor",
        **git_state.code_tags(),
        **environment.environment_tags(),
        **lineage,
    }
    with runs.open_run("monitor", tags):
        counts = count_all(model, scores, options.customers)
        labelled: dict[str, float] = {}
        if options.labels and len(scores):
            labelled = measure_labelled(model, scores, options.labels, params)

        drift = monitoring.drift_table(counts.training, counts.batch)
        registered = evaluation_record.registered_metrics(model.version)
        alarms = monitoring.find_alarms(drift, labelled, registered, params.monitor)
        if not len(scores):
            alarms.append(NOBODY_SCORED)
        picture = Path(options.scores).with_suffix(".drift.png")
        draw_worst(drift, counts, picture)
        log_monitoring(drift, labelled, alarms, picture)

    print(monitoring.drift_report(drift, labelled, registered))
    print_changed_metrics(model, counts.test_scores, registered, params)
    version = f"{model.version.name} version {model.version.version}"
    print(
        f"\n{counts.batch.rows:,} customers against {len(model.training):,} training rows of "
        f"{version}; {picture}"
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


def count_all(model: MonitoredModel, scores: pd.DataFrame, customers: str) -> Counts:
    """Count the training rows and the batch in the bins of each feature and of the score.

    The score is compared with the scores of the test split: like the batch, the model has not seen
    those rows.
    """
    features = model.contract.features
    bins = {column.name: fit_bins(model.training[column.name], column) for column in features}
    training = {name: bins[name].count(model.training[name]) for name in bins}
    table = CustomerTable(customers, model.contract, list(bins))
    show = progress(table.rows, "row", line_every=1_000_000)
    batch = monitoring.count_batch(table, model.contract, bins, show)
    counts = Counts(bins, training, batch)
    if len(scores):
        counts.test_scores = model.scorer.predict(None, model.test)[PROBABILITY]
        name = free_name(PROBABILITY, bins)
        bins[name] = fit_bins(counts.test_scores)
        training[name] = bins[name].count(counts.test_scores)
        batch.bins[name] = bins[name].count(scores[PROBABILITY])
    return counts


def measure_labelled(
    model: MonitoredModel, scores: pd.DataFrame, labels: str, params: Params
) -> dict[str, float]:
    """The metrics of the scored customers whose labels are known by now."""
    contract = model.contract
    table = CustomerTable(labels, contract, [contract.id, contract.target])
    threshold = model.scorer.threshold
    return monitoring.labelled_metrics(table, contract, scores, params, threshold)


def print_changed_metrics(
    model: MonitoredModel,
    test_scores: pd.Series | None,
    registered: dict[str, float],
    params: Params,
) -> None:
    """Say which metrics today's code gives for the test split otherwise than they were recorded."""
    if test_scores is None:
        return
    today = point_metrics(
        encode_labels(model.test, model.contract),
        test_scores.to_numpy(),
        model.scorer.threshold,
        params.evaluate.costs,
    )
    changes = evaluation_record.metric_changes(registered, today, MONITORED_METRICS)
    if changes:
        text = "on the same test split, today's code does not give what was recorded"
        print(f"\nnote: {text}: {'; '.join(changes)}")


def draw_worst(drift: pd.DataFrame, counts: Counts, path: Path) -> None:
    """Draw the columns that have drifted most into a PNG file."""
    worst = {}
    for name in drift.index[:MOST_DRAWN]:
        worst[name] = (
            counts.bins[name].labels,
            counts.training[name],
            counts.batch.bins[name],
        )
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
