"""What identifies a row: the id, or the id and the period of the row (data.time).

Every row of a table must have a key of its own. A table with several rows per customer and no
data.time is told which column may be the period.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from churn.data.arrow import can_convert, convert_column, is_whole, kind_of
from churn.data.checks import Violations, duplicate_ids
from churn.data.parquet import read_batches

MIDNIGHT = "T00:00:00.000000000"
YEAR, MONTH, DAY = r"(19|20)\d\d", r"(0[1-9]|1[0-2])", r"(0[1-9]|[12]\d|3[01])"
# What a period looks like as a text, or as the text of a whole number: 2026, 202611, 2026-11-30.
PERIOD = re.compile(
    rf"{YEAR}([-/. ]?({MONTH}([-/. ]?{DAY}\b.*)?|[QWqw]\d\d?))?|\d\d?[-/.].*{YEAR}.*"
)


class RowKey(NamedTuple):
    """The id and the period of a row."""

    id: object
    period: str

    def __repr__(self) -> str:
        """As a message names the row: 'K00001' 2026-11-30."""
        return f"{self.id!r} {self.period}"


def period_texts(periods: pa.Array) -> list[str | None]:
    """Periods as texts, one for each different period: "2026-11-30", "202611"; a null is None.

    Args:
        periods: whole numbers or timestamps in nanoseconds.
    """
    if not pa.types.is_timestamp(periods.type):
        return periods.cast(pa.string()).to_pylist()
    if not len(periods):  # which NumPy's `replace` does not take
        return []
    times = np.datetime_as_string(np.asarray(periods))
    days = np.char.replace(times, MIDNIGHT, "")
    return pa.array(days, mask=days == "NaT").to_pylist()


def row_keys(ids: list[object], periods: pa.Array) -> list[object]:
    """The key of each row; None where the id or the period is null.

    Args:
        periods: as of `period_texts`.
    """
    keys: list[object] = []
    for id_, period in zip(ids, period_texts(periods), strict=True):
        if id_ is None or id_ != id_ or period is None:  # NaN
            keys.append(None)
        else:
            keys.append(RowKey(id_, period))
    return keys


def check_row_keys(
    table: pq.ParquetFile,
    key: list[str],
    time_type: pa.DataType | None,
    violations: Violations,
) -> None:
    """Add a violation if several rows have one key.

    Args:
        key: the columns with the id and, if there is one, with the period.
        time_type: of the period, as the splits have it.
    """
    duplicates = duplicate_ids(lambda: _read_keys(table, key, time_type))
    if not duplicates:
        return
    if len(key) > 1:
        rule = f"duplicate id and {key[1]}"
    else:
        rule = "duplicate id"
        periods = possible_periods(table, key[0])
        if periods:
            names = " or ".join(map(repr, periods))
            rule += (
                f"; if a customer has one row for each value of {names}, name that column as "
                "data.time in params.yaml (docs/time.md)"
            )
    violations.add(key[0], rule, duplicates, duplicates.values())


def possible_periods(table: pq.ParquetFile, id_column: str) -> list[str]:
    """The columns that look like periods, and of which no customer has a value twice."""
    names = []
    schema = table.schema_arrow  # made anew at each access
    count = Counter(schema.names)
    for field in schema:
        is_double = count[field.name] > 1
        if field.name == id_column or is_double or not _looks_like_periods(table, field):
            continue
        key = [id_column, field.name]
        if not duplicate_ids(lambda key=key: _read_keys(table, key, None)):  # type: ignore[misc]
            names.append(field.name)
    return names


def _looks_like_periods(table: pq.ParquetFile, field: pa.Field) -> bool:
    """Whether a column holds dates, or texts or whole numbers that are written like them."""
    kind = kind_of(field.type)
    if kind == "time" or pa.types.is_timestamp(field.type):
        return True
    if kind != "text" and not (kind == "number" and is_whole(field.type)):
        return False
    first = next(read_batches(table, [field.name]))[field.name]
    values = [str(value) for value in first.unique().to_pylist() if value is not None]
    return bool(values) and all(PERIOD.fullmatch(value.strip()) for value in values)


def _read_keys(
    table: pq.ParquetFile, key: list[str], time_type: pa.DataType | None
) -> Iterator[list[object]]:
    """The keys of a table's rows, one list per batch.

    A period may be written in several ways; with a type it is converted. Rows of a batch with a
    period that cannot be, which is a violation of its own, have no key.
    """
    for batch in read_batches(table, key):
        # By its name: when asked for a column `a`, pyarrow also reads `a.b`.
        ids = batch[key[0]].to_pylist()
        if len(key) == 1:
            yield ids
            continue
        periods = batch[key[1]]
        if time_type is None:
            keys: list[object] = []
            for id_, period in zip(ids, periods.to_pylist(), strict=True):
                row_key = None if id_ is None else (id_, period)
                keys.append(row_key)
            yield keys
        elif can_convert(periods, time_type):
            yield row_keys(ids, convert_column(periods, time_type))
        else:
            yield [None] * len(ids)
