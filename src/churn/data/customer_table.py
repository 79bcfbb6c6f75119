"""Customer tables read and written a record batch at a time: Parquet or CSV, a local path or any
fsspec URL.

What is read is judged row by row against the contract: a row that breaks it is set aside with its
reasons, and the others go on.
"""

import hashlib
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.data.checks import Violations, column_violations
from churn.data.contract import Contract
from churn.data.csv_table import NULLS, batches, header, opened
from churn.errors import UserError

BATCH_ROWS = 65_536  # of a batch


def file_md5(url: str) -> str:
    """The md5 of a file's bytes, wherever it lies."""
    with opened(url) as file:
        return hashlib.file_digest(file, "md5").hexdigest()


class CustomerTable:
    """Some columns of a Parquet file, or of a CSV (a name with .csv in it, compressed or not, in
    UTF-8): `schema`.

    Columns that are not wanted are passed over. Of a CSV every cell is a text until it is judged,
    or null (csv_table.NULLS).

    Raises:
        UserError: the file cannot be read, is empty, or lacks a column or has one of another type,
            all in one message.
    """

    def __init__(self, url: str, rules: Contract, wanted: list[str]):
        self.url, self.rules, self.wanted = url, rules, wanted
        self.is_csv = ".csv" in url.rsplit("/", 1)[-1].lower()
        self.broken: dict[int, str] = {}  # row number: why no row can be made of that line of a CSV
        self.rows = None  # known beforehand of a Parquet file only
        if self.is_csv:
            schema = pa.schema((name, pa.string()) for name in header(url))
        else:
            with opened(url) as file, pq.ParquetFile(file) as table:
                schema, self.rows = table.schema_arrow, table.metadata.num_rows
        found = column_violations(rules, schema).found
        faults = Violations(
            {
                (name, rule): entry
                for (name, rule), entry in found.items()
                if name in wanted and not (self.is_csv and rule.startswith("must be"))
            }
        )
        if faults.found:
            raise UserError(f"{url} does not fit the model's contract:\n{faults}")
        self.schema = pa.schema(
            pa.field(name, pa.string()) if self.is_csv else schema.field(name) for name in wanted
        )
        empty = (
            not (any(len(part) for part in self.batches()) or self.broken)
            if self.is_csv
            else self.rows == 0
        )
        if empty:
            raise UserError(f"{url} is empty: it has no rows")

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Its rows in order. Lines of a CSV that are no row come into `broken`, before the batch
        around them.
        """
        columns = columns or self.wanted
        if not self.is_csv:
            with opened(self.url) as file:
                # A pre-buffered file would stay in memory until it is closed.
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(
                    BATCH_ROWS, columns=columns
                ):
                    yield batch.select(
                        columns
                    )  # of columns a and a.b, pyarrow reads both when asked for a
            return
        self.broken = {}
        allowed = {
            name: set(self.rules.columns[name].allowed).intersection(NULLS) for name in columns
        }
        kept = set().union(*allowed.values())  # what the contract lists is a value, also NA
        nulls = tuple(token for token in NULLS if token not in kept)
        for batch in batches(self.url, columns, nulls, self._set_aside):
            for place, name in enumerate(columns if kept else ()):
                null = pc.is_in(batch[name], pa.array(sorted(kept - allowed[name]), pa.string()))
                batch = batch.set_column(
                    place, name, pc.if_else(null, pa.scalar(None, pa.string()), batch[name])
                )
            yield batch

    def _set_aside(self, line) -> str:
        cells = f"the line has {line.actual_columns} cells, the header {line.expected_columns}"
        self.broken[line.number - 1] = f"{cells}: {line.text}"
        return "skip"


def row_numbers(table: CustomerTable, start: int, count: int) -> np.ndarray:
    """The row numbers (from 1) of the next `count` rows after row `start`, past the broken lines."""
    ahead = np.arange(start + 1, start + 1 + count + len(table.broken))
    return ahead[~np.isin(ahead, list(table.broken))][:count]
