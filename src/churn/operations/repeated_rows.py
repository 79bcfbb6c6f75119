"""Rows of a scored table with the id of an earlier row, or with its id and period."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd
import pyarrow as pa

from churn.data.arrow import arrow_schema
from churn.data.checks import duplicate_ids
from churn.data.contract import Contract
from churn.data.customer_table import CustomerTable
from churn.data.rejection import to_contract_types
from churn.data.row_keys import row_keys
from churn.errors import UserError, amount


def find_repeated_rows(table: CustomerTable) -> dict[int, object]:
    """The rows with the key of an earlier one: {row, from 1, among those that are read: key}."""
    return duplicate_ids(lambda: _read_keys(table, table.key))


def check_one_row_per_customer(table: CustomerTable, repeated: dict[int, object]) -> None:
    """Refuse a table with several periods of a customer, for a campaign that chooses customers.

    Args:
        repeated: of `find_repeated_rows`; these are rejected anyway.

    Raises:
        UserError: it has some.
    """
    if len(table.key) == 1:
        return
    by_customer = duplicate_ids(lambda: _read_keys(table, table.key[:1]))
    more = {row: id_ for row, id_ in by_customer.items() if row not in repeated}
    if more:
        row, id_ = next(iter(more.items()))
        raise UserError(
            f"{table.url}: {amount(len(more), 'row')} repeat the {table.key[0]} of an earlier one "
            f"with another {table.key[1]}, such as {id_!r} in row {row:,}; --budget, --holdout and "
            "--campaign choose customers: give them a table with one period, such as the latest"
        )


def add_repeated_rows(
    reasons: dict[int, str], repeated: dict[int, object], table: CustomerTable, rows: range
) -> None:
    """Add the reason of each row of a batch whose key an earlier row has.

    Args:
        reasons: {row in the batch, from 0: reasons}.
        repeated: of `find_repeated_rows`.
        rows: the rows of the batch in the table, from 0.
    """
    if not repeated:
        return
    contract = table.contract
    what = f"duplicate {' and '.join(['id', *table.key[1:]])}"
    way_out = ""
    if contract.time is not None and contract.time not in table.key:
        way_out = f" (the table has no column {contract.time}, which would tell periods apart)"
    for number in rows:
        key = repeated.get(number + 1)
        if key is None:
            continue
        row = number - rows.start
        duplicate = f"{contract.id}: {what} {key!r}{way_out}"
        reasons[row] = f"{reasons[row]}; {duplicate}" if row in reasons else duplicate


def _read_keys(table: CustomerTable, key: list[str]) -> Iterator[list[object]]:
    """The keys of the rows, one list per batch; a key that is not readable is None."""
    for batch in table.batches(key):
        rows, _ = to_contract_types(batch, table.contract)
        yield keys_of_rows(rows, key, table.contract)


def keys_of_rows(rows: pd.DataFrame, key: list[str], contract: Contract) -> list[object]:
    """What identifies each row: its id, or its id and its period.

    Args:
        rows: in the types of the contract.
        key: the columns of the key.
    """
    ids = rows[key[0]].tolist()
    if len(key) == 1:
        return ids
    period_type = arrow_schema(contract).field(key[1]).type
    return row_keys(ids, pa.array(rows[key[1]], period_type, from_pandas=True))
