"""Score a table of customers in batches, and set aside the rows that break the contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from churn.data.arrow import arrow_schema
from churn.data.checks import duplicate_ids, pandera_schema
from churn.data.contract import (
    CAMPAIGN_COLUMNS,
    CONTRIBUTION_COLUMNS,
    REASON_COLUMNS,
    SCORE_COLUMNS,
    Contract,
)
from churn.data.customer_table import CustomerTable
from churn.data.rejection import rejection_reasons, to_contract_types
from churn.modeling.booster import feature_contributions
from churn.operations.campaign import (
    ACTIONS,
    CONTACT,
    CONTROL,
    NO_CONTACT,
    Campaign,
    expected_values,
)
from churn.operations.rejected_rows import RejectedRows, rejected_schema
from churn.operations.score_actions import with_actions
from churn.params import Costs

PROBABILITY, DECISION = SCORE_COLUMNS
EXPECTED_VALUE, ACTION = CAMPAIGN_COLUMNS
LINEAGE = "churn_lineage"  # the key in the metadata of the scores


@dataclass
class ScoreCounts:
    """What came of the rows of a table: scored + rejected = read."""

    read: int = 0
    scored: int = 0
    rejected: int = 0
    above_threshold: int = 0  # at or above the decision threshold
    probability: float = 0.0  # the sum over the scored rows
    actions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ACTIONS, 0))  # rows
    # The sum of expected_value by action.
    values: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ACTIONS, 0.0))

    def add_scored(self, scores: pa.Table) -> None:
        """Count the rows of a batch of scores."""
        self.scored += len(scores)
        self.above_threshold += int(scores[DECISION].to_numpy().sum())
        self.probability += float(scores[PROBABILITY].to_numpy().sum())
        actions = scores[ACTION].to_numpy()
        values = scores[EXPECTED_VALUE].to_numpy()
        for action in ACTIONS:
            is_action = actions == action
            self.actions[action] += int(is_action.sum())
            self.values[action] += float(values[is_action].sum())

    def as_metrics(self) -> dict[str, float]:
        """The counts as metrics of MLflow."""
        return {**self.as_lineage(), "expected_value_contacted": self.values[CONTACT]}

    def as_lineage(self) -> dict[str, int]:
        """The counts that the file of the scores carries."""
        return {
            "rows_read": self.read,
            "rows_scored": self.scored,
            "rows_rejected": self.rejected,
            "rows_contacted": self.actions[CONTACT],
            "rows_control": self.actions[CONTROL],
        }


@dataclass
class Scorer:
    """A registered model with its contract and costs, and what its scores are made for."""

    model: Any  # the ChurnModel of modeling/scoring.py, with the code that it was logged with
    contract: Contract
    explain: bool
    costs: Costs  # by which the version was evaluated
    campaign: Campaign = field(default_factory=Campaign)

    def output_schema(self) -> pa.Schema:
        """The columns of the scores: id, scores, value, action, and with `explain` the reasons."""
        fields = {
            self.contract.id: arrow_schema(self.contract).field(self.contract.id).type,
            PROBABILITY: pa.float64(),
            DECISION: pa.bool_(),
            EXPECTED_VALUE: pa.float64(),
            ACTION: pa.string(),
        }
        if self.explain:
            columns = zip(REASON_COLUMNS, CONTRIBUTION_COLUMNS, strict=True)
            # A model of one or two features has fewer reasons.
            for (reason, contribution), _ in zip(
                columns, self.contract.model_columns, strict=False
            ):
                fields[reason] = pa.string()
                fields[contribution] = pa.float32()
        return pa.schema(fields.items())

    def score(self, rows: pd.DataFrame) -> pa.Table:
        """The scores of rows that fit the contract, in the columns of `output_schema`.

        The action is that of the threshold alone; with_actions changes it for a campaign.
        """
        columns = {self.contract.id: rows[self.contract.id], **self.model.predict(None, rows)}
        columns[EXPECTED_VALUE] = expected_values(columns[PROBABILITY].to_numpy(), self.costs)
        columns[ACTION] = np.where(columns[DECISION], CONTACT, NO_CONTACT)
        if self.explain:
            columns |= self._reasons(rows)
        schema = self.output_schema()
        arrays = [pa.array(columns[f.name], f.type, from_pandas=True) for f in schema]
        return pa.Table.from_arrays(arrays, schema=schema)

    def _reasons(self, rows: pd.DataFrame) -> dict[str, np.ndarray]:
        if not self.contract.derived:  # so in every version of release 0.2
            contributions = feature_contributions(self.model.booster, rows, self.contract)
            return strongest_reasons(rows, contributions, self.contract)
        # Its derived features are computed by the code that was logged with the model.
        features = self.model.features(rows)
        derived = features[[column.name for column in self.contract.derived]]
        values = pd.concat([rows, derived.set_axis(rows.index)], axis="columns")
        return strongest_reasons(values, self.model.contributions(rows), self.contract)


def strongest_reasons(
    rows: pd.DataFrame, contributions: pd.DataFrame, contract: Contract
) -> dict[str, np.ndarray]:
    """The features that move each customer's score most, the strongest first.

    Args:
        rows: customers with their derived features.
        contributions: of the features, and the bias (booster.feature_contributions).

    Returns:
        reason_1 ("contract = One year"), contribution_1 (what it adds to the log odds of churn, by
        TreeSHAP), reason_2 and so on, each of the shape (rows,).
    """
    strengths = contributions.to_numpy()[:, :-1]  # without the bias
    order = np.argsort(-np.abs(strengths), axis=1, kind="stable")

    texts = []
    for column in contract.model_columns:
        texts.append(f"{column.label} = " + _as_text(rows[column.name], column.kind))
    reasons = np.column_stack(texts)

    every_row = np.arange(len(rows))
    columns = {}
    for rank in range(min(len(REASON_COLUMNS), order.shape[1])):
        feature = order[:, rank]
        columns[REASON_COLUMNS[rank]] = reasons[every_row, feature]
        columns[CONTRIBUTION_COLUMNS[rank]] = strengths[every_row, feature]
    return columns


def score_table(
    table: CustomerTable,
    scorer: Scorer,
    files: tuple[Path, Path],
    lineage: dict[str, str],
    show_progress: Callable[[int], None],
) -> ScoreCounts:
    """Score a table into two Parquet files, of the scores and of the rejected rows.

    Args:
        files: where to write the two.
        lineage: goes into the metadata of the scores, with the counts.
        show_progress: called with the number of rows so far after each batch.
    """
    contract = scorer.contract
    counts = ScoreCounts()
    with (
        pq.ParquetWriter(files[0], scorer.output_schema()) as scores,
        pq.ParquetWriter(files[1], rejected_schema(table)) as rejected_rows,
    ):
        rejected = RejectedRows(table, rejected_rows)
        batches = _score_batches(table, scorer, rejected, show_progress)
        for scored in with_actions(batches, contract.id, scorer.campaign, files[0].parent):
            scores.write_table(scored)
            counts.add_scored(scored)

        counts.rejected = rejected.count
        counts.read = rejected.parsed + len(table.broken)
        metadata = json.dumps({**lineage, **counts.as_lineage()})
        scores.add_key_value_metadata({LINEAGE: metadata})
    return counts


def _score_batches(
    table: CustomerTable,
    scorer: Scorer,
    rejected: RejectedRows,
    show_progress: Callable[[int], None],
) -> Iterator[pa.Table]:
    """The scores of each batch; its rejected rows are written on the way."""
    contract = scorer.contract
    schema = pandera_schema(contract, without=contract.not_scored)
    duplicates = duplicate_ids(lambda: _read_ids(table, contract))
    for batch in table.batches():
        rows, faults = to_contract_types(batch, contract)
        reasons = rejection_reasons(rows, schema, faults)
        positions = range(rejected.parsed, rejected.parsed + len(rows))
        _add_duplicates(reasons, duplicates, contract, positions)
        rejected.write(batch, reasons)

        accepted = rows.drop(index=list(reasons))
        if len(accepted):
            yield scorer.score(accepted)
        show_progress(rejected.parsed)
    rejected.write_last_broken_lines()


def _read_ids(table: CustomerTable, contract: Contract) -> Iterator[list[object]]:
    for batch in table.batches([contract.id]):
        rows, _ = to_contract_types(batch, contract)
        yield rows[contract.id].tolist()


def _add_duplicates(
    reasons: dict[int, str], duplicates: dict[int, object], contract: Contract, rows: range
) -> None:
    """Add the reason of each row of a batch whose id an earlier row has.

    Args:
        reasons: {row in the batch, from 0: reasons}.
        duplicates: {row in the table, from 1: id}.
        rows: the rows of the batch in the table, from 0.
    """
    if not duplicates:
        return
    for number in rows:
        value = duplicates.get(number + 1)
        if value is None:
            continue
        row = number - rows.start
        duplicate = f"{contract.id}: duplicate id {value!r}"
        reasons[row] = f"{reasons[row]}; {duplicate}" if row in reasons else duplicate


def _as_text(values: pd.Series, kind: str) -> pd.Series:
    """Values as a reason names them."""
    is_known = values.notna()
    if kind == "flag":
        values = values.astype("boolean")
    return values.astype(str).where(is_known, "null")
