"""Check a table against the contract: its columns, its rows and its ids.

Every violation is collected, so that one message shows all of them. For a whole raw table see
validation.py; for rows that are scored one by one, rejection.py.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pyarrow as pa

from churn.data.arrow import kind_of
from churn.data.contract import Column, Contract
from churn.errors import UserError, short

NULL_NOT_ALLOWED = "null where none is allowed"
MORE_THAN_ONCE = "several columns have this name; give each a name of its own, or drop one"
UNKNOWN_COLUMN = "unknown column; drop it or add it to the contract"
MOST_VIOLATIONS, MOST_ROWS, MOST_VALUES = 50, 5, 3  # that one message shows
LONGEST_NAME = 100


@dataclass
class Violation:
    """How often one rule of one column is broken, and the first rows (from 1) and values."""

    count: int = 0
    rows: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = ""
        if self.count:
            rows = ", ".join(map(str, self.rows))
            more = ", ..." if self.count > len(self.rows) else ""
            noun = "row" if self.count == 1 else "rows"
            text += f"; {self.count} {noun}: {rows}{more}"
        if self.values:
            text += f"; found {', '.join(self.values)}"
        return text


@dataclass
class Violations:
    """The rules of a contract that a table breaks, added up over its batches."""

    by_rule: dict[tuple[str, str], Violation] = field(default_factory=dict)  # (column, rule)

    def __bool__(self) -> bool:
        return bool(self.by_rule)

    @property
    def columns(self) -> set[str]:
        """The columns with a violation."""
        return {column for column, _ in self.by_rule}

    def add(
        self, column: str, rule: str, rows: Iterable[int] = (), values: Iterable[object] = ()
    ) -> None:
        """Note that a column breaks a rule in these rows (from 1); without rows, in all of them."""
        violation = self.by_rule.setdefault((column, rule), Violation())
        rows = list(rows)
        violation.count += len(rows)
        violation.rows = (violation.rows + rows)[:MOST_ROWS]
        shown = [*violation.values, *map(short, values)]
        violation.values = list(dict.fromkeys(shown))[:MOST_VALUES]

    def __str__(self) -> str:
        lines = []
        for (column, rule), violation in list(self.by_rule.items())[:MOST_VIOLATIONS]:
            is_readable = column.strip() and len(column) <= LONGEST_NAME
            name = column if is_readable else short(column)
            lines.append(f"  {name}: {rule}{violation}")
        left_out = len(self.by_rule) - MOST_VIOLATIONS
        if left_out > 0:
            lines.append(f"  and {left_out:,} more")
        return "\n".join(lines)


def column_violations(contract: Contract, schema: pa.Schema) -> Violations:
    """Compare the columns of a table with the contract's: missing, unknown, or of another type."""
    violations = Violations()
    count = Counter(schema.names)
    for column in contract.columns.values():
        if not count[column.name]:
            violations.add(column.name, "missing column")
            continue
        if count[column.name] > 1:
            violations.add(column.name, MORE_THAN_ONCE)
            continue
        arrow_type = schema.field(column.name).type
        # A column without any value fits every kind: where nulls are not allowed, the rows say so.
        fitting = ["null", column.kind]
        if column.kind == "time":  # a CSV has its dates as texts
            fitting.append("text")
        if kind_of(arrow_type) not in fitting:
            wanted = f"{column.dtype} ({column.kind})"
            fault = f"must be {wanted}, the table has {arrow_type}"
            if column.kind == "time" and pa.types.is_timestamp(arrow_type):
                fault += "; a period has no time zone: write it as a date"
            violations.add(column.name, fault)

    for name in schema.names:
        if name not in contract.columns:
            violations.add(name, UNKNOWN_COLUMN)
    return violations


