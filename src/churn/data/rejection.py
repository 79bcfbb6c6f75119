"""Convert customer rows to the contract's types, and say why a row is rejected.

For scoring and monitoring, where rows that break the contract are set aside with their reasons and
the others go on.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from churn.data.arrow import (
    arrow_schema,
    convert_column,
    kind_of,
    unconvertible_rows,
    usual_texts,
)
from churn.data.checks import NULL_NOT_ALLOWED, failed_cells
from churn.data.contract import Contract
from churn.data.periods import as_texts, no_period_reason
from churn.errors import short

FLAGS = {"true": True, "false": False, "1": True, "0": False}

Faults = dict[tuple[int, str], str]  # {(row, from 0; column): reason}


def to_contract_types(batch: pa.RecordBatch, contract: Contract) -> tuple[pd.DataFrame, Faults]:
    """Convert a batch to the contract's types.

    Returns:
        The rows, and the cells that could not be converted; in the rows these are null.
    """
    schema = arrow_schema(contract)
    faults: Faults = {}
    columns = {}
    for name in batch.schema.names:
        values, target = batch[name], schema.field(name).type
        is_text = kind_of(values.type) == "text" and not pa.types.is_string(target)
        is_time = pa.types.is_timestamp(target)
        if not is_text or is_time:
            try:
                columns[name] = convert_column(values, target)
                continue
            except pa.ArrowInvalid:
                pass  # a date, or an id that is no 64-bit number: its text will show which one

        is_flag = contract.columns[name].kind == "flag"
        if is_time:
            parsed, unreadable = _parse_dates(values, target)
        else:
            parsed, unreadable = _parse_texts(values, target, is_flag)
        columns[name] = parsed
        for row, reason in unreadable.items():
            faults[row, name] = reason

    rows = pa.table(columns).to_pandas()
    for name in contract.key:
        if name in columns and pa.types.is_integer(schema.field(name).type):
            # Beside a null, pandas would make floats of the ids: above 2**53 these are other ids.
            ids = pa.table({name: columns[name]})
            rows[name] = ids.to_pandas(integer_object_nulls=True)[name]
    return rows, faults


def rejection_reasons(rows: pd.DataFrame, schema: Any, faults: Faults) -> dict[int, str]:
    """Say why rows break the contract.

    Args:
        rows: of `to_contract_types`.
        schema: of checks.pandera_schema, of the same columns.
        faults: of `to_contract_types`.

    Returns:
        {row, from 0: its reasons}.
    """
    reasons: dict[int, list[str]] = {}
    for (row, column), reason in faults.items():
        reasons.setdefault(row, []).append(f"{column}: {reason}")
    for cell in failed_cells(schema, rows).itertuples(index=False):
        if (cell.row, cell.column) in faults:
            continue  # it is null only because it could not be converted
        reason = cell.rule
        if cell.rule != NULL_NOT_ALLOWED:
            reason = f"{short(cell.value)} breaks {cell.rule}"
        reasons.setdefault(int(cell.row), []).append(f"{cell.column}: {reason}")
    return {row: "; ".join(reasons[row]) for row in sorted(reasons)}


def _parse_dates(values: pa.Array, target: pa.DataType) -> tuple[pa.Array, dict[int, str]]:
    """As `_parse_texts`, of dates or their texts."""
    unreadable = {}
    for row in unconvertible_rows(values, target):
        value = values[row : row + 1]
        unreadable[row] = f"{short(as_texts(value)[0])} is {no_period_reason(value)}"
    values = usual_texts(values)
    is_unreadable = pa.array(np.isin(np.arange(len(values)), list(unreadable)))
    readable = pc.if_else(is_unreadable, pa.scalar(None, values.type), values)
    return convert_column(readable, target), unreadable


def _parse_texts(
    values: pa.Array, target: pa.DataType, is_flag: bool
) -> tuple[pa.Array, dict[int, str]]:
    """Read texts as values of a type.

    Returns:
        The values, null where a text cannot be read; and {row: reason} of those.
    """
    parse: Callable[[str], bool | int | float | None] = _parse_number
    wanted = "a number"
    if is_flag:
        parse, wanted = _parse_flag, "true or false"
    elif pa.types.is_integer(target):  # an id
        parse, wanted = parse_whole_number, "a whole number"

    parsed: list[bool | int | float | None] = []
    unreadable = {}
    for row, value in enumerate(values.to_pylist()):
        if value is None:
            parsed.append(None)
            continue
        result = parse(str(value))
        parsed.append(result)
        if result is None:
            unreadable[row] = f"{short(str(value))} is not {wanted}"
    if is_flag:
        return pa.array(parsed, pa.bool_()).cast(target), unreadable
    return pa.array(parsed, target), unreadable


def _parse_flag(text: str) -> bool | None:
    return FLAGS.get(text.strip().lower())


def _parse_number(text: str) -> float | None:
    if "_" in text:  # 1_000 is a number to Python only
        return None
    try:
        return float(text)
    except ValueError:
        return None


def parse_whole_number(text: str) -> int | None:
    """Read an id as a 64-bit number; also 7.0, as pandas writes it where the column has a null."""
    digits, _, fraction = text.strip().partition(".")
    if not re.fullmatch(r"[+-]?[0-9]{1,40}", digits) or fraction.strip("0"):
        return None
    number = int(digits)
    return number if -(2**63) <= number < 2**63 else None
