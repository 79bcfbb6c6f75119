"""Read the log of a server's requests (request_log.py) as a scored batch."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from churn.data import csv_table
from churn.data.arrow import arrow_schema
from churn.data.contract import Contract
from churn.data.rejection import parse_whole_number
from churn.errors import UserError
from churn.operations.monitoring import PROBABILITY

VERSION_KEYS = ("model", "model_version", "model_md5")
BATCH_ROWS = 65_536


@dataclass(frozen=True)
class LoggedRequests:
    """What a log says of one version, the one that answered last."""

    path: str
    lineage: dict[str, str]  # VERSION_KEYS, and where the log is
    summary: str  # how many customers were scored when, in words


def find_version(path: str) -> LoggedRequests:
    """The version that answered last, and what the log has of it.

    Raises:
        UserError: the log cannot be read, or has nothing.
    """
    counts: Counter[tuple[str, ...]] = Counter()
    times: dict[tuple[str, ...], tuple[str, str]] = {}  # the first and the last
    broken = 0
    latest: tuple[str, ...] = ()
    for line in _lines(path):
        if line is None:
            broken += 1
            continue
        version = tuple(line[key] for key in VERSION_KEYS)
        first, last = times.get(version, (line["time"], line["time"]))
        times[version] = min(first, line["time"]), max(last, line["time"])
        counts[version] += 1
        if not latest or times[version][1] > times[latest][1]:
            latest = version
    if not latest:
        raise UserError(
            f"{path} has no scored customer; `python src/serve.py --log {path}` writes them"
        )

    name, number, _ = latest
    first, last = times[latest]
    summary = f"{counts[latest]:,} customers scored by {name} version {number}, {first} to {last}"
    others = counts.total() - counts[latest]
    if others:
        summary += f"; {others:,} by earlier versions are left out"
    if broken:
        summary += f"; {broken:,} lines that were cut off are left out"
    lineage = dict(zip(VERSION_KEYS, latest, strict=True))
    return LoggedRequests(path, {**lineage, "requests": path}, summary)


def read_scores(requests: LoggedRequests, contract: Contract) -> pd.DataFrame:
    """Ids (null where a caller sent none) and churn probabilities, in the order of the answers."""
    ids: list[object] = []
    probabilities: list[float] = []
    for line in _lines_of_version(requests):
        ids.append(line["id"])
        probabilities.append(line[PROBABILITY])
    wanted = arrow_schema(contract).field(contract.id).type
    table = {contract.id: _to_type(ids, wanted), PROBABILITY: pa.array(probabilities, pa.float64())}
    frame: pd.DataFrame = pa.table(table).to_pandas(integer_object_nulls=True)
    return frame


def write_customers(requests: LoggedRequests, contract: Contract, path: Path) -> int:
    """Write the features of the customers as a table, where the log has them.

    Returns:
        The number of rows.
    """
    names = [column.name for column in contract.features]
    schema = pa.schema([arrow_schema(contract).field(name) for name in names])
    rows, pending = 0, []
    with pq.ParquetWriter(path, schema) as writer:
        for line in _lines_of_version(requests):
            if "inputs" not in line:
                continue
            rows += 1
            pending.append(line["inputs"])
            if len(pending) == BATCH_ROWS:
                writer.write_table(_to_table(pending, schema))
                pending = []
        if pending:
            writer.write_table(_to_table(pending, schema))
    return rows


def _to_table(inputs: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    columns = []
    for field in schema:
        columns.append(_to_type([row.get(field.name) for row in inputs], field.type))
    return pa.Table.from_arrays(columns, schema=schema)


def _to_type(values: list[object], wanted: pa.DataType) -> pa.Array:
    """Values as a caller wrote them ("12", true, 12.0) in the type of the contract.

    A value that has none there is null; the model refused such a feature, and ignores any id.
    """
    if pa.types.is_string(wanted):
        return pa.array([_text(value) for value in values], wanted)
    if pa.types.is_integer(wanted):
        return pa.array([_whole_number(value) for value in values], wanted)
    numbers = pd.to_numeric(pd.Series(values, dtype=object), errors="coerce")
    return pa.array(numbers, wanted, from_pandas=True)


def _text(value: object) -> str | None:
    """An id as a text. Beside a null, a caller's 7 has become 7.0."""
    if value is None or _is_inexact(value):
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)


def _whole_number(value: object) -> int | None:
    """An id as a number: 7, 7.0 or "7"."""
    if value is None or _is_inexact(value):
        return None
    return parse_whole_number(str(value))


def _is_inexact(value: object) -> bool:
    """Whether a number may stand for another one: a float beyond 2**53."""
    return isinstance(value, float) and abs(value) > 2**53


def _lines_of_version(requests: LoggedRequests) -> Iterator[dict[str, Any]]:
    for line in _lines(requests.path):
        if line and all(line[key] == requests.lineage[key] for key in VERSION_KEYS):
            yield line


def _lines(path: str) -> Iterator[dict[str, Any] | None]:
    """The lines of a log; None for one that was cut off.

    Raises:
        UserError: the file is no log.
    """
    with csv_table.opened(path) as file:
        for number, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
            except ValueError:
                yield None
                continue
            if not isinstance(line, dict) or not {*VERSION_KEYS, "time", "id"} <= line.keys():
                raise UserError(
                    f"{path} is no log of requests: line {number} has no {', '.join(VERSION_KEYS)}"
                )
            yield line