def pandera_schema(contract: Contract, without: set[str]):  # type: ignore[no-untyped-def]
    """The contract as a pandera schema for record batches in the types of `arrow_schema`.

    `unique` is left to the caller, since a batch cannot see the other batches.

    Args:
        without: columns that are not checked.

    Returns:
        A pandera.pandas.DataFrameSchema.

    Raises:
        UserError: pandera cannot read the contract.
    """
    import pandera.pandas as pandera  # takes a second to import

    try:
        schema = pandera.DataFrameSchema.from_yaml(contract.text)
    except Exception as error:  # of any kind: pandera does not check what it reads
        raise UserError(
            f"{contract.path}: pandera cannot read it ({type(error).__name__}: {error})"
        ) from None

    schema = schema.remove_columns([name for name in schema.columns if name in without])
    for column in schema.columns.values():
        _adapt_to_batches(column, contract.columns[column.name])
    return schema


def _adapt_to_batches(checked, column: Column) -> None:  # type: ignore[no-untyped-def]
    """Let a column of a pandera schema check the types in which batches are read."""
    import pandera.pandas as pandera

    if column.dtype == "int64":
        is_whole = pandera.Check(lambda values: values % 1 == 0, error="whole number")
        checked.checks = [*checked.checks, is_whole]
    if column.dtype == "float64":
        checked.checks = [*checked.checks, pandera.Check(np.isfinite, error="finite number")]
    batch_types = {"int64": "float64", "bool": "boolean"}
    checked.dtype = batch_types.get(column.dtype, column.dtype)
    checked.coerce = column.dtype in batch_types
    checked.unique = False
    checked.nullable = column.nullable


def failed_cells(schema, rows: pd.DataFrame) -> pd.DataFrame:  # type: ignore[no-untyped-def]
    """The cells of a table that break a rule.

    Args:
        schema: of `pandera_schema`.

    Returns:
        One row per cell and rule, with the columns row (from 0), column, rule and value.
    """
    import pandera.pandas as pandera

    try:
        schema.validate(rows, lazy=True)
    except pandera.errors.SchemaErrors as errors:
        cells = errors.failure_cases[["index", "column", "check", "failure_case"]]
        cells = cells.dropna(subset="index")
        cells.columns = ["row", "column", "rule", "value"]
        cells = cells.replace({"rule": {"not_nullable": NULL_NOT_ALLOWED}})
        return cells.astype({"row": int})
    return pd.DataFrame({"row": [], "column": [], "rule": [], "value": []})


def check_rows(schema, batch: pa.Table, first_row: int, violations: Violations) -> None:  # type: ignore[no-untyped-def]
    """Add the violations of a batch.

    Args:
        schema: of `pandera_schema`.
        first_row: the number of the batch's first row in the whole table, from 1.
    """
    cells = failed_cells(schema, batch.to_pandas())
    for (column, rule), group in cells.groupby(["column", "rule"], sort=False):
        rows = sorted(set(group["row"] + first_row))
        values = () if rule == NULL_NOT_ALLOWED else group["value"]
        violations.add(column, rule, rows, values)


def duplicate_ids(read_ids: Callable[[], Iterable[list[object]]]) -> dict[int, object]:
    """Find every row whose id an earlier row has.

    It takes about 16 bytes per row: hashes of ids are compared, and only ids with equal hashes are
    compared themselves.

    Args:
        read_ids: begins to read the ids, one list per batch; called again if two hashes are equal.

    Returns:
        {row number, from 1: id}.
    """
    batches = []
    for ids in read_ids():
        batches.append(np.array([hash(value) for value in ids], np.int64))
    if not batches:
        return {}
    hashes = np.sort(np.concatenate(batches))
    is_repeated = hashes[1:] == hashes[:-1]
    repeated = set(hashes[1:][is_repeated].tolist())
    if not repeated:
        return {}

    duplicates = {}
    seen = set()
    row = 0
    for ids in read_ids():
        for value in ids:
            row += 1
            is_null = value is None or value != value  # NaN
            if is_null or hash(value) not in repeated:
                continue
            if value in seen:
                duplicates[row] = value
            seen.add(value)
    return duplicates
