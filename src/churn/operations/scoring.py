"""Score a table of customers in batches, and set aside the rows that break the contract."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from churn.data.arrow import arrow_schema
from churn.data.checks import pandera_schema
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
from churn.operations.repeated_rows import (
    add_repeated_rows,
    check_one_row_per_customer,
    find_repeated_rows,
)
from churn.operations.score_actions import with_actions
from churn.operations.score_reasons import strongest_reasons
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
    key: list[str] = field(default_factory=list)  # what identifies a row: CustomerTable.key

    def output_schema(self) -> pa.Schema:
        """The columns of the scores: id, period where the table has it, scores, value, action, and
        with `explain` the reasons.
        """
        own = arrow_schema(self.contract)
        fields = {
            **{name: own.field(name).type for name in self.key},
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
        columns = {name: rows[name] for name in self.key} | dict(self.model.predict(None, rows))
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
    scorer = replace(scorer, key=table.key)
    counts = ScoreCounts()
    with (
        pq.ParquetWriter(files[0], scorer.output_schema()) as scores,
        pq.ParquetWriter(files[1], rejected_schema(table)) as rejected_rows,
    ):
        rejected = RejectedRows(table, rejected_rows)
        batches = _score_batches(table, scorer, rejected, show_progress)
        for scored in with_actions(batches, scorer.contract.id, scorer.campaign, files[0].parent):
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
    schema = pandera_schema(contract, without=contract.columns.keys() - set(table.wanted))
    duplicates = find_repeated_rows(table)
    if scorer.campaign != Campaign():
        check_one_row_per_customer(table, duplicates)
    for batch in table.batches():
        rows, faults = to_contract_types(batch, contract)
        reasons = rejection_reasons(rows, schema, faults)
        positions = range(rejected.parsed, rejected.parsed + len(rows))
        add_repeated_rows(reasons, duplicates, table, positions)
        rejected.write(batch, reasons)

        accepted = rows.drop(index=list(reasons))
        if len(accepted):
            yield scorer.score(accepted)
        show_progress(rejected.parsed)
    rejected.write_last_broken_lines()
