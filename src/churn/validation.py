"""What is checked of a raw table before anything is made of it: its columns, each of its rows, its
labels.

For preprocess, which refuses a table that breaks its contract, and infer_schema, whose contract
must accept the table that it came from. Scoring judges row by row instead (batch.py).
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn import contract
from churn.contract import Contract, Violations
from churn.errors import UserError, short
from churn.params import Data

BATCH_ROWS = 65_536
# Columns that nobody named: a data frame library did, when it wrote its row numbers.
UNNAMED = re.compile(r"\s*|Unnamed: \d+.*|\.\.\.\d+|__index_level_\d+__|__null_dask_index__")
ROW_NUMBERS = re.compile(r"index|level_\d+|row_?(names?|num(ber)?|id|nr|index)?", re.IGNORECASE)
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


def row_number(name: str, values: pa.ChunkedArray) -> str:
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


def check_columns(rules: Contract, schema: pa.Schema) -> Violations:
    """contract.check_columns, and the columns that are an index: one without a name is no feature
    even if the contract lists it, another one is the contract's to decide."""
    violations = contract.check_columns(rules, schema)
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


def check_rules(rules: Contract) -> None:
    """Refuse a contract with a rule that nobody knows: pandera passes over it, and the column would
    go unchecked.

    Raises:
        UserError: every such rule, with the nearest that there is.
    """
    import pandera.pandas as pandera

    checks = [name for name in dir(pandera.Check) if not name.startswith("_")]
    faults = []
    for column, written in contract.read(rules.path).items():
        for rule in written:
            if rule not in SETTINGS and not hasattr(pandera.Check, rule):
                nearest = difflib.get_close_matches(rule, [*SETTINGS, *checks], n=1, cutoff=0)[0]
                faults.append(
                    f"  column {column}: there is no rule {rule}; did you mean {nearest}?"
                )
    if faults:
        raise UserError(f"{rules.path}:\n" + "\n".join(faults))


def check_negatives(rules: Contract, data: Data) -> None:
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
        wrong = f"{listed(others)} are not {rules.positive!r}; {way_out}"
    elif [label for label in others if label not in wanted] or [
        label for label in wanted if label not in others
    ]:
        named = f"data.negative in params.yaml {listed(wanted)}"
        wrong = f"beside {rules.positive!r} it lists {listed(others)}, and {named}"
    else:
        return
    raise UserError(f"{rules.path}, column {rules.target}, the target: {wrong}")


def listed(values) -> str:
    """Values as a message names them, the first ten of them."""
    values = list(values)
    more = f" and {len(values) - 10:,} more" if len(values) > 10 else ""
    return ", ".join(map(short, values[:10])) + more


@contextmanager
def reading() -> Iterator[None]:
    """What pyarrow says of a file that it cannot read, as the user's to mend."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        way_out = "fetch it or write it again"
        raise UserError(f"the Parquet file is damaged ({error}); {way_out}") from None


def read_batches(table: pq.ParquetFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows of some columns, a record batch at a time."""
    with reading():
        yield from table.iter_batches(BATCH_ROWS, columns=columns)


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


def checked_batches(
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
    checks = contract.row_checks(rules, without=broken | dropping)
    schema = pa.schema(
        [field for field in contract.arrow_schema(rules) if field.name not in broken]
    )
    first_row = 1
    for batch in read_batches(table, schema.names):
        rows = _converted(batch, schema, violations)
        contract.check_rows(checks, rows.select(list(checks.columns)), first_row, violations)
        first_row += len(rows)
        if rules.target in schema.names:
            findings.labels.update(_counts(rows[rules.target]))
        if not violations.found:  # else nothing will be kept: only go on looking for violations
            known = pa.array(rules.labels, schema.field(rules.target).type)
            yield rows.filter(pc.is_in(rows[rules.target], known)) if dropping else rows

    def ids() -> Iterator[list]:
        for batch in read_batches(table, [rules.id]):
            yield batch[rules.id].to_pylist()  # by name: of columns a and a.b, both are read

    if rules.id in schema.names and (again := contract.duplicates(ids)):
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
            columns[field_.name] = contract.converted(values, field_.type)
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
