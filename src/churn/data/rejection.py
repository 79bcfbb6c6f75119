"""Convert customer rows to the contract's types, and give the reasons for each row that is
rejected.
"""

import re

import pandas as pd
import pyarrow as pa

from churn.data.arrow import arrow_schema, convert_column, kind_of
from churn.data.checks import NULL_NOT_ALLOWED, failed_cells
from churn.data.contract import Contract
from churn.errors import short

FLAGS = {"true": True, "false": False, "1": True, "0": False}


def to_contract_types(
    batch: pa.RecordBatch, rules: Contract
) -> tuple[pd.DataFrame, dict[tuple[int, str], str]]:
    """A batch in the contract's types, and what could not be brought into them: {(row, column):
    reason}, that cell then being null. Rows count from 0.
    """
    schema, faults, columns = arrow_schema(rules), {}, {}
    for name in batch.schema.names:
        values, target = batch[name], schema.field(name).type
        try:
            is_text = kind_of(values.type) == "text" and not pa.types.is_string(target)
            values = values if is_text else convert_column(values, target)
        except pa.ArrowInvalid:  # an id that is no 64-bit number: which one, its text will show
            is_text = True
        if is_text:
            texts = [None if value is None else str(value) for value in values.to_pylist()]
            if rules.columns[name].kind == "flag":
                parse, kind = _flag, "true or false"
            elif pa.types.is_integer(target):  # an id
                parse, kind = _whole, "a whole number"
            else:
                parse, kind = _number, "a number"
            parsed = [None if text is None else parse(text) for text in texts]
            for row in (
                row for row, value in enumerate(parsed) if value is None and texts[row] is not None
            ):
                faults[row, name] = f"{short(texts[row])} is not {kind}"
            values = (
                pa.array(parsed, pa.bool_()).cast(target)
                if parse is _flag
                else pa.array(parsed, target)
            )
        columns[name] = values
    frame = pa.table(columns).to_pandas()
    if rules.id in columns and pa.types.is_integer(schema.field(rules.id).type):
        # Beside a null, pandas would make floats of the other ids: above 2**53, other ids.
        ids = pa.table({rules.id: columns[rules.id]})
        frame[rules.id] = ids.to_pandas(integer_object_nulls=True)[rules.id]
    return frame, faults


def _flag(text: str) -> bool | None:
    return FLAGS.get(text.strip().lower())


def _number(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None  # Python's 1_000 is nobody's number
    except ValueError:
        return None


def _whole(text: str) -> int | None:
    """An id as a 64-bit number, digit by digit; also 7.0, as pandas writes it where the column has
    a null.
    """
    digits, _, fraction = text.strip().partition(".")
    if not re.fullmatch(r"[+-]?[0-9]{1,40}", digits) or fraction.strip("0"):
        return None
    return int(digits) if -(2**63) <= int(digits) < 2**63 else None


def rejection_reasons(
    frame: pd.DataFrame, checks, faults: dict[tuple[int, str], str]
) -> dict[int, str]:
    """{row: reasons} of the rows that break the contract; rows count from 0.

    Args:
        frame, faults: what `typed` made.
        checks: contract.row_checks of the same columns.
    """
    reasons: dict[int, list[str]] = {}
    for (row, column), reason in faults.items():
        reasons.setdefault(row, []).append(f"{column}: {reason}")
    found = failed_cells(checks, frame)
    for row, column, rule, value in zip(
        found["row"], found["column"], found["rule"], found["value"], strict=True
    ):
        if (row, column) not in faults:
            what = rule if rule == NULL_NOT_ALLOWED else f"{short(value)} breaks {rule}"
            reasons.setdefault(int(row), []).append(f"{column}: {what}")
    return {row: "; ".join(reasons[row]) for row in sorted(reasons)}
