"""Write a first data contract for another table.

    python src/infer_schema.py TABLE.parquet

Reads the table and the `data:` section of params.yaml; writes data/schema.yaml: types, allowed values of text
columns, observed ranges, nullability. Look it over before you trust it: a table shows what was, not what may be.
"""

import argparse
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.types as at

from churn import contract, lineage, params
from churn.errors import UserError, run

MOST_CATEGORIES = 100


def column_rules(name: str, values, is_id: bool):
    """The pandera Column that one column (a pyarrow ChunkedArray) suggests."""
    import pandera.pandas as pa

    if at.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    known = values.drop_null()
    common = {"name": name, "nullable": values.null_count > 0, "unique": is_id}
    if at.is_boolean(values.type):
        return pa.Column("bool", **common)
    if at.is_string(values.type) or at.is_large_string(values.type):
        distinct = sorted(pc.unique(known).to_pylist())
        if not is_id and len(distinct) > MOST_CATEGORIES:
            raise UserError(f"column {name}: {len(distinct)} different texts are no categories; drop it from the table")
        return pa.Column("str", checks=None if is_id else pa.Check.isin(distinct), **common)
    if at.is_integer(values.type) or at.is_floating(values.type):
        dtype = "int64" if at.is_integer(values.type) else "float64"
        low, high = pc.min(known).as_py(), pc.max(known).as_py()
        if is_id or low is None:
            return pa.Column(dtype, **common)
        small = at.is_integer(values.type) and high - low <= 1
        checks = pa.Check.isin(sorted(pc.unique(known).to_pylist())) if small else pa.Check.in_range(low, high)
        return pa.Column(dtype, checks=checks, **common)
    raise UserError(f"column {name}: a model cannot take {values.type}; turn it into numbers or drop it")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Write a first data contract, data/schema.yaml, for a table.")
    parser.add_argument("table", type=Path, help="a Parquet file")
    path = parser.parse_args(arguments).table
    data = params.load().data
    if lineage.SCHEMA.exists():
        raise UserError(f"{lineage.SCHEMA} exists; delete it first (git keeps the committed one)")
    table = contract.open_table(path)
    if missing := [name for name in (data.id, data.target) if name not in table.schema_arrow.names]:
        raise UserError(f"{path} has no column {' and no column '.join(missing)}; edit `data:` in params.yaml")

    import pandera.pandas as pa

    columns = {}
    for name in table.schema_arrow.names:  # one column at a time: the table may be larger than memory
        columns[name] = column_rules(name, table.read(columns=[name]).column(0), name == data.id)
    # pandera writes the text type by its storage, which depends on the installed pandas
    written = pa.DataFrameSchema(columns, strict=True).to_yaml().replace("string[pyarrow]", "str")
    part = lineage.SCHEMA.with_suffix(".part")
    part.write_text(written)
    try:
        contract.load(part, **data.model_dump())  # refuses what no model can be made from
        part.replace(lineage.SCHEMA)
    finally:
        part.unlink(missing_ok=True)
    print(f"{lineage.SCHEMA}: {len(columns)} columns. Look over the ranges and allowed values, then `dvc repro`.")


if __name__ == "__main__":
    run(main)
