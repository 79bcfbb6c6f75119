"""Check a table against the contract: its columns, its rows, its ids. Every violation is collected."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from churn.data.arrow import kind_of
from churn.data.contract import Column, Contract
from churn.errors import UserError, short

NULL_NOT_ALLOWED = "null where none is allowed"
MORE_THAN_ONCE = (
    "column stands in the table more than once; give each a name of its own, or drop one"
)
MOST_SHOWN = 50  # violations of one message


@dataclass
class Violations:
    """What a table does against its contract, added up over the batches that it is read in."""

    found: dict[tuple[str, str], dict] = field(default_factory=dict)

    def add(self, column: str, rule: str, rows: Iterable[int] = (), values: Iterable = ()) -> None:
        """Note that these rows (counted from 1) of a column break a rule; no rows means the whole
        column does.
        """
        rows = list(rows)
        entry = self.found.setdefault((column, rule), {"count": 0, "rows": [], "values": []})
        entry["count"] += len(rows)
        entry["rows"] = (entry["rows"] + rows)[:5]
        entry["values"] = list(dict.fromkeys([*entry["values"], *map(short, values)]))[:3]

    def __str__(self) -> str:
        lines = []
        for (column, rule), entry in list(self.found.items())[:MOST_SHOWN]:
            line = f"  {column if column.strip() and len(column) <= 100 else short(column)}: {rule}"
            if entry["count"]:
                more = ", ..." if entry["count"] > len(entry["rows"]) else ""
                count = f"{entry['count']} row{'s' if entry['count'] > 1 else ''}"
                line += f"; {count}: {', '.join(map(str, entry['rows']))}{more}"
            if entry["values"]:
                line += f"; found {', '.join(entry['values'])}"
            lines.append(line)
        if len(self.found) > MOST_SHOWN:
            lines.append(f"  and {len(self.found) - MOST_SHOWN:,} more")
        return "\n".join(lines)


def column_violations(contract: Contract, schema) -> Violations:
    """Compare the columns of a table (a pyarrow schema) with the contract's: missing, unknown, of
    another type.
    """

    def fits(column: Column, arrow_type) -> bool:
        kind = kind_of(arrow_type)
        return (
            kind == column.kind or kind == "null"
        )  # where a null is allowed, all of a table's may be

    violations = Violations()
    for column in contract.columns.values():
        if column.name not in schema.names:
            violations.add(column.name, "missing column")
        elif schema.names.count(column.name) > 1:
            violations.add(column.name, MORE_THAN_ONCE)
        elif not fits(column, schema.field(column.name).type):
            found = schema.field(column.name).type
            violations.add(
                column.name, f"must be {column.dtype} ({column.kind}), the table has {found}"
            )
    for name in schema.names:
        if name not in contract.columns:
            violations.add(name, "unknown column; drop it or add it to the contract")
    return violations


def pandera_schema(contract: Contract, without: set[str]):
    """The contract as a pandera schema for record batches in `arrow_schema`'s types, less the
    columns that cannot be checked row by row. `unique` is left to the caller: a batch cannot see
    the other batches.
    """
    import pandera.pandas as pa

    try:
        schema = pa.DataFrameSchema.from_yaml(contract.text)
    except Exception as error:  # of whatever kind: pandera does not check what it reads
        raise UserError(
            f"{contract.path}: pandera cannot read it ({type(error).__name__}: {error})"
        ) from None
    schema = schema.remove_columns([name for name in schema.columns if name in without])
    for column in schema.columns.values():
        dtype = contract.columns[column.name].dtype
        if dtype == "int64":
            whole = pa.Check(lambda values: values % 1 == 0, error="whole number")
            column.checks = [*column.checks, whole]
        elif dtype == "float64":
            column.checks = [*column.checks, pa.Check(np.isfinite, error="finite number")]
        column.dtype = {"int64": "float64", "bool": "boolean"}.get(dtype, dtype)
        column.coerce = dtype in ("int64", "bool")
        column.unique = False
        column.nullable = contract.columns[column.name].nullable
    return schema


def failed_cells(schema, rows) -> pd.DataFrame:
    """What a pandas table does against `row_checks`: a line a failure, with row (from 0), column,
    rule and value.
    """
    import pandera.pandas as pa

    try:
        schema.validate(rows, lazy=True)
    except pa.errors.SchemaErrors as errors:
        found = errors.failure_cases[["index", "column", "check", "failure_case"]].dropna(
            subset="index"
        )
        found.columns = ["row", "column", "rule", "value"]
        return found.replace({"rule": {"not_nullable": NULL_NOT_ALLOWED}}).astype({"row": int})
    return pd.DataFrame({"row": [], "column": [], "rule": [], "value": []})


def check_rows(schema, batch, first_row: int, violations: Violations) -> None:
    """Validate a pyarrow table whose first row is number `first_row` (counted from 1) of the whole."""
    for (column, rule), group in failed_cells(schema, batch.to_pandas()).groupby(
        ["column", "rule"], sort=False
    ):
        values = () if rule == NULL_NOT_ALLOWED else group["value"]
        violations.add(column, rule, sorted(set(group["row"] + first_row)), values)


def duplicate_ids(ids: Callable[[], Iterable[list]]) -> dict[int, object]:
    """{row number: id} of every row whose id an earlier row has, rows counted from 1.

    Holds about 16 bytes a row: ids are compared by hash, and only those whose hashes meet are
    compared themselves.

    Args:
        ids: starts to read the ids, a list a batch; called a second time if two hashes meet.
    """
    hashes = np.concatenate([np.array([hash(id) for id in batch], np.int64) for batch in ids()])
    hashes.sort()
    suspects = set(hashes[1:][hashes[1:] == hashes[:-1]].tolist())
    seen, again, row = set(), {}, 0
    for batch in ids() if suspects else ():
        for id in batch:
            row += 1
            if id is not None and id == id and hash(id) in suspects:  # a null is None or NaN
                if id in seen:
                    again[row] = id
                seen.add(id)
    return again
