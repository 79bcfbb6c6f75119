"""What is checked of a raw table before anything is made of it: its columns, each of its rows, its
labels.

For preprocess, which refuses a table that breaks its contract, and infer_schema, whose contract
must accept the table that it came from. Scoring judges row by row instead (batch.py).
"""

import difflib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn.data.arrow import arrow_schema, convert_column
from churn.data.checks import (
    Violations,
    check_rows,
    column_violations,
    duplicate_ids,
    pandera_schema,
)
from churn.data.contract import Contract, read_rules
from churn.data.index_columns import UNNAMED, index_columns
from churn.data.parquet import read_batches
from churn.errors import UserError, short
from churn.params import Data

# What a column of a contract has beside checks, in pandera's words.
SETTINGS = (
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
)
SETTINGS += ("report_duplicates", "drop_invalid_rows", "metadata")


def check_columns(rules: Contract, schema: pa.Schema) -> Violations:
    """contract.check_columns, and the columns that are an index: one without a name is no feature
    even if the contract lists it, another one is the contract's to decide."""
    violations = column_violations(rules, schema)
    for name, why in index_columns(schema).items():
        if name in (rules.id, rules.target):
            continue
        unknown = [
            (column, rule)
            for column, rule in violations.found
            if column == name and rule.startswith("unknown")
        ]
        for entry in unknown:
            del violations.found[entry]
        if unknown or UNNAMED.fullmatch(name):
            violations.add(name, why)
    return violations


def check_known_rules(rules: Contract) -> None:
    """Refuse a contract with a rule that nobody knows: pandera passes over it, and the column would
    go unchecked.

    Raises:
        UserError: every such rule, with the nearest that there is.
    """
    import pandera.pandas as pandera

    checks = [name for name in dir(pandera.Check) if not name.startswith("_")]
    faults = []
    for column, written in read_rules(rules.path).items():
        for rule in written:
            if rule not in SETTINGS and not hasattr(pandera.Check, rule):
                nearest = difflib.get_close_matches(rule, [*SETTINGS, *checks], n=1, cutoff=0)[0]
                faults.append(
                    f"  column {column}: there is no rule {rule}; did you mean {nearest}?"
                )
    if faults:
        raise UserError(f"{rules.path}:\n" + "\n".join(faults))


def check_labels(rules: Contract, data: Data) -> None:
    """Refuse a contract that leaves open which labels mean that a customer stayed.

    Raises:
        UserError: the contract lists other labels than `data.positive` and `data.negative`
            together, or none or several beside `data.positive` where `data.negative` is null.
    """
    others = [label for label in rules.labels if label != rules.positive]
    wanted = data.negative if data.negative is not None else others[:1]
    if not others:
        wrong = f"{rules.positive!r} is its only label; list also the one of customers who stayed"
    elif data.negative is None and len(others) > 1:
        way_out = "say under data.negative in params.yaml which mean: stayed"
        wrong = f"{first_values(others)} are not {rules.positive!r}; {way_out}"
    elif [label for label in others if label not in wanted] or [
        label for label in wanted if label not in others
    ]:
        named = f"data.negative in params.yaml {first_values(wanted)}"
        wrong = f"beside {rules.positive!r} it lists {first_values(others)}, and {named}"
    else:
        return
    raise UserError(f"{rules.path}, column {rules.target}, the target: {wrong}")


def first_values(values) -> str:
    """Values as a message names them, the first ten of them."""
    values = list(values)
    more = f" and {len(values) - 10:,} more" if len(values) > 10 else ""
    return ", ".join(map(short, values[:10])) + more


@dataclass
class Findings:
    """What was seen of a table: violations of its contract, and how many customers have each label
    (null: None)."""

    violations: Violations = field(default_factory=Violations)
    labels: Counter = field(default_factory=Counter)

    def unlabelled(self, rules: Contract) -> int:
        """How many customers have no label, or one that the contract does not list."""
        return sum(count for label, count in self.labels.items() if label not in rules.labels)

    def describe(self, rules: Contract) -> str:
        """The labels with their counts: "churn: 'No' 5,174 (stayed), 'Yes' 1,869 (churned)"."""
        means = {
            label: "churned" if label == rules.positive else "stayed" for label in rules.labels
        }
        order = [*sorted(means, key=lambda label: means[label] == "churned"), *self.labels]
        parts = []
        for label in dict.fromkeys(order):
            shown = "no label" if label is None else short(label)
            parts.append(f"{shown} {self.labels[label]:,} ({means.get(label, 'left out')})")
        more = [f"and {len(parts) - 10:,} more labels"] if len(parts) > 10 else []
        return f"{rules.target}: {', '.join(parts[:10] + more)}"


def validated_batches(
    table: pq.ParquetFile, rules: Contract, unlabelled: str, findings: Findings
) -> Iterator[pa.Table]:
    """The rows of a table, in `arrow_schema`'s types, a record batch at a time, until the first
    violation; all the violations, at the end, are in `findings`.

    Args:
        unlabelled: "refuse" or "drop" a customer without a label (params.Data).
    """
    violations = findings.violations = check_columns(rules, table.schema_arrow)
    broken = {column for column, _ in violations.found}
    dropping = {rules.target} if unlabelled == "drop" else set()
    checks = pandera_schema(rules, without=broken | dropping)
    schema = pa.schema([field for field in arrow_schema(rules) if field.name not in broken])
    first_row = 1
    for batch in read_batches(table, schema.names):
        rows = _converted(batch, schema, violations)
        check_rows(checks, rows.select(list(checks.columns)), first_row, violations)
        first_row += len(rows)
        if rules.target in schema.names:
            findings.labels.update(_counts(rows[rules.target]))
        if not violations.found:  # else nothing will be kept: only go on looking for violations
            known = pa.array(rules.labels, schema.field(rules.target).type)
            yield rows.filter(pc.is_in(rows[rules.target], known)) if dropping else rows

    def ids() -> Iterator[list]:
        for batch in read_batches(table, [rules.id]):
            yield batch[rules.id].to_pylist()  # by name: of columns a and a.b, both are read

    if rules.id in schema.names and (again := duplicate_ids(ids)):
        violations.add(rules.id, "duplicate id", again, again.values())
    if not dropping and (count := findings.unlabelled(rules)):
        way_out = (
            "leave them out of the table, or set `unlabelled: drop` under `data:` in params.yaml"
        )
        violations.add(
            rules.target, f"{count:,} customers without a label that is known: {way_out}"
        )


def _converted(batch: pa.RecordBatch, schema: pa.Schema, violations: Violations) -> pa.Table:
    columns = {}
    for field_ in schema:
        values = batch[field_.name]
        try:
            columns[field_.name] = convert_column(values, field_.type)
        except pa.ArrowInvalid:
            rule = "not each one is a whole number below 2^63; write it as a text"
            violations.found.setdefault((field_.name, rule), {"count": 0, "rows": [], "values": []})
            columns[field_.name] = pa.array(range(len(values)), field_.type)
    return pa.table(columns)


def _counts(target: pa.ChunkedArray) -> Counter:
    if pa.types.is_floating(target.type):
        target = pc.if_else(pc.is_nan(target), pa.scalar(None, target.type), target)
    return Counter(
        {entry["values"]: entry["counts"] for entry in pc.value_counts(target).to_pylist()}
    )
