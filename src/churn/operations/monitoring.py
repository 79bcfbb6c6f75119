"""Compare a scored batch of customers with the rows that its model was trained on.

Pure functions over counts and tables; src/monitor.py reads, logs and prints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from churn.console import text_table
from churn.data.checks import failed_cells, pandera_schema
from churn.data.contract import CAMPAIGN_COLUMNS, SCORE_COLUMNS, Contract
from churn.data.customer_table import CustomerTable
from churn.data.drift import Bins, measure_drift
from churn.data.rejection import to_contract_types
from churn.modeling.bootstrap import MAIN_METRICS
from churn.modeling.metrics_table import interval_text
from churn.params import Monitor

PROBABILITY = SCORE_COLUMNS[0]
ACTION = CAMPAIGN_COLUMNS[1]
MONITORED_METRICS = (*MAIN_METRICS, "calibration_error", "value_per_customer")
SHARES = ("invalid", "null", "null_in_training")  # columns of a drift table


@dataclass
class BatchCounts:
    """What a table has: how often each bin of each column, and values that break the contract."""

    bins: dict[str, np.ndarray]  # by column, shape (bins,)
    invalid: Counter[str] = field(default_factory=Counter)  # by column
    rows: int = 0


def count_batch(
    table: CustomerTable,
    contract: Contract,
    bins: dict[str, Bins],
    show_progress: Callable[[int], None],
    derive: Callable[[pd.DataFrame], pd.DataFrame] | None = None,
) -> BatchCounts:
    """Count a table in the bins of its columns.

    Args:
        bins: of the features, and of those derived from them, by column.
        show_progress: called with the number of rows so far after each batch.
        derive: computes the derived features, if there are some, of rows that fit the contract.
    """
    schema = pandera_schema(contract, without={*contract.key, contract.target})
    counts = BatchCounts({name: np.zeros(len(b.labels), int) for name, b in bins.items()})
    for batch in table.batches():
        rows, faults = to_contract_types(batch, contract)
        columns = dict(rows.items())

        # A value that could not be converted is null by now, and may break a rule as well.
        cells = failed_cells(schema, rows)
        invalid = set(faults) | set(zip(cells["row"], cells["column"], strict=True))
        counts.invalid.update(column for _, column in invalid)
        if derive is not None:
            fitting = rows.drop(index={row for row, _ in invalid})
            columns |= dict(derive(fitting).items())
        for name, column_bins in bins.items():
            counts.bins[name] += column_bins.count(columns[name])
        counts.rows += len(rows)
        show_progress(counts.rows)
    return counts


def drift_table(training: dict[str, np.ndarray], batch: BatchCounts) -> pd.DataFrame:
    """How far each column has moved, the most drifted first.

    Args:
        training: counts of each column's bins in the training rows.

    Returns:
        One row per column, with the columns psi, js_distance and noise (drift.measure_drift) and
        the shares of its values that break the contract (invalid) and that are null, now and in
        training.
    """
    rows = {}
    for name, training_counts in training.items():
        counts = batch.bins[name]
        drift = measure_drift(training_counts, counts, len(training))
        rows[name] = {
            "psi": drift.psi,
            "js_distance": drift.js_distance,
            "noise": drift.noise,
            "invalid": batch.invalid[name] / batch.rows,
            "null": counts[-1] / batch.rows,
            "null_in_training": training_counts[-1] / training_counts.sum(),
        }
    return pd.DataFrame(rows).T.sort_values("psi", ascending=False)


def find_alarms(
    drift: pd.DataFrame,
    labelled: dict[str, float],
    registered: dict[str, float],
    limits: Monitor,
) -> list[str]:
    """Everything that is above the thresholds of `monitor` in params.yaml, one sentence each.

    A PSI that chance explains in a batch of this size is no alarm.

    Args:
        labelled: metrics of customers with known labels; empty if there are none.
        registered: metrics of the test split with which the version was registered.
    """
    alarms = []
    for name, row in drift.iterrows():
        if row.psi > max(limits.max_psi, row.noise):
            alarms.append(f"{name}: PSI {row.psi:.3f} is above monitor.max_psi {limits.max_psi:g}")
        if row.invalid > limits.max_invalid:
            limit = f"monitor.max_invalid {limits.max_invalid:g}"
            alarms.append(f"{name}: {row.invalid:.1%} break the contract, above {limit}")

    if labelled and labelled["roc_auc_high"] < registered["roc_auc"] - limits.max_auc_drop:
        interval = interval_text(labelled, "roc_auc")
        alarms.append(
            f"ROC AUC {labelled['roc_auc']:.4f} ({interval}) is below the test split's "
            f"{registered['roc_auc']:.4f} by more than monitor.max_auc_drop {limits.max_auc_drop:g}"
        )
    return alarms


def drift_report(
    drift: pd.DataFrame, labelled: dict[str, float], registered: dict[str, float]
) -> str:
    """The drift table as text, and below it the metrics of labelled customers."""
    rows = []
    for name, values in drift.iterrows():
        row: dict[str, object] = {"": name}
        for column, value in values.items():
            row[str(column)] = f"{value:.1%}" if column in SHARES else float(value)
        rows.append(row)
    text = text_table(rows)
    if not labelled:
        return text

    lines = [f"{'labelled customers':<20} {'test split':>10} {'now':>10}   95 % interval"]
    for name in MONITORED_METRICS:
        line = f"{name:<20} {registered.get(name, np.nan):>10.4f} {labelled[name]:>10.4f}"
        lines.append(f"{line}   {interval_text(labelled, name)}".rstrip())
    return "\n".join([text, "", *lines])
