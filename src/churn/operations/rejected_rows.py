"""Write the rows that are not scored, with their numbers and the reasons."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from churn.data.contract import free_name
from churn.data.customer_table import CustomerTable, row_numbers


def rejected_schema(table: CustomerTable) -> pa.Schema:
    """The columns of a rejected row: as they were read, then its number and the reasons."""
    names = table.schema.names
    number = (free_name("row", names), pa.int64())
    reason = (free_name("reason", names), pa.string())
    return pa.schema([*table.schema, number, reason])


@dataclass
class RejectedRows:
    """Writes the rows that are set aside, as they were read, with their number and reasons."""

    table: CustomerTable
    writer: pq.ParquetWriter
    count: int = field(default=0, init=False)
    parsed: int = field(default=0, init=False)  # rows that came out of the file so far
    last: int = field(default=0, init=False)  # the number of the last of them; counts all lines

    def write(self, batch: pa.RecordBatch, reasons: dict[int, str]) -> None:
        """Write the rejected rows of the next batch, and the broken lines up to its end."""
        numbers = row_numbers(self.table, self.last, len(batch))
        number_name, reason_name = self.writer.schema.names[-2:]
        rows = []
        for row, reason in reasons.items():
            cells = batch.slice(row, 1).to_pylist()[0]
            rows.append({**cells, number_name: numbers[row], reason_name: reason})
        self._write(rows + self._broken_lines(self.last, numbers[-1]))
        self.parsed += len(batch)
        self.last = numbers[-1]

    def write_last_broken_lines(self) -> None:
        """Write the lines that are no row after the last batch."""
        self._write(self._broken_lines(self.last, None))

    def _broken_lines(self, after: int, until: int | None) -> list[dict[str, object]]:
        number_name, reason_name = self.writer.schema.names[-2:]
        rows: list[dict[str, object]] = []
        for number, reason in self.table.broken.items():
            if number > after and (until is None or number <= until):
                rows.append({number_name: number, reason_name: reason})
        return rows

    def _write(self, rows: list[dict[str, object]]) -> None:
        number_name = self.writer.schema.names[-2]
        rows = sorted(rows, key=lambda row: row[number_name])  # type: ignore[arg-type,return-value]
        self.writer.write_table(pa.Table.from_pylist(rows, self.writer.schema))
        self.count += len(rows)
