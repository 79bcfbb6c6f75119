"""Take in a table of customers: check the answers against it, and write data/raw.parquet and `data:` of params.yaml.

python table.py TABLE ID TARGET POSITIVE [COLUMN TO LEAVE OUT ...]    (in the new project's folder)

Everything that is wrong is said in one message. It ends with data/schema.yaml, by src/infer_schema.py.
"""

import json
import re
import shutil
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

import infer_schema
from churn import contract, csv_table
from churn.errors import UserError, run


def column(table: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    """One column, decoded if it is a dictionary."""
    values = table.read(columns=[name]).column(name)
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def label(values: pa.ChunkedArray, answer: str) -> str | int | bool:
    """The value of the target that an answer means: Yes, 1 or true.

    Raises:
        UserError: no customer has it, or every customer has.
    """
    labels = pc.unique(values.drop_null()).to_pylist()
    listed = ", ".join(json.dumps(value, default=str, ensure_ascii=False) for value in labels[:5])
    meant = [value for value in labels if means(answer, value)]
    if not meant or len(labels) < 2:
        raise UserError(f"positive: {answer!r} must be one of at least two values of the target, which has: {listed}")
    return answer if isinstance(meant[0], str) else json.loads(answer.lower())


def means(answer: str, value: object) -> bool:
    """Whether an answer is a value of the target. Values that are no text compare by value: 1, 1.0, true and True."""
    if isinstance(value, str):
        return value == answer
    try:
        return json.loads(answer.lower()) == value
    except ValueError:
        return False


def take_in(source: str, raw: Path, left_out: list[str]) -> None:
    """Write a table, Parquet or CSV, as `raw`, without some of its columns.

    Raises:
        UserError: it cannot be read, or has no such column.
    """
    with open(source, "rb") as file:
        parquet = file.read(4) == b"PAR1"
    if parquet and not left_out:
        shutil.copyfile(source, raw)
        return
    if parquet:
        table = contract.open_table(Path(source)).read()
    else:
        table = csv_table.read(source)
    if unknown := [name for name in left_out if name not in table.column_names]:
        raise UserError(f"drop: {source} has no column {', '.join(unknown)}; it has {', '.join(table.column_names)}")
    pq.write_table(table.drop_columns(left_out), raw, compression="zstd")


def answer_faults(table: pq.ParquetFile, source: str, id: str, target: str, positive: str) -> tuple[list[str], object]:
    """What is wrong with the answers about a table; and the value that `positive` means."""
    names, found, meant = table.schema_arrow.names, [], None
    for role, name in (("id", id), ("target", target)):
        if name not in names:
            found.append(f"{role}: {source} has no column {name!r}; it has {', '.join(names)}")
    if id in names:
        ids = column(table, id)
        if len(pc.unique(ids.drop_null())) < len(ids):
            found.append(f"id: {id!r} does not name each customer once: it has nulls or the same value twice")
    if target in names:
        try:
            meant = label(column(table, target), positive)
        except UserError as error:
            found.append(str(error))
    return found, meant


def write_data(values: dict[str, object]) -> None:
    """Write `data:` of params.yaml."""
    params = Path("params.yaml").read_text()
    for name, value in values.items():
        written = json.dumps(value, ensure_ascii=False)  # JSON is YAML, and 1.2 reads "Yes" as a text either way
        params, found = re.subn(rf"(?m)^(  {name}: )\S+", lambda m, w=written: m[1] + w, params, count=1)
        assert found, name
    Path("params.yaml").write_text(params)


def column_faults(raw: Path) -> list[str]:
    """What is wrong with the columns, by trying to infer the contract; without a fault it is written."""
    try:
        infer_schema.main([str(raw)])
    except UserError as error:
        hint = "drop: this answer leaves columns out of the table, as in drop='signed,comment'"
        return [str(error), hint]
    return []


def main() -> None:
    source, id, target, positive, *left_out = sys.argv[1:]
    raw = Path("data/raw.parquet")
    raw.parent.mkdir(exist_ok=True)
    take_in(source, raw, left_out)
    found, meant = answer_faults(contract.open_table(raw), source, id, target, positive)
    if not any(fault.startswith(("id: ", "target: ")) and "has no column" in fault for fault in found):
        # A wrong label must not hide a wrong column.
        write_data({"id": id, "target": target, "positive": positive if meant is None else meant})
        found += column_faults(raw)
    if found:
        raise UserError("the project cannot be started:\n" + "\n".join(f"  {fault}" for fault in found))


if __name__ == "__main__":
    run(main)
