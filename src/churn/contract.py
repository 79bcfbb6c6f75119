"""The data contract, data/schema.yaml (pandera's YAML form): columns, types, ranges, allowed values.

It validates the raw table, orders and encodes the features, makes the MLflow signature, checks rows at scoring,
and lists the columns that monitoring compares.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from churn.errors import UserError, short

NULL = "null where none is allowed"
SCORES = ("churn_probability", "churn")  # what the model gives
SCORES_OWN = (*SCORES, *(f"{name}_{place}" for name in ("reason", "contribution") for place in (1, 2, 3)))
KINDS = {"str": "text", "int64": "number", "float64": "number", "bool": "flag"}
MORE_THAN_ONCE = "column stands in the table more than once; give each a name of its own, or drop one"
MOST_SHOWN = 50  # violations of one message

Label = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """One column: `kind` is number, text or flag; `allowed` its values, for a text the categories in order; `low` and
    `high` the ends of its range, both within it."""

    name: str
    dtype: str
    kind: str
    nullable: bool
    allowed: tuple = ()
    low: float = -np.inf
    high: float = np.inf


@dataclass(frozen=True)
class Contract:
    """The columns of a churn table, and which of them are the row id, the target and the features."""

    path: Path
    id: str
    target: str
    positive: Label
    columns: dict[str, Column]
    text: str  # the whole file

    @property
    def labels(self) -> tuple:
        """Every label that is known: what a customer has who churned, and what one has who stayed."""
        return self.columns[self.target].allowed

    @property
    def features(self) -> list[Column]:
        """Every column but the id and the target, in the contract's order: the order the model sees."""
        return [c for c in self.columns.values() if c.name not in (self.id, self.target)]

    def signature(self):
        """The MLflow signature: the features in, probability and decision out."""
        from mlflow.models import ModelSignature
        from mlflow.types import ColSpec, Schema

        # A flag is a double too: for a boolean MLflow's server makes true of 2 and of "false", and false of null.
        inputs = Schema([ColSpec("string" if c.kind == "text" else "double", c.name) for c in self.features])
        return ModelSignature(inputs, Schema([ColSpec("double", SCORES[0]), ColSpec("boolean", SCORES[1])]))


def load(path: str | Path, id: str, target: str, positive: Label) -> Contract:
    """Read a contract and check that a model can be made from it.

    Raises:
        UserError: the file is no pandera schema, the id, target or positive label is not in it, or a feature
            has a type the model cannot take.
    """
    faults, columns, written = [], {}, read(path)
    for name, rules in written.items():
        try:
            columns[name] = _column(name, rules, name in (id, target))
        except (ValueError, TypeError, AttributeError) as error:
            faults.append(f"column {name}: {error}")
    for role, name in (("id", id), ("target", target)):
        if name not in written:
            faults.append(f"data.{role} in params.yaml is {name!r}, which is no column of the contract")
    if id in SCORES_OWN:
        faults.append(f"data.id is {id!r}, which is a column of the scores; give the column another name in the table")
    if target in columns:
        columns[target] = _target(columns[target])
        # Labels compare by value: 1, 1.0 and true are one label, which is kept as the contract writes it.
        meant = [label for label in columns[target].allowed if label == positive]
        listed = f"not an allowed value (`isin`) of the target {target!r}: {_listed(columns[target].allowed)}"
        faults += [] if meant else [f"data.positive is {positive!r}, {listed}"]
        positive = meant[0] if meant else positive
    if faults:
        raise UserError(f"{path}:\n" + "\n".join(f"  {fault}" for fault in faults))
    return Contract(Path(path), id, target, positive, columns, Path(path).read_text(encoding="utf-8"))


def read(path: str | Path) -> dict[str, dict]:
    """The rules of each column as a contract's file has them."""
    try:
        written = yaml.load(Path(path).read_text(encoding="utf-8"), yaml.CSafeLoader)["columns"]
        return {name: dict(rules) for name, rules in written.items()}
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; `python src/infer_schema.py TABLE` writes one") from None
    except yaml.MarkedYAMLError as error:
        what = f"line {error.problem_mark.line + 1}: {error.problem}"
        way_out = f"keep one side of a conflict of git, or `git checkout {path}` brings the committed one back"
        raise UserError(f"{path} is no valid YAML ({what}); {way_out}") from None
    except (yaml.YAMLError, TypeError, KeyError, ValueError, AttributeError):
        raise UserError(f"{path} is no pandera schema (a mapping with `columns:`)") from None


