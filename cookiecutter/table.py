"""Take in a table of customers: check the answers against it, and write data/raw.parquet and
`data:` of params.yaml.

python table.py ANSWERS    (as JSON, in the new project's folder)

Everything that is wrong is said in one message. It ends with data/schema.yaml, by
src/infer_schema.py.
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
from churn.console import run_command
from churn.data.csv_table import header
from churn.data.csv_types import read_csv
from churn.data.parquet import explain_parquet_errors, open_table
from churn.errors import UserError

HINTS = (
    "answers that help: drop='signed,comment' leaves columns out of the table;",
    "negative='No,Paused' names the labels of customers who stayed;",
    "time=month names the column with a row's period, if a customer has several rows;",
    "unlabelled=drop leaves out the customers without a known label",
)


def column(table: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    """One column, decoded if it is a dictionary."""
    with explain_parquet_errors():
        values = table.read(columns=[name]).column(name)
    return values.cast(values.type.value_type) if pa.types.is_dictionary(values.type) else values


def label(values: pa.ChunkedArray, answer: str, role: str = "positive") -> str | int | float | bool:
    """The value of the target that an answer means: Yes, 1 or true.

    Raises:
        UserError: no customer has it, or every customer has.
    """
    labels = pc.unique(values.drop_null()).to_pylist()
    known = ", ".join(json.dumps(value, default=str, ensure_ascii=False) for value in labels[:5])
    meant = [value for value in labels if means(answer, value)]
    if not meant or len(labels) < 2:
        raise UserError(
            f"{role}: {answer!r} must be one of at least two values of the target, which has: "
            f"{known}"
        )
    return answer if isinstance(meant[0], str) else json.loads(answer.lower())


def means(answer: str, value: object) -> bool:
    """Whether an answer is a value of the target.

    Values that are no text compare by value: 1, 1.0, true and True.
    """
    if isinstance(value, str):
        return value == answer
    try:
        return json.loads(answer.lower()) == value
    except ValueError:
        return False


def take_in(answers: dict, raw: Path) -> list[str]:
    """Write the table, Parquet or CSV, as `raw`, without the columns to leave out.

    Returns:
        The names of all its columns.

    Raises:
        UserError: it cannot be read.
    """
    source, left_out = answers["path"], answers["drop"]
    with open(source, "rb") as file:
        parquet = file.read(4) == b"PAR1"
    if not parquet:
        pq.write_table(read_csv(source, answers["id"], left_out), raw, compression="zstd")
        return header(source)
    with explain_parquet_errors():
        table = open_table(Path(source))
        names = table.schema_arrow.names
        if left_out:
            kept = [place for place, name in enumerate(names) if name not in left_out]
            pq.write_table(table.read().select(kept), raw, compression="zstd")
        else:
            shutil.copyfile(source, raw)
    return names


def name_faults(answers: dict, names: list[str]) -> list[str]:
    """The answers that name a column which is not there."""
    wanted = [
        ("id", answers["id"]),
        ("target", answers["target"]),
        *(("drop", name) for name in answers["drop"]),
    ]
    if answers["time"]:
        wanted.append(("time", answers["time"]))
    path, known = (
        answers["path"],
        ", ".join(name if name == name.strip() else repr(name) for name in names[:30]),
    )
    return [
        f"{role}: {path} has no column {name!r}; it has {known}"
        for role, name in wanted
        if name not in names
    ]


def value_faults(table: pq.ParquetFile, answers: dict) -> tuple[list[str], dict]:
    """What is wrong with the answers about the values of id and target; and `data:` of
    params.yaml.
    """
    names = ("id", "time", "target", "positive", "negative", "unlabelled")
    data = {name: answers[name] for name in names} | {"time": answers["time"] or None}
    found, names = [], table.schema_arrow.names
    if any(names.count(data[role]) > 1 for role in ("id", "target")):
        return found, {**data, "negative": data["negative"] or None}  # the contract says it
    ids = column(table, data["id"])
    if data["time"] is None and len(pc.unique(ids.drop_null())) < len(ids):
        found.append(
            f"id: {data['id']!r} does not name each customer once: it has nulls or the same value "
            "twice (time=... names the column with the period, if a customer has several rows)"
        )
    values, meant = column(table, data["target"]), {"positive": [], "negative": []}
    for role, answer in [
        ("positive", data["positive"]),
        *(("negative", answer) for answer in data["negative"]),
    ]:
        try:
            meant[role].append(label(values, answer, role))
        except UserError as error:
            found.append(str(error))
            meant[role].append(answer)
    return found, {**data, "positive": meant["positive"][0], "negative": meant["negative"] or None}


def write_data(values: dict[str, object]) -> None:
    """Write the section `data:` of params.yaml, whatever stands there; its comments stay."""
    path = Path("params.yaml")
    before, section, after = re.split(
        r"(?ms)^(data:[^\n]*\n.*?)(?=^\S|\Z)", path.read_text(), maxsplit=1
    )
    lines = section.split("\n")[:1]
    for name, value in values.items():
        written = json.dumps(
            value, ensure_ascii=False
        )  # JSON is YAML, and 1.2 reads "Yes" as a text either way
        comment = re.search(rf"(?m)^  {name}:.*? (# .*)$", section)
        lines.append(f"  {name}: {written}".ljust(27) + (f" {comment[1]}" if comment else ""))
    blank = section[len(section.rstrip()) :]
    path.write_text(before + "\n".join(line.rstrip() for line in lines) + blank + after)


def column_faults(raw: Path) -> list[str]:
    """What is wrong with the columns, by trying to infer the contract; without a fault it is
    written.
    """
    try:
        infer_schema.main([str(raw)])
    except UserError as error:
        return [str(error), *HINTS]
    return []


def main() -> None:
    answers, raw = json.loads(sys.argv[1]), Path("data/raw.parquet")
    raw.parent.mkdir(exist_ok=True)
    found = name_faults(answers, take_in(answers, raw))
    if not any(fault.startswith(("id: ", "target: ")) for fault in found):
        faults, data = value_faults(open_table(raw), answers)
        write_data(data)
        found += faults + column_faults(raw)  # a wrong label must not hide a wrong column
    if found:
        raise UserError(
            "the project cannot be started:\n" + "\n".join(f"  {fault}" for fault in found)
        )


if __name__ == "__main__":
    run_command(main)
