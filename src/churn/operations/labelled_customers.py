"""Bring together the scores of customers and their labels, once these are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from churn.data.contract import CAMPAIGN_COLUMNS, SCORE_COLUMNS, Contract
from churn.data.customer_table import CustomerTable
from churn.data.rejection import to_contract_types
from churn.errors import UserError, amount, short
from churn.modeling.bootstrap import Resampling, bootstrap_intervals
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import point_metrics
from churn.operations.repeated_rows import keys_of_rows
from churn.params import Costs, Params

PROBABILITY = SCORE_COLUMNS[0]
ACTION = CAMPAIGN_COLUMNS[1]


@dataclass(frozen=True)
class LabelledCustomers:
    """The scored customers whose labels are known; each array has the shape (rows,)."""

    labels: np.ndarray  # 1.0 for a customer who churned, else 0.0
    probabilities: np.ndarray  # of churn
    actions: np.ndarray  # what was done with them; empty texts, if the scores do not say


def labelled_customers(
    table: CustomerTable, contract: Contract, scores: pd.DataFrame, params: Params
) -> LabelledCustomers:
    """Bring together labels and scores: by id and period where both have the period, else by id.

    Args:
        table: ids, labels and, if it has them, periods.
        scores: ids, churn probabilities and, if the scores have them, periods and actions.

    Raises:
        UserError: a label is unknown where `data.unlabelled` refuses that, a row comes twice, none
            was scored, or there are not both kinds of customers among those who were scored.
    """
    key = [name for name in contract.key if name in table.wanted and name in scores]
    known = _known_labels(_read_labels(table, contract), table.url, contract, params)
    keys = pd.Index(keys_of_rows(known, key, contract), tupleize_cols=False)
    scored_keys = pd.Index(keys_of_rows(scores, key, contract), tupleize_cols=False)
    _check_unique(keys, key, f"{table.url}", contract)
    _check_unique(scored_keys, key, f"{table.url} has no {contract.time}, and the scores", contract)

    positions = scored_keys.get_indexer(keys)
    is_scored = positions >= 0
    if not is_scored.any():
        raise UserError(
            f"none of the {amount(len(known), 'row')} of {table.url} with a label was scored: it "
            f"has {_examples(keys)}, the scores have {_examples(scored_keys)}"
        )
    matches = scores.iloc[positions[is_scored]]
    labels = encode_labels(known[is_scored], contract)
    if not 0 < labels.sum() < len(labels):
        raise UserError(
            f"{table.url} labels {amount(len(labels), 'scored customer')}, {labels.sum():.0f} of "
            "them churned; the metrics need some of each kind"
        )
    actions = np.full(len(labels), "")
    if ACTION in matches:
        actions = matches[ACTION].to_numpy(dtype=str)
    return LabelledCustomers(labels, matches[PROBABILITY].to_numpy(), actions)


def labelled_metrics(
    customers: LabelledCustomers, threshold: float, costs: Costs, resampling: Resampling
) -> dict[str, float]:
    """The metrics of `evaluate`, with intervals, for scored customers with known labels."""
    labels, probabilities = customers.labels, customers.probabilities
    metrics = point_metrics(labels, probabilities, threshold, costs)
    return metrics | bootstrap_intervals(labels, probabilities, resampling)


def _check_unique(keys: pd.Index, key: list[str], where: str, contract: Contract) -> None:
    is_repeated = keys.duplicated()
    if not is_repeated.any():
        return
    example = keys[is_repeated][0]
    way_out = ""
    if contract.time is not None and len(key) == 1:
        way_out = f"; with a column {contract.time} in the labels and the scores, each row is told"
        way_out += " apart"
    count = amount(int(is_repeated.sum()), "row")
    raise UserError(
        f"{where}: {count} with the {' and '.join(key)} of an earlier row, such as "
        f"{short(example)}{way_out}"
    )


def _examples(keys: pd.Index) -> str:
    """The first keys, as a message shows them."""
    shown = ", ".join(short(key) for key in keys[:3].tolist())
    return f"{shown}, ..." if len(keys) > 3 else shown


def _read_labels(table: CustomerTable, contract: Contract) -> pd.DataFrame:
    """The rows with an id and a label."""
    batches = []
    for batch in table.batches():
        rows, faults = to_contract_types(batch, contract)
        for (_, column), reason in faults.items():
            raise UserError(f"{table.url}: {column}: {reason}")
        batches.append(rows)
    for row, reason in table.broken.items():
        raise UserError(f"{table.url}, row {row}: {reason}")
    return pd.concat(batches).dropna()


def _known_labels(rows: pd.DataFrame, url: str, contract: Contract, params: Params) -> pd.DataFrame:
    """Leave out, or refuse, customers with a label that the contract does not list."""
    is_unknown = ~rows[contract.target].isin(contract.labels)
    if not is_unknown.any():
        return rows
    example = short(rows.loc[is_unknown, contract.target].tolist()[0])
    known = ", ".join(map(short, contract.labels))
    text = f"{url}: {contract.target} is {example}, not one of {known}"
    if params.data.unlabelled == "refuse":
        raise UserError(
            f"{text}; `unlabelled: drop` under `data:` in params.yaml leaves such customers out"
        )
    left_out = amount(int(is_unknown.sum()), "such customer")
    print(f"{text}: {left_out} left out of the metrics")
    return rows[~is_unknown]
