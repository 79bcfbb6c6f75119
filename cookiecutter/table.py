"""Take in a table of customers: check the answers against it, and write data/raw.parquet and `data:` of params.yaml.

python table.py TABLE ID TARGET POSITIVE    (in the new project's environment, in its folder)
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from churn import contract
from churn.errors import UserError, run


def column(table: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    """One column, decoded if it is a dictionary."""
    values = table.read(columns=[name]).column(0)
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def label(values: pa.ChunkedArray, answer: str) -> str | int | bool:
    """The value of the target that an answer means: Yes, 1 or true.

    Raises:
        UserError: no customer has it, or every customer has.
    """
    labels = pc.unique(values.drop_null()).to_pylist()
    listed = ", ".join(json.dumps(value, default=str, ensure_ascii=False) for value in labels[:5])
    meant = [x for x in labels if (json.dumps(x) if isinstance(x, bool) else str(x)) == answer]
    if not meant or len(labels) < 2:
        raise UserError(f"positive: {answer!r} must be one of at least two values of the target, which has: {listed}")
    return meant[0]


def main() -> None:
    source, id, target, positive = sys.argv[1:]
    raw = Path("data/raw.parquet")
    raw.parent.mkdir(exist_ok=True)
    with open(source, "rb") as file:
        parquet = file.read(4) == b"PAR1"
    if parquet:
        shutil.copyfile(source, raw)
    else:
        options = pyarrow.csv.ConvertOptions(strings_can_be_null=True)
        try:
            pq.write_table(pyarrow.csv.read_csv(source, convert_options=options), raw, compression="zstd")
        except pa.ArrowInvalid as error:
            raise UserError(f"data: {source} cannot be read as CSV: {error}") from None
    table = contract.open_table(raw)
    names = table.schema_arrow.names
    for role, name in (("id", id), ("target", target)):
        if name not in names:
            raise UserError(f"{role}: {source} has no column {name!r}; it has {', '.join(names)}")
    ids = column(table, id)
    if len(pc.unique(ids.drop_null())) < len(ids):
        raise UserError(f"id: {id!r} does not name each customer once: it has nulls or the same value twice")
    meant = label(column(table, target), positive)

    params = Path("params.yaml").read_text()
    for name, value in {"id": id, "target": target, "positive": meant}.items():
        written = json.dumps(value, ensure_ascii=False)  # JSON is YAML, and 1.2 reads "Yes" as a text either way
        params, found = re.subn(rf"(?m)^(  {name}: )\S+", lambda m, w=written: m[1] + w, params, count=1)
        assert found, name
    Path("params.yaml").write_text(params)


if __name__ == "__main__":
    run(main)
