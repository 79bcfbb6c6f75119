"""Write a first data contract for another table.

    python src/infer_schema.py TABLE.parquet                  writes data/schema.yaml
    python src/infer_schema.py TABLE.parquet --check          only says what is wrong with the table
    python src/infer_schema.py TABLE.parquet --output FILE    writes the contract elsewhere

Reads the table and the `data:` section of params.yaml; writes a contract that the table fits:
types, allowed values of text columns, observed ranges, nullability. Look it over before you trust
it: a table shows what was, not what may be.
Everything that is wrong with the table is in one message, and then nothing is written.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import yaml

from churn import paths
from churn.console import run_command
from churn.data.checks import MORE_THAN_ONCE, Violations
from churn.data.contract import load_contract
from churn.data.index_columns import index_columns
from churn.data.inference import ColumnFault, doubts, feature_rules, id_rules
from churn.data.labels import target_rules
from churn.data.parquet import explain_parquet_errors, open_table
from churn.data.validation import Findings, validated_batches
from churn.errors import UserError
from churn.params import Data, load_params


class Dumper(yaml.SafeDumper):
    """Writes every text so that it is read as it was: a few signs that YAML takes for line ends
    must be escaped.
    """

    def represent_text(self, text: str) -> yaml.Node:
        style = '"' if set(text) & set("\x85\u2028\u2029\ufeff") else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


Dumper.add_representer(str, Dumper.represent_text)


def columns_rules(table: pq.ParquetFile, data: Data) -> tuple[dict[str, dict], Violations]:
    """The rules of each column that suggests some, and what is wrong with the others."""
    rules, faults = {}, Violations()
    names, unnamed = table.schema_arrow.names, index_columns(table.schema_arrow)
    for role, name in (("id", data.id), ("target", data.target)):
        if name not in names:
            faults.add(
                name, f"data.{role} in params.yaml, but the table has no such column; edit `data:`"
            )
    for name, count in Counter(
        names
    ).items():  # one column at a time: the table may be larger than memory
        try:
            if count > 1:
                raise ColumnFault(MORE_THAN_ONCE)
            with explain_parquet_errors():
                values = table.read(columns=[name]).column(name)
            if name == data.id:
                rules[name] = id_rules(values)
            elif name == data.target:
                rules[name] = target_rules(values, data)
            elif name in unnamed:
                raise ColumnFault(unnamed[name])
            else:
                rules[name] = feature_rules(name, values)
        except ColumnFault as fault:
            faults.add(name, f"{fault}")
    if not faults.found and len(rules) == 2:
        faults.add("features", "the table has no column beside id and target")
    return rules, faults


def validated(table: pq.ParquetFile, written: str, data: Data) -> tuple[Violations, str]:
    """What the table does against its own contract (the text of the YAML): an id that comes twice,
    a null id; and its labels with their counts."""
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, paths.SCHEMA.name)
        path.write_text(written, encoding="utf-8")
        rules = load_contract(path, *data.roles)
        for _ in validated_batches(table, rules, data.unlabelled, findings):
            pass
    return findings.violations, findings.describe(rules)


def infer(path: Path, data: Data) -> tuple[str, str]:
    """A contract for the table at `path`, as YAML; and what to say of it: the labels of its target
    with their counts, and the columns that may have been taken for something else.

    Raises:
        UserError: everything that is wrong with the table.
    """
    table = open_table(path)
    rules, faults = columns_rules(table, data)
    written, counted = "", ""
    if not faults.found:
        content = {"schema_type": "dataframe", "api": "pandas", "columns": rules, "strict": True}
        written = yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True)
        faults, counted = validated(table, written, data)
    if faults.found:
        raise UserError(f"no contract can be made of {path}:\n{faults}")
    told = [counted]
    for name, rule in rules.items():
        if name not in (data.id, data.target) and rule["dtype"] == "str" and (why := doubts(rule)):
            told.append(f"note: {name}: {why}")
    return written, "\n".join(told)


def write(text: str, path: Path) -> None:
    """Write a text file whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        if part.is_file():
            part.unlink()
        raise UserError(f"{path} cannot be written: {error.strerror}") from None


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Write a first data contract, data/schema.yaml, for a table."
    )
    parser.add_argument("table", type=Path, help="a Parquet file")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--check", action="store_true", help="write nothing; only say what is wrong with the table"
    )
    where.add_argument(
        "--output", type=Path, default=paths.SCHEMA, help=f"the file to write ({paths.SCHEMA})"
    )
    options = parser.parse_args(arguments)
    data = load_params().data
    if not options.check and options.output.exists():
        way_out = "delete it first (git keeps the committed one), or use --check or --output FILE"
        raise UserError(f"{options.output} exists; {way_out}")
    written, told = infer(options.table, data)
    if options.check:
        print(f"{told}\n{options.table} is fit for a contract; nothing was written.")
        return
    write(written, options.output)
    count = len(yaml.safe_load(written)["columns"])
    print(
        f"{told}\n{options.output}: {count} columns. Look over the ranges and allowed values, "
        "then `dvc repro`."
    )


if __name__ == "__main__":
    run_command(main)
