"""Open and read Parquet files in batches, with clear errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from churn.errors import UserError

BATCH_ROWS = 65_536


def open_table(path: Path) -> pq.ParquetFile:
    """Open a Parquet file.

    Raises:
        UserError: it is missing, empty or no Parquet file.
    """
    if not path.exists():
        raise UserError(f"{path} is missing; `dvc pull {path}.dvc` fetches it")
    try:
        # A pre-buffered file would stay in memory until it is closed.
        table = pq.ParquetFile(path, pre_buffer=False)
    except (pa.ArrowException, OSError):
        raise UserError(
            f"{path} is not a Parquet file; write it with pandas' `to_parquet`"
        ) from None
    if table.metadata.num_rows == 0:
        raise UserError(f"{path} is empty: it has columns but no rows")
    return table


def read_batches(table: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of some columns, one record batch after another."""
    with explain_parquet_errors():
        yield from table.iter_batches(BATCH_ROWS, columns=columns)


@contextmanager
def explain_parquet_errors() -> Iterator[None]:
    """Turn pyarrow's errors on a file that it cannot read into a UserError."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            f"the Parquet file is damaged ({error}); fetch it or write it again"
        ) from None
