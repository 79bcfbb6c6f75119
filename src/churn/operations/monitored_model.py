"""The model that made a file of scores, with the rows on which it was trained and tested."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq

from churn.data import csv_table
from churn.data.contract import Contract
from churn.data.customer_table import file_md5
from churn.errors import UserError
from churn.operations.scorer import load_scorer
from churn.operations.scoring import LINEAGE
from churn.tracking import dvc_cache, registered_versions

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass
class MonitoredModel:
    """The model that made the scores, and the rows with which it was trained and tested."""

    version: ModelVersion
    scorer: Any  # the ChurnModel of modeling/scoring.py
    contract: Contract
    training: pd.DataFrame
    test: pd.DataFrame

    def derived_features(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The derived features of rows, computed by the code that was logged with the model."""
        names = [column.name for column in self.contract.derived]
        features: pd.DataFrame = self.scorer.features(rows)[names]
        return features


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
    version = registered_versions.version_by_number(name, number)
    if version is None or version.tags["model_md5"] != lineage["model_md5"]:
        raise UserError(f"the registry has no {name} version {number} that made {scores}")
    scorer, contract = load_scorer(version)
    training = dvc_cache.fetch_to_cache(version.tags["train_md5"], "the training split")
    test = dvc_cache.fetch_to_cache(version.tags["test_md5"], "the test split")
    return MonitoredModel(
        version, scorer, contract, pd.read_parquet(training), pd.read_parquet(test)
    )
