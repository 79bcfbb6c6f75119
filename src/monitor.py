"""Compare a scored batch of customers with the rows that its model was trained on.

    python src/monitor.py customers.parquet scores.parquet
    python src/monitor.py customers.parquet scores.parquet --labels churned.parquet
    python src/monitor.py --requests requests.jsonl

The scores name the model version that made them, the version's tags name the md5 of its training
rows, and DVC has those. Prints a table of the columns, the most drifted first; draws the worst into
scores.drift.png; estimates the ROC AUC and the value per customer from the scores; logs all of it
to MLflow. With --labels, a table of id and target (and of the period, where a customer has several
rows), also the metrics of `evaluate` with their intervals and, if score.py left a control group
alone, what contacting achieved.

--requests takes the log that serve.py wrote in place of customers and scores; without the features
in it (serve.py --log-inputs), only the scores are compared.

Exit code 4: something is above the thresholds of `monitor:` in params.yaml.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from churn.console import run_command
from churn.data import output
from churn.data.customer_table import CustomerTable
from churn.errors import amount
from churn.modeling import plots
from churn.modeling.bootstrap import Resampling
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import point_metrics
from churn.operations import monitored_batch, monitoring
from churn.operations.batch_counts import Counts, count_all
from churn.operations.campaign_effect import CampaignEffect, campaign_effect, effect_report
from churn.operations.estimated_performance import estimate_performance, estimate_report
from churn.operations.labelled_customers import labelled_customers, labelled_metrics
from churn.operations.monitored_batch import Batch
from churn.operations.monitored_model import MonitoredModel
from churn.operations.monitoring import MONITORED_METRICS, PROBABILITY
from churn.operations.version_costs import costs_of_version
from churn.params import Params, load_params
from churn.tracking import (
    environment,
    git_state,
    notification,
    registered_versions,
    run_log,
    runs,
    store,
)
from churn.tracking.store_errors import explain_store_error

ALARM = 4  # exit code
MOST_DRAWN = 6  # columns
NOBODY_SCORED = "no customer was scored: each one was rejected"


@dataclass
class Performance:
    """How well the model does on this batch."""

    estimated: dict[str, float] = field(default_factory=dict)  # empty if nobody was scored
    labelled: dict[str, float] = field(default_factory=dict)  # empty without --labels
    effect: CampaignEffect | None = None  # None without contacted and control customers


def main() -> None:
    options = parse_arguments()
    params = load_params()
    store.connect()
    with tempfile.TemporaryDirectory(prefix="churn-requests-") as folder:
        batch = read_batch(options, Path(folder))
        monitor(batch, options.labels, params)


def monitor(batch: Batch, labels: str | None, params: Params) -> None:
    """Compare a batch with the training rows of its model; print and log what is found."""
    model = batch.model
    tags = {
        "stage": "monitor",
        **git_state.code_tags(),
        **environment.environment_tags(),
        **batch.lineage,
    }
    with runs.open_run("monitor", tags):
        counts = count_all(batch)
        performance = Performance()
        if len(batch.scores):
            performance = measure_performance(batch, labels, params)

        drift = monitoring.drift_table(counts.training, counts.batch)
        registered = registered_versions.registered_metrics(model.version)
        alarms = monitoring.find_alarms(drift, performance.labelled, registered, params.monitor)
        if not len(batch.scores):
            alarms.append(NOBODY_SCORED)
        draw_worst(drift, counts, batch.picture)
        log_monitoring(drift, performance, alarms)

    print(monitoring.drift_report(drift, performance.labelled, registered))
    print_performance(performance, registered)
    print_changed_metrics(model, counts.test_scores, registered, params)
    version = f"{model.version.name} version {model.version.version}"
    rows = amount(counts.batch.rows, model.contract.row_noun)
    print(f"\n{rows} against {len(model.training):,} training rows of {version}; {batch.picture}")
    if alarms:
        print("\n".join(f"alarm: {alarm}" for alarm in alarms), file=sys.stderr)
        notification.notify(params, "alarm", f"{batch.name}: {'; '.join(alarms)}")
        sys.exit(ALARM)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare a scored batch with the training rows of its model."
    )
    parser.add_argument("customers", nargs="?", help="the table that was scored")
    parser.add_argument("scores", nargs="?", help="what src/score.py made of it")
    parser.add_argument(
        "--requests", metavar="LOG", help="what src/serve.py --log wrote, in place of the two"
    )
    parser.add_argument(
        "--labels",
        help="a Parquet or CSV table of id, period (data.time, if there is one) and target, for "
        "customers with known labels",
    )
    options = parser.parse_args()
    if options.requests and options.customers:
        parser.error("give either customers and scores, or --requests LOG")
    if not options.requests and not options.scores:
        parser.error("give customers and scores, or --requests LOG")
    return options


def read_batch(options: argparse.Namespace, folder: Path) -> Batch:
    """The batch that the options name.

    Args:
        folder: for what a log of requests is converted to.
    """
    if not options.requests:
        return monitored_batch.read_scored_table(options.customers, options.scores)
    batch = monitored_batch.read_requests(options.requests, folder)
    if options.labels:
        monitored_batch.check_ids(batch)
    return batch


def measure_performance(batch: Batch, labels: str | None, params: Params) -> Performance:
    """Estimate the performance from the scores, and measure it for customers with known labels.

    The money is by the costs of the version, as that of the test split is.
    """
    model = batch.model
    contract, threshold = model.contract, model.scorer.threshold
    costs = costs_of_version(model.version, params.evaluate.costs)
    resampling = Resampling(params.evaluate.bootstrap, params.seed)
    probabilities = batch.scores[PROBABILITY].to_numpy()
    estimated = estimate_performance(probabilities, threshold, costs, resampling)
    if not labels:
        return Performance(estimated)

    table = CustomerTable(labels, contract, [*contract.key, contract.target])
    customers = labelled_customers(table, contract, batch.last_scores, params)
    labelled = labelled_metrics(customers, threshold, costs, resampling)
    effect = campaign_effect(customers.actions, customers.labels, costs)
    return Performance(estimated, labelled, effect)


def print_performance(performance: Performance, registered: dict[str, float]) -> None:
    """Say how the model performs by its own scores, and what contacting achieved."""
    if not performance.estimated:
        return
    print(f"\n{estimate_report(performance.estimated, registered, performance.labelled)}")
    if performance.labelled:
        print(f"\n{effect_report(performance.effect)}")


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
    changes = registered_versions.metric_changes(registered, today, MONITORED_METRICS)
    if changes:
        text = "on the same test split, today's code does not give what was recorded"
        print(f"\nnote: {text}: {'; '.join(changes)}")


def draw_worst(drift: pd.DataFrame, counts: Counts, url: str) -> None:
    """Draw the columns that have drifted most into a PNG file, and log it."""
    import mlflow

    worst = {}
    for name in drift.index[:MOST_DRAWN]:
        worst[name] = (
            counts.bins[name].labels,
            counts.training[name],
            counts.batch.bins[name],
        )
    with tempfile.TemporaryDirectory() as folder, output.atomic_output(url) as part:
        picture = Path(folder, Path(url).name)
        plots.draw_drift(worst).savefig(picture, dpi=100, format="png")
        shutil.copyfile(picture, part)
        mlflow.log_artifact(str(picture))


def log_monitoring(drift: pd.DataFrame, performance: Performance, alarms: list[str]) -> None:
    """Log the drift, the performance and the alarms."""
    import mlflow

    for measure in drift:
        values = drift[measure].items()
        run_log.log_metrics({f"{measure}.{name}": value for name, value in values})
    labelled = performance.labelled.items()
    mlflow.log_metrics({f"labelled.{name}": value for name, value in labelled})
    mlflow.log_metrics(performance.estimated)
    if performance.effect:
        mlflow.log_metrics(performance.effect.as_metrics())
        mlflow.set_tag("save_chance", performance.effect.verdict)
    mlflow.log_text(drift.to_csv(), "drift.csv")
    mlflow.set_tag("alarms", "; ".join(alarms) or "none")


if __name__ == "__main__":
    run_command(main, explain_store_error)
