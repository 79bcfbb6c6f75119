"""What monitor.py compares with the training rows: a scored table, or a log of requests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from churn.data import csv_table, urls
from churn.data.contract import Contract
from churn.errors import UserError
from churn.operations import logged_requests
from churn.operations.monitored_model import MonitoredModel, load_model, read_lineage
from churn.operations.monitoring import ACTION, PROBABILITY


@dataclass
class Batch:
    """What was scored by one version."""

    name: str  # as messages name it
    lineage: dict[str, str]
    model: MonitoredModel
    scores: pd.DataFrame  # ids, churn probabilities and, unless the server scored, actions
    customers: str | None  # the table of their features; None if those were not kept
    picture: str  # the path or URL of the file to draw


def read_scored_table(customers: str, path: str) -> Batch:
    """A table and the scores that score.py made of it.

    Raises:
        UserError: they do not belong together, or their model is gone.
    """
    lineage = read_lineage(path, customers)
    model = load_model(lineage, path)
    scores = read_scores(path, model.contract)
    picture = urls.beside(path, ".drift.png")
    return Batch(customers, lineage, model, scores, customers, picture)


def read_requests(path: str, folder: Path) -> Batch:
    """The requests that the server answered with the version that answered last, from its log.

    Args:
        folder: for the table of the features.

    Raises:
        UserError: the log cannot be read, or its model is gone.
    """
    requests = logged_requests.find_version(path)
    print(f"{requests.summary}\n")
    model = load_model(requests.lineage, path)
    scores = logged_requests.read_scores(requests, model.contract)
    table = folder / "customers.parquet"
    rows = logged_requests.write_customers(requests, model.contract, table)
    picture = urls.beside(path, ".drift.png")
    return Batch(path, requests.lineage, model, scores, str(table) if rows else None, picture)


def check_ids(batch: Batch) -> None:
    """Refuse labels for a batch in which nobody's id is known.

    Raises:
        UserError: that is so.
    """
    id_column = batch.model.contract.id
    if batch.scores[id_column].isna().all():
        raise UserError(
            f"{batch.name} has no ids to find the labels by; callers send {id_column} beside the "
            "features (the model ignores it)"
        )


def read_scores(path: str, contract: Contract) -> pd.DataFrame:
    """Ids, churn probabilities and, unless an earlier release made the scores, actions."""
    wanted = [contract.id, PROBABILITY, ACTION]
    with csv_table.opened(path) as file:
        names = pq.read_schema(file).names
        return pd.read_parquet(file, columns=[name for name in wanted if name in names])
