"""Give each scored customer an action, batch by batch.

Without a budget the threshold decides and nothing is kept. Under a budget the values of all
customers are needed first: the batches wait in a temporary file, and memory holds two numbers for
each customer at or above the threshold.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa

from churn.data.contract import CAMPAIGN_COLUMNS, SCORE_COLUMNS
from churn.operations.campaign import Campaign, actions, most_valuable, tie_breakers

DECISION = SCORE_COLUMNS[1]
EXPECTED_VALUE, ACTION = CAMPAIGN_COLUMNS


def with_actions(
    batches: Iterable[pa.Table], id_column: str, campaign: Campaign, folder: Path
) -> Iterator[pa.Table]:
    """The same batches of scores with the actions of a campaign, in the same order.

    Args:
        folder: where a temporary file may be; it needs as much space as the scores.
    """
    if campaign.budget is None:
        for scores in batches:
            yield _with_actions(scores, scores[DECISION].to_numpy(), id_column, campaign)
        return

    with tempfile.TemporaryFile(dir=folder) as file:
        selected = _select(_spool(batches, file), id_column, campaign)
        file.seek(0)
        start = 0
        for scores in _read_spooled(file):
            end = start + len(scores)
            yield _with_actions(scores, selected[start:end], id_column, campaign)
            start = end


def _with_actions(
    scores: pa.Table, selected: np.ndarray, id_column: str, campaign: Campaign
) -> pa.Table:
    """A batch with its actions.

    Args:
        selected: who is within the campaign, shape (rows,).
    """
    if campaign == Campaign():
        return scores  # the action of the threshold alone
    ids = scores[id_column].to_pylist()
    column = pa.array(actions(selected, ids, campaign), pa.string())
    position = scores.schema.get_field_index(ACTION)
    return scores.set_column(position, ACTION, column)


def _select(batches: Iterable[pa.Table], id_column: str, campaign: Campaign) -> np.ndarray:
    """Whether each customer is among the most valuable at or above the threshold; shape (rows,)."""
    decisions, values, ties = [np.empty(0, bool)], [np.empty(0)], [np.empty(0, np.uint64)]
    for scores in batches:
        decisions.append(scores[DECISION].to_numpy())
        candidates = scores.filter(scores[DECISION])
        values.append(candidates[EXPECTED_VALUE].to_numpy())
        ties.append(tie_breakers(candidates[id_column].to_pylist(), campaign))

    assert campaign.budget is not None
    is_candidate = np.concatenate(decisions)
    is_chosen = most_valuable(np.concatenate(values), np.concatenate(ties), campaign.budget)
    selected = np.zeros(len(is_candidate), dtype=bool)
    selected[is_candidate] = is_chosen
    return selected


def _spool(batches: Iterable[pa.Table], file: IO[bytes]) -> Iterator[pa.Table]:
    """The same batches; each is written to a file on the way, in Arrow's stream format."""
    writer = None
    for scores in batches:
        if writer is None:
            writer = pa.ipc.new_stream(file, scores.schema)
        writer.write_table(scores)
        yield scores
    if writer is not None:
        writer.close()


def _read_spooled(file: IO[bytes]) -> Iterator[pa.Table]:
    """The batches that `_spool` wrote; none, if every row was rejected."""
    if not file.read(1):
        return
    file.seek(0)
    for batch in pa.ipc.open_stream(file):
        yield pa.Table.from_batches([batch])