def _column(name: str, rules: dict, is_no_feature: bool) -> Column:
    kind = KINDS.get(rules.get("dtype"))
    if not isinstance(name, str):  # in YAML an unquoted 1 is a number, an unquoted No is false
        raise ValueError("the name is no text; quote it")
    if kind is None:
        raise ValueError(f"dtype {rules.get('dtype')} (must be one of {', '.join(KINDS)})")
    allowed = tuple(rules.get("isin") or ())
    if kind == "text" and not allowed and not is_no_feature:
        raise ValueError("text without `isin`, its allowed values; list them or drop the column")
    if kind == "text" and (other := [value for value in allowed if not isinstance(value, str)]):
        # In YAML an unquoted No is false.
        raise ValueError(f"`isin` of a text has {other[0]!r}, which is no text; quote each value, as in 'No'")
    return Column(name, rules["dtype"], kind, rules.get("nullable", False), allowed, *ends(rules))


def _target(column: Column) -> Column:
    """The target's column: never null, whatever the file says (who has no label is nobody to learn from); the labels
    of a flag are false and true."""
    allowed = column.allowed
    if column.kind == "flag":
        allowed = tuple(bool(label) for label in allowed) or (False, True)
    return replace(column, nullable=False, allowed=allowed)


def _listed(values: Iterable) -> str:
    return ", ".join(short(value) for value in values) or "it lists none"


def ends(rules: dict) -> tuple[float, float]:
    """The lowest and the highest number that a column's rules (in pandera's words) let pass."""
    span = rules.get("in_range", {})
    low, high = span.get("min_value", -np.inf), span.get("max_value", np.inf)
    low = low if span.get("include_min", True) else np.nextafter(low, np.inf)
    high = high if span.get("include_max", True) else np.nextafter(high, -np.inf)
    low = max(
        low, rules.get("greater_than_or_equal_to", -np.inf), np.nextafter(rules.get("greater_than", -np.inf), np.inf)
    )
    high = min(high, rules.get("less_than_or_equal_to", np.inf), np.nextafter(rules.get("less_than", np.inf), -np.inf))
    return float(low), float(high)


@dataclass
class Violations:
    """What a table does against its contract, added up over the batches that it is read in."""

    found: dict[tuple[str, str], dict] = field(default_factory=dict)

    def add(self, column: str, rule: str, rows: Iterable[int] = (), values: Iterable = ()) -> None:
        """Note that these rows (counted from 1) of a column break a rule; no rows means the whole column does."""
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


def own_name(name: str, taken: Iterable[str]) -> str:
    """A name for a column of the product's own beside those of the user: `name`, with an underscore for each time that
    it is taken. The user's columns keep theirs."""
    taken = set(taken)
    while name in taken:
        name += "_"
    return name


def open_table(path: Path):
    """Open a Parquet file as pyarrow's ParquetFile, or say why that cannot be done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise UserError(f"{path} is missing; `dvc pull {path}.dvc` fetches it")
    try:
        table = pq.ParquetFile(path, pre_buffer=False)  # a pre-buffered file stays in memory until it is closed
    except (pa.ArrowException, OSError):
        raise UserError(f"{path} is not a Parquet file; write it with pandas' `to_parquet`") from None
    if table.metadata.num_rows == 0:
        raise UserError(f"{path} is empty: it has columns but no rows")
    return table


def arrow_schema(contract: Contract):
    """The pyarrow schema of the splits. Every number and flag is a double, as a caller of the model sends it: an
    integer column could hold no missing value. Only id and target keep their types."""
    import pyarrow as pa

    fields = {c.name: pa.string() if c.kind == "text" else pa.float64() for c in contract.columns.values()}
    if contract.columns[contract.id].dtype == "int64":
        fields[contract.id] = pa.int64()
    if contract.columns[contract.target].kind == "flag":
        fields[contract.target] = pa.bool_()
    return pa.schema(fields.items())


def kind_of(arrow_type) -> str:
    """What a column of a pyarrow type holds: number, text, flag, null (nothing at all), or "" where it is none."""
    import pyarrow.types as at

    if at.is_dictionary(arrow_type):
        return kind_of(arrow_type.value_type)
    if at.is_null(arrow_type) or at.is_boolean(arrow_type):
        return "null" if at.is_null(arrow_type) else "flag"
    if at.is_string(arrow_type) or at.is_large_string(arrow_type) or at.is_string_view(arrow_type):
        return "text"
    is_number = at.is_integer(arrow_type) or at.is_floating(arrow_type) or at.is_decimal(arrow_type)
    return "number" if is_number else ""


def converted(values, arrow_type):
    """The values (a pyarrow array) of a column that `check_columns` lets pass, in a type of `arrow_schema`. A number
    becomes the nearest double.

    Raises:
        pyarrow.ArrowInvalid: a number is not whole, or too large, where the type is a whole number (an id).
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as at

    if at.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if at.is_floating(arrow_type):
        return _doubles(values).cast(arrow_type, safe=False)
    if at.is_floating(values.type):
        values = values.cast(pa.float64())
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    return values.cast(arrow_type)


