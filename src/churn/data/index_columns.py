"""Recognise columns that hold row numbers rather than data of a customer."""

import re

import pyarrow as pa
import pyarrow.compute as pc

# Names that a data frame library made up when it wrote its row numbers.
UNNAMED = re.compile(r"\s*|Unnamed: \d+.*|\.\.\.\d+|__index_level_\d+__|__null_dask_index__")
ROW_NUMBERS = re.compile(r"index|level_\d+|row_?(names?|num(ber)?|id|nr|index)?", re.IGNORECASE)
FEW_ROWS = 20  # in fewer rows, numbers may count up by chance

NAMELESS = (
    "a column without a name of its own, as row numbers have; write the table without them "
    "(pandas: index=False), or name the column if it is data"
)
PANDAS_INDEX = (
    "pandas wrote it as the index of the rows; if it is data, `reset_index()` before you write the "
    "table, else write it with index=False"
)
ROW_NUMBER = (
    "it holds the number of the row, which says nothing of a customer; drop it from the table"
)


def index_columns(schema: pa.Schema) -> dict[str, str]:
    """The columns that are an index by their name, or by what pandas notes in a Parquet file.

    Returns:
        {column: what it is, and what to do}.
    """
    metadata = schema.pandas_metadata or {}
    written_by_pandas = metadata.get("index_columns", ())
    columns = {}
    for name in schema.names:
        if UNNAMED.fullmatch(name):
            columns[name] = NAMELESS
        elif name in written_by_pandas:
            columns[name] = PANDAS_INDEX
    return columns


def row_number_reason(name: str, values: pa.ChunkedArray) -> str:
    """Why a column is the number of the row, and what to do; "" if it is data.

    A column of whole numbers without nulls is one if its numbers are 0, 1, 2, ... or 1, 2, 3, ...
    in any order, or if it has a name such as `index` and no number comes twice.
    """
    if not pa.types.is_integer(values.type) or values.null_count or len(values) < FEW_ROWS:
        return ""
    if len(pc.unique(values)) < len(values):
        return ""
    limits = pc.min_max(values).as_py()
    counts_up = limits["min"] in (0, 1) and limits["max"] - limits["min"] == len(values) - 1
    if counts_up or ROW_NUMBERS.fullmatch(name):
        return ROW_NUMBER
    return ""
