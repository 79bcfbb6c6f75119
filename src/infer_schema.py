"""Write a first data contract for another table.

    python src/infer_schema.py TABLE.parquet                  writes data/schema.yaml
    python src/infer_schema.py TABLE.parquet --check          only says what is wrong with the table
    python src/infer_schema.py TABLE.parquet --output FILE    writes the contract elsewhere

Reads the table and the section `data` of params.yaml; writes a contract that the table fits: types,
allowed values of text columns, observed ranges, nullability. Look it over before you trust it: a
table shows what was, not what may be. Everything that is wrong with the table is in one message,
and then nothing is written.
"""

import argparse
import tempfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from churn import paths
from churn.console import run_command
from churn.data.arrow import TYPES, convert_column
from churn.data.checks import MORE_THAN_ONCE, Violations
from churn.data.contract import load_contract
from churn.data.contract_file import Rules
from churn.data.index_columns import index_columns
from churn.data.inference import ColumnFault, doubts, feature_rules, id_rules, time_rules
from churn.data.labels import target_rules
from churn.data.parquet import explain_parquet_errors, open_table
from churn.data.row_keys import check_row_keys
from churn.data.time_split import describe_periods, doubt_about_periods
from churn.data.validation import Findings, validated_batches
from churn.errors import UserError
from churn.files import write_whole
from churn.params import Data, load_params

ESCAPED_SIGNS = set("\x85\u2028\u2029\ufeff")  # YAML would take them for line ends, or lose them


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    data = load_params().data
    if not options.check and options.output.exists():
        raise UserError(
            f"{options.output} exists; delete it first (git keeps the committed one), or use "
            "--check or --output FILE"
        )

    contract, notes = infer_contract(options.table, data)
    print("\n".join(notes))
    if options.check:
        print(f"{options.table} is fit for a contract; nothing was written.")
        return

    write_whole(contract, options.output)
    count = len(yaml.safe_load(contract)["columns"])
    print(
        f"{options.output}: {count} columns. Look over the ranges and allowed values, then "
        "`dvc repro`."
    )


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Write a first data contract, data/schema.yaml, for a table."
    )
    parser.add_argument("table", type=Path, help="a Parquet file")
    target = parser.add_mutually_exclusive_group()
    target.add_argument(
        "--check", action="store_true", help="write nothing; only say what is wrong with the table"
    )
    target.add_argument(
        "--output", type=Path, default=paths.SCHEMA, help=f"the file to write ({paths.SCHEMA})"
    )
    return parser.parse_args(arguments)


def infer_contract(path: Path, data: Data) -> tuple[str, list[str]]:
    """Infer a contract for a table.

    Returns:
        The contract as YAML, and notes: the labels of the target with their counts, and the columns
        that may have been taken for something else.

    Raises:
        UserError: everything that is wrong with the table.
    """
    table = open_table(path)
    rules, faults = infer_columns(table, data)
    contract, labels = "", ""
    if not faults:
        content = {"schema_type": "dataframe", "api": "pandas", "columns": rules, "strict": True}
        contract = yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True)
        faults, labels = validate_with(contract, table, data)
    if faults:
        raise UserError(f"no contract can be made of {path}:\n{faults}")

    notes = [labels, *periods_notes(table, data.time, rules)]
    for name, column in rules.items():
        is_text_feature = column["dtype"] == "str" and name not in (data.id, data.target)
        doubt = doubts(column) if is_text_feature else ""
        if doubt:
            notes.append(f"note: {name}: {doubt}")
    return contract, notes


def periods_notes(table: pq.ParquetFile, time: str | None, rules: dict[str, Rules]) -> list[str]:
    """How many periods a table has, and whether they are too many; no note without periods."""
    if time is None:
        return []
    arrow_type = TYPES["time"] if rules[time]["dtype"] == "datetime64[ns]" else pa.int64()
    with explain_parquet_errors():
        values = table.read(columns=[time]).column(time)
    periods = convert_column(values, arrow_type).to_pandas().rename(time)
    notes = [f"{time}: {describe_periods(periods)}"]
    doubt = doubt_about_periods(periods)
    return [*notes, doubt.rstrip()] if doubt else notes


def infer_columns(table: pq.ParquetFile, data: Data) -> tuple[dict[str, Rules], Violations]:
    """The rules of each column that suggests some, and what is wrong with the others."""
    rules: dict[str, Rules] = {}
    faults = Violations()
    schema = table.schema_arrow  # made anew at each access
    names, index_reasons = schema.names, index_columns(schema)
    roles = {"id": data.id, "target": data.target, "time": data.time}
    for role, name in roles.items():
        if name is not None and name not in names:
            text = f"data.{role} in params.yaml, but the table has no such column; edit `data:`"
            faults.add(name, text)

    for name, count in Counter(names).items():
        try:
            if count > 1:
                raise ColumnFault(MORE_THAN_ONCE)
            rules[name] = infer_column(table, name, data, index_reasons.get(name))
        except ColumnFault as fault:
            faults.add(name, str(fault))
    if not faults and not rules.keys() - set(roles.values()):
        faults.add("features", "the table has no column that can be a feature")
    key = [name for name in (data.id, data.time) if name is not None]
    if faults and all(name in rules for name in key):  # without faults, validate_with does it
        has_dates = rules[key[-1]]["dtype"] == "datetime64[ns]"
        time_type = TYPES["time"] if has_dates else None
        check_row_keys(table, key, time_type, faults)
    return rules, faults


def infer_column(
    table: pq.ParquetFile, name: str, data: Data, index_reason: str | None = None
) -> Rules:
    """The rules of one column.

    Args:
        index_reason: why it is no feature but the index of a pandas table, if it is.

    Raises:
        ColumnFault: no contract can be made with it.
    """
    # One column at a time: the table may be larger than memory.
    with explain_parquet_errors():
        values = table.read(columns=[name]).column(name)
    if name == data.id:
        rules = id_rules(values)
        if data.time is not None:  # a customer has a row for each period
            del rules["unique"]
        return rules
    if name == data.target:
        return target_rules(values, data)
    if name == data.time:
        return time_rules(values)
    if index_reason is not None:
        raise ColumnFault(index_reason)
    return feature_rules(name, values)


def validate_with(contract: str, table: pq.ParquetFile, data: Data) -> tuple[Violations, str]:
    """Validate the table with its own contract: an id may be null, or come twice.

    Returns:
        The violations, and the labels with their counts.
    """
    findings = Findings()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, paths.SCHEMA.name)
        path.write_text(contract, encoding="utf-8")
        loaded = load_contract(path, data.id, data.target, data.positive, data.time)
        for _ in validated_batches(table, loaded, data.unlabelled, findings):
            pass
    return findings.violations, findings.describe_labels(loaded)


class Dumper(yaml.SafeDumper):
    """Writes every text so that it is read as it was."""

    def represent_text(self, text: str) -> yaml.Node:
        style = '"' if set(text) & ESCAPED_SIGNS else None
        return self.represent_scalar("tag:yaml.org,2002:str", text, style)


Dumper.add_representer(str, Dumper.represent_text)


if __name__ == "__main__":
    run_command(main)