def _doubles(values):
    """Numbers as the doubles that their shortest texts mean: 0.1 of a float32 or of a decimal in a Parquet file is the
    0.1 of a CSV, as an id, a label, at the end of a range. (A cast makes 0.10000000149 of the one, and of the other
    now and then the double beside it.)"""
    import pyarrow as pa

    if pa.types.is_float16(values.type):  # Arrow writes its exact value, not the shortest text
        numbers = values.to_numpy(zero_copy_only=False)
        return pa.array(numbers.astype(str).astype("float64"), from_pandas=True)
    if pa.types.is_float32(values.type) or pa.types.is_decimal(values.type):
        return values.cast(pa.string()).cast(pa.float64())
    return values


def check_columns(contract: Contract, schema) -> Violations:
    """Compare the columns of a table (a pyarrow schema) with the contract's: missing, unknown, of another type."""
    def fits(column: Column, arrow_type) -> bool:
        kind = kind_of(arrow_type)
        return kind == column.kind or kind == "null"  # where a null is allowed, all of a table's may be

    violations = Violations()
    for column in contract.columns.values():
        if column.name not in schema.names:
            violations.add(column.name, "missing column")
        elif schema.names.count(column.name) > 1:
            violations.add(column.name, MORE_THAN_ONCE)
        elif not fits(column, schema.field(column.name).type):
            found = schema.field(column.name).type
            violations.add(column.name, f"must be {column.dtype} ({column.kind}), the table has {found}")
    for name in schema.names:
        if name not in contract.columns:
            violations.add(name, "unknown column; drop it or add it to the contract")
    return violations


def row_checks(contract: Contract, without: set[str]):
    """The contract as a pandera schema for record batches in `arrow_schema`'s types, less the columns that cannot be
    checked row by row. `unique` is left to the caller: a batch cannot see the other batches."""
    import pandera.pandas as pa

    try:
        schema = pa.DataFrameSchema.from_yaml(contract.text)
    except Exception as error:  # of whatever kind: pandera does not check what it reads
        raise UserError(f"{contract.path}: pandera cannot read it ({type(error).__name__}: {error})") from None
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


def failures(schema, rows) -> pd.DataFrame:
    """What a pandas table does against `row_checks`: a line a failure, with row (from 0), column, rule and value."""
    import pandera.pandas as pa

    try:
        schema.validate(rows, lazy=True)
    except pa.errors.SchemaErrors as errors:
        found = errors.failure_cases[["index", "column", "check", "failure_case"]].dropna(subset="index")
        found.columns = ["row", "column", "rule", "value"]
        return found.replace({"rule": {"not_nullable": NULL}}).astype({"row": int})
    return pd.DataFrame({"row": [], "column": [], "rule": [], "value": []})


def check_rows(schema, batch, first_row: int, violations: Violations) -> None:
    """Validate a pyarrow table whose first row is number `first_row` (counted from 1) of the whole."""
    for (column, rule), group in failures(schema, batch.to_pandas()).groupby(["column", "rule"], sort=False):
        values = () if rule == NULL else group["value"]
        violations.add(column, rule, sorted(set(group["row"] + first_row)), values)


def duplicates(ids: Callable[[], Iterable[list]]) -> dict[int, object]:
    """{row number: id} of every row whose id an earlier row has, rows counted from 1.

    Holds about 16 bytes a row: ids are compared by hash, and only those whose hashes meet are compared themselves.

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
