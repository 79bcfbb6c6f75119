"""Validate a raw table against its contract before anything is made of it.

preprocess refuses a table that breaks its contract; infer_schema makes sure that its contract
accepts the table that it came from. Scoring judges rows one by one instead (rejection.py).
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.data.arrow import (
    arrow_schema,
    convert_column,
    plain_values,
    unconvertible_rows,
    value_counts,
)
from churn.data.checks import (
    UNKNOWN_COLUMN,
    Violations,
    check_rows,
    column_violations,
    pandera_schema,
)
from churn.data.contract import Contract, Label
from churn.data.contract_file import parse_rules
from churn.data.index_columns import UNNAMED, index_columns
from churn.data.parquet import read_batches
from churn.data.periods import as_texts, no_period_reason
from churn.data.row_keys import check_row_keys
from churn.errors import UserError, amount, short
from churn.params import Data

# What pandera's YAML says of a column beside its checks.
COLUMN_SETTINGS = (
    "dtype",
    "nullable",
    "unique",
    "description",
    "title",
    "coerce",
    "required",
    "regex",
    "default",
    "checks",
    "report_duplicates",
    "drop_invalid_rows",
    "metadata",
)
MOST_SHOWN = 10  # values, or labels, in one message
LEAVE_OUT_UNLABELLED = (
    "leave them out of the table, or set `unlabelled: drop` under `data:` in params.yaml"
)
ID_NOT_WHOLE = "no whole number below 2^63; write the id as a text"
NO_PERIOD_NUMBER = "no whole number, as a period is, such as 202611"


@dataclass
class Findings:
    """What was found in a table: violations of its contract, and how often each label occurs."""

    violations: Violations = field(default_factory=Violations)
    labels: Counter[Label | None] = field(default_factory=Counter)  # None for a null

    def count_unlabelled(self, contract: Contract) -> int:
        """The number of customers without a label, or with one that the contract does not list."""
        known = contract.labels
        return sum(count for label, count in self.labels.items() if label not in known)

    def describe_labels(self, contract: Contract) -> str:
        """The labels with their counts: "churn: 'No' 5,174 (stayed), 'Yes' 1,869 (churned)"."""
        stayed = [label for label in contract.labels if label != contract.positive]
        meanings: dict[Label | None, str] = dict.fromkeys(stayed, "stayed")
        meanings[contract.positive] = "churned"

        parts = []
        for label in dict.fromkeys([*meanings, *self.labels]):
            name = "no label" if label is None else short(label)
            parts.append(f"{name} {self.labels[label]:,} ({meanings.get(label, 'left out')})")
        if len(parts) > MOST_SHOWN:
            left_out = f"and {len(parts) - MOST_SHOWN:,} more labels"
            parts = [*parts[:MOST_SHOWN], left_out]
        return f"{contract.target}: {', '.join(parts)}"


def check_known_rules(contract: Contract) -> None:
    """Refuse a contract with a rule that does not exist.

    pandera passes over such a rule, and the column would go unchecked.

    Raises:
        UserError: every such rule, with the nearest one that exists.
    """
    import pandera.pandas as pandera

    checks = [name for name in dir(pandera.Check) if not name.startswith("_")]
    faults = []
    for column, rules in parse_rules(contract.text, contract.path).items():
        for rule in rules:
            if rule in COLUMN_SETTINGS or hasattr(pandera.Check, rule):
                continue
            candidates = [*COLUMN_SETTINGS, *checks]
            nearest = difflib.get_close_matches(rule, candidates, n=1, cutoff=0)[0]
            faults.append(f"  column {column}: there is no rule {rule}; did you mean {nearest}?")
    if faults:
        raise UserError("\n".join([f"{contract.path}:", *faults]))


def check_labels(contract: Contract, data: Data) -> None:
    """Refuse a contract that leaves open which labels mean that a customer stayed.

    Raises:
        UserError: the contract lists other labels than `data.positive` and `data.negative`
            together, or none or several beside `data.positive` where `data.negative` is null.
    """
    others = [label for label in contract.labels if label != contract.positive]
    if not others:
        fault = (
            f"{contract.positive!r} is its only label; list also the one of customers who stayed"
        )
    elif data.negative is None and len(others) > 1:
        fault = (
            f"{first_values(others)} could all mean that a customer stayed; list those that do "
            "under data.negative in params.yaml"
        )
    elif data.negative is not None and set(others) != set(data.negative):
        fault = (
            f"it lists {first_values(others)} beside {contract.positive!r}, but data.negative in "
            f"params.yaml lists {first_values(data.negative)}; make them agree"
        )
    else:
        return
    raise UserError(f"{contract.path}, column {contract.target}, the target: {fault}")


def first_values(values: Iterable[object]) -> str:
    """Values as a message names them, at most ten."""
    values = list(values)
    text = ", ".join(map(short, values[:MOST_SHOWN]))
    left_out = len(values) - MOST_SHOWN
    return f"{text} and {left_out:,} more" if left_out > 0 else text


def check_columns(contract: Contract, schema: pa.Schema) -> Violations:
    """Compare the columns of a table with the contract's, and refuse columns that are an index.

    A column without a name is no feature even if the contract lists it; about any other index
    column the contract decides.
    """
    violations = column_violations(contract, schema)
    for name, reason in index_columns(schema).items():
        if name in (*contract.key, contract.target):
            continue
        # The reason says more than that the column is unknown.
        unknown = violations.by_rule.pop((name, UNKNOWN_COLUMN), None)
        if unknown or UNNAMED.fullmatch(name):
            violations.add(name, reason)
    return violations


def validated_batches(
    table: pq.ParquetFile, contract: Contract, unlabelled: str, findings: Findings
) -> Iterator[pa.Table]:
    """Read a table in the types of `arrow_schema`, one batch after another, and validate it.

    Batches are given until the first violation; then the rest is read only to find the others.

    Args:
        unlabelled: "refuse" or "drop" a customer without a label (params.Data).
        findings: filled while the table is read; complete at its end.
    """
    violations = findings.violations = check_columns(contract, table.schema_arrow)
    fields = [f for f in arrow_schema(contract) if f.name not in violations.columns]
    schema = pa.schema(fields)
    is_dropping = unlabelled == "drop"
    unchecked = set(violations.columns)
    if is_dropping:
        unchecked.add(contract.target)
    checks = pandera_schema(contract, without=unchecked)

    first_row = 1
    for batch in read_batches(table, schema.names):
        rows = _convert_batch(batch, schema, contract, first_row, violations)
        check_rows(checks, rows.select(list(checks.columns)), first_row, violations)
        first_row += len(rows)
        if contract.target in schema.names:
            findings.labels.update(value_counts(plain_values(rows[contract.target])))
        if violations:  # nothing will be kept
            continue
        if is_dropping:
            labels = pa.array(contract.labels, schema.field(contract.target).type)
            rows = rows.filter(pc.is_in(rows[contract.target], labels))
        yield rows

    if set(contract.key) <= set(schema.names):
        time_type = None if contract.time is None else schema.field(contract.time).type
        check_row_keys(table, contract.key, time_type, violations)
    unlabelled_customers = findings.count_unlabelled(contract)
    if unlabelled_customers and not is_dropping:
        text = f"{amount(unlabelled_customers, 'customer')} without a label that is known"
        violations.add(contract.target, f"{text}: {LEAVE_OUT_UNLABELLED}")


def _convert_batch(
    batch: pa.RecordBatch,
    schema: pa.Schema,
    contract: Contract,
    first_row: int,
    violations: Violations,
) -> pa.Table:
    columns = {}
    for wanted in schema:
        values = batch[wanted.name]
        try:
            columns[wanted.name] = convert_column(values, wanted.type)
            continue
        except pa.ArrowInvalid:
            rows = unconvertible_rows(values, wanted.type)
        found = values.take(pa.array(rows[:MOST_SHOWN]))
        fault = ID_NOT_WHOLE
        if wanted.name == contract.time:
            fault = NO_PERIOD_NUMBER
        if pa.types.is_timestamp(wanted.type):
            fault = no_period_reason(found)
        numbers = [first_row + row for row in rows]
        violations.add(wanted.name, fault, numbers, as_texts(found))
        # Any values do: nothing of this table is kept.
        columns[wanted.name] = pa.array(range(len(batch)), wanted.type)
    return pa.table(columns)
