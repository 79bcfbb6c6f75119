"""Count a scored batch, and the rows with which its model was made, in the same bins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from churn.console import progress
from churn.data.contract import free_name
from churn.data.customer_table import CustomerTable
from churn.data.drift import Bins, fit_bins
from churn.operations import monitoring
from churn.operations.monitored_batch import Batch
from churn.operations.monitored_model import MonitoredModel
from churn.operations.monitoring import PROBABILITY, BatchCounts


@dataclass
class Counts:
    """What is compared: counts of the bins of each feature and of the score."""

    bins: dict[str, Bins]
    training: dict[str, np.ndarray]  # by column, shape (bins,)
    batch: BatchCounts
    test_scores: pd.Series | None = None  # None if nobody of the batch was scored


def count_all(batch: Batch) -> Counts:
    """Count the training rows and the batch in the bins of each feature and of the score.

    The score is compared with the scores of the test split: like the batch, the model has not seen
    those rows.
    """
    model, scores = batch.model, batch.scores
    counts = Counts({}, {}, BatchCounts({}, rows=len(scores)))
    if batch.customers:
        counts = count_features(model, batch.customers)
    if len(scores):
        counts.test_scores = model.scorer.predict(None, model.test)[PROBABILITY]
        name = free_name(PROBABILITY, counts.bins)
        bins = counts.bins[name] = fit_bins(counts.test_scores)
        counts.training[name] = bins.count(counts.test_scores)
        counts.batch.bins[name] = bins.count(scores[PROBABILITY])
    return counts


def count_features(model: MonitoredModel, customers: str) -> Counts:
    """Count the training rows and a table in the bins of each feature."""
    contract = model.contract
    columns = dict(model.training.items())
    derive = model.derived_features if contract.derived else None
    if derive:
        columns |= dict(derive(model.training).items())
    bins = {
        column.name: fit_bins(columns[column.name], column) for column in contract.model_columns
    }
    training = {name: bins[name].count(columns[name]) for name in bins}
    table = CustomerTable(customers, contract, [column.name for column in contract.features])
    show = progress(table.rows, "row", line_every=1_000_000)
    return Counts(bins, training, monitoring.count_batch(table, contract, bins, show, derive))
