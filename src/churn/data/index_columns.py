"""Recognise columns that hold row numbers rather than data of a customer."""

import re

import pyarrow as pa
import pyarrow.compute as pc

# Columns that nobody named: a data frame library did, when it wrote its row numbers.
UNNAMED = re.compile(r"\s*|Unnamed: \d+.*|\.\.\.\d+|__index_level_\d+__|__null_dask_index__")
ROW_NUMBERS = re.compile(r"index|level_\d+|row_?(names?|num(ber)?|id|nr|index)?", re.IGNORECASE)
FEW_ROWS = 20  # below, whole numbers may be the row's by chance


def index_columns(schema: pa.Schema) -> dict[str, str]:
    """The columns of a table that are no data of the customers: what each is, and what to do.

    They are known by their names and by what pandas notes in a Parquet file. `row_number` looks at
    values.
    """
    found = {}
    noted = (schema.pandas_metadata or {}).get("index_columns", ())
    for name in schema.names:
        if UNNAMED.fullmatch(name):
            found[name] = (
                "a column without a name of its own, as row numbers have; write the table without "
                "them (pandas: index=False), or name the column if it is data"
            )
        elif name in noted:
            found[name] = (
                "pandas wrote it as the index of the rows; if it is data, `reset_index()` before "
                "you write the table, else write it with index=False"
            )
    return found


def why_row_number(name: str, values: pa.ChunkedArray) -> str:
    """Why a column without nulls is the number of the row, or "" where it is not: its whole numbers
    are 0, 1, 2, ... or 1, 2, 3, ..., in any order, or it is called `index` (or the like) and no
    number comes twice."""
    if not pa.types.is_integer(values.type) or values.null_count or len(values) < FEW_ROWS:
        return ""
    if len(pc.unique(values)) < len(values):
        return ""
    ends = pc.min_max(values).as_py()
    counts_up = ends["min"] in (0, 1) and ends["max"] - ends["min"] == len(values) - 1
    if not counts_up and not ROW_NUMBERS.fullmatch(name):
        return ""
    return (
        "it holds the number of the row, which says nothing of a customer; drop it from the table"
    )
