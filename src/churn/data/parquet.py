"""Open and read Parquet files in batches, with clear errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from churn.errors import UserError


def open_table(path: Path):
    """Open a Parquet file as pyarrow's ParquetFile, or say why that cannot be done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise UserError(f"{path} is missing; `dvc pull {path}.dvc` fetches it")
    try:
        table = pq.ParquetFile(
            path, pre_buffer=False
        )  # a pre-buffered file stays in memory until it is closed
    except (pa.ArrowException, OSError):
        raise UserError(
            f"{path} is not a Parquet file; write it with pandas' `to_parquet`"
        ) from None
    if table.metadata.num_rows == 0:
        raise UserError(f"{path} is empty: it has columns but no rows")
    return table


BATCH_ROWS = 65_536


@contextmanager
def explain_parquet_errors() -> Iterator[None]:
    """What pyarrow says of a file that it cannot read, as the user's to mend."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        way_out = "fetch it or write it again"
        raise UserError(f"the Parquet file is damaged ({error}); {way_out}") from None


def read_batches(table: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of some columns, a record batch at a time."""
    with explain_parquet_errors():
        yield from table.iter_batches(BATCH_ROWS, columns=columns)
