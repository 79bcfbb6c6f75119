"""Read tables of customers in batches: Parquet or CSV, from a path or any fsspec URL."""

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.data.checks import Violations, column_violations
from churn.data.contract import Contract
from churn.data.csv_table import NULLS, batches, header, opened
from churn.errors import UserError

BATCH_ROWS = 65_536


def file_md5(url: str) -> str:
    """The md5 of a file's bytes, wherever it is."""
    with opened(url) as file:
        return hashlib.file_digest(file, "md5").hexdigest()


class CustomerTable:
    """Some columns of a Parquet file, or of a CSV in UTF-8, compressed or not.

    A file with .csv in its name is a CSV: each of its cells is a text, or null (csv_table.NULLS),
    until it is converted (rejection.py). Other columns than the wanted ones are passed over.
    """

    def __init__(self, url: str, contract: Contract, wanted: list[str]) -> None:
        """Look at the columns of a table.

        Args:
            wanted: the columns to read; the period is left out where the table does not have it.

        Raises:
            UserError: the file cannot be read, is empty, or lacks wanted columns or has them in
                another type, all in one message.
        """
        self.url, self.contract = url, contract
        self.is_csv = ".csv" in url.rsplit("/", 1)[-1].lower()
        self.broken: dict[int, str] = {}  # lines of a CSV that are no row: {row number: reason}
        self.rows: int | None = None  # of a CSV nobody knows beforehand

        if self.is_csv:
            schema = pa.schema((name, pa.string()) for name in header(url))
        else:
            with opened(url) as file, pq.ParquetFile(file) as table:
                schema, self.rows = table.schema_arrow, table.metadata.num_rows
        is_there = [name for name in wanted if name != contract.time or name in schema.names]
        self.wanted = is_there
        self._check_columns(schema)
        if self.is_csv:
            self.schema = pa.schema((name, pa.string()) for name in self.wanted)
        else:
            self.schema = pa.schema(schema.field(name) for name in self.wanted)
        if self._is_empty():
            raise UserError(f"{url} is empty: it has no rows")

    @property
    def key(self) -> list[str]:
        """The columns that identify a row, of those that the table has: id and period."""
        return [name for name in self.contract.key if name in self.wanted]

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in order.

        Lines of a CSV that are no row come into `broken`, before the batch around them.
        """
        columns = columns or self.wanted
        return self._csv_batches(columns) if self.is_csv else self._parquet_batches(columns)

    def _check_columns(self, schema: pa.Schema) -> None:
        faults = Violations()
        for (name, rule), violation in column_violations(self.contract, schema).by_rule.items():
            is_type = rule.startswith("must be")  # of a CSV, the cells decide later
            if name in self.wanted and not (self.is_csv and is_type):
                faults.by_rule[name, rule] = violation
        if faults:
            raise UserError(f"{self.url} does not fit the model's contract:\n{faults}")

    def _is_empty(self) -> bool:
        if not self.is_csv:
            return self.rows == 0
        has_rows = any(len(batch) for batch in self.batches())
        return not has_rows and not self.broken

    def _parquet_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        with opened(self.url) as file:
            # A pre-buffered file would stay in memory until it is closed.
            table = pq.ParquetFile(file, pre_buffer=False)
            for batch in table.iter_batches(BATCH_ROWS, columns=columns):
                yield batch.select(columns)  # asked for a column `a`, pyarrow also reads `a.b`

    def _csv_batches(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        self.broken = {}
        # A token such as NA is a value, not a null, in a column whose contract lists it.
        listed: dict[str, set[str]] = {}
        for name in columns:
            listed[name] = set(NULLS).intersection(self.contract.columns[name].allowed)
        values: set[str] = set().union(*listed.values())
        nulls = tuple(token for token in NULLS if token not in values)

        for batch in batches(self.url, columns, nulls, self._set_aside):
            if values:
                batch = _without_tokens(batch, {name: values - listed[name] for name in columns})
            yield batch

    def _set_aside(self, line: Any) -> str:
        """Called by pyarrow with a line (InvalidRow) that has not as many cells as the header."""
        cells = f"the line has {line.actual_columns} cells, the header {line.expected_columns}"
        self.broken[line.number - 1] = f"{cells}: {line.text}"
        return "skip"


def _without_tokens(batch: pa.RecordBatch, tokens: dict[str, set[str]]) -> pa.RecordBatch:
    """Make null the cells that are one of these tokens, by column."""
    null = pa.scalar(None, pa.string())
    for position, name in enumerate(batch.schema.names):
        is_token = pc.is_in(batch[name], pa.array(sorted(tokens[name]), pa.string()))
        batch = batch.set_column(position, name, pc.if_else(is_token, null, batch[name]))
    return batch


def row_numbers(table: CustomerTable, start: int, count: int) -> np.ndarray:
    """The numbers (from 1) of the next `count` rows after row `start`, past the broken lines."""
    candidates = np.arange(start + 1, start + 1 + count + len(table.broken))
    is_row = ~np.isin(candidates, list(table.broken))
    return candidates[is_row][:count]
