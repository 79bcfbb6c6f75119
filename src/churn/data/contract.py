"""The data contract: the columns of a churn table, their types, ranges and allowed values.

It is data/schema.yaml in pandera's YAML form. It validates the raw table (validation.py), orders
and encodes the features, makes the MLflow signature, and checks the rows that a model is asked
about. A logged model carries this module.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from churn.data.contract_file import Rules, parse_rules, range_limits, read_text
from churn.data.features import FEATURES, feature_faults
from churn.errors import UserError, short

Label = str | int | float | bool

SCORE_COLUMNS = ("churn_probability", "churn")  # the output of the model
REASON_COLUMNS = tuple(f"reason_{number}" for number in (1, 2, 3))
CONTRIBUTION_COLUMNS = tuple(f"contribution_{number}" for number in (1, 2, 3))
CAMPAIGN_COLUMNS = ("expected_value", "action")  # what follows from the output and the costs
RESERVED_COLUMNS = (*SCORE_COLUMNS, *CAMPAIGN_COLUMNS, *REASON_COLUMNS, *CONTRIBUTION_COLUMNS)

KINDS = {
    "str": "text",
    "int64": "number",
    "float64": "number",
    "bool": "flag",
    "datetime64[ns]": "time",
}
TIME_TYPES = ("datetime64[ns]", "int64")  # of the column data.time


@dataclass(frozen=True)
class Column:
    """One column of the contract."""

    name: str
    dtype: str  # str, int64, float64, bool or datetime64[ns]
    kind: str  # text, number, flag or time
    nullable: bool
    allowed: tuple[Label, ...] = ()  # its values; of a text the categories, in order
    low: float = -np.inf  # the ends of its range, both within it
    high: float = np.inf
    title: str = ""  # in words, of a derived feature

    @property
    def label(self) -> str:
        """What plots and reasons call it."""
        return self.title or self.name


@dataclass(frozen=True)
class Contract:
    """The columns of a churn table, and which of them are the id and the target."""

    path: Path
    id: str
    target: str
    positive: Label  # the label of customers who churned
    columns: dict[str, Column]
    text: str  # the whole file
    derived: tuple[Column, ...] = ()  # what a model gets beside `features`; see features.py
    time: str | None = None  # the column with the period of a row; then an id may come once in each

    @property
    def labels(self) -> tuple[Label, ...]:
        """Every known label: those of customers who churned, and those of customers who stayed."""
        return self.columns[self.target].allowed

    @property
    def features(self) -> list[Column]:
        """What a caller of the model sends: every column without a role, in order."""
        roles = (self.id, self.target, self.time)
        return [column for column in self.columns.values() if column.name not in roles]

    @property
    def key(self) -> list[str]:
        """The columns that identify a row: the id, and the period if there is one."""
        return [self.id] if self.time is None else [self.id, self.time]

    @property
    def row_noun(self) -> str:
        """What messages call a row: a "customer", or a "row" where a customer has several."""
        return "customer" if self.time is None else "row"

    @property
    def model_columns(self) -> list[Column]:
        """What the booster sees, in its order: the features, and those derived from them."""
        return [*self.features, *self.derived]


def with_derived(contract: Contract, names: Iterable[str]) -> Contract:
    """The contract of a model that also gets these derived features.

    Raises:
        UserError: one is not in features.py, or needs a column that the contract lacks.
    """
    names = list(names)
    faults = feature_faults(names, [column.name for column in contract.features])
    if faults:
        lines = [f"  {fault}" for fault in faults]
        raise UserError("\n".join(["params.yaml:", *lines]))
    derived = []
    for name in names:
        derived.append(Column(name, "float64", "number", True, title=FEATURES[name].title))
    return replace(contract, derived=tuple(derived))


def load_contract(
    path: str | Path, id_column: str, target: str, positive: Label, time: str | None = None
) -> Contract:
    """Read a contract and check that a model can be made from it.

    Args:
        time: the column with the period of a row, if there is one.

    Raises:
        UserError: with every fault: the file is no pandera schema; the id, the target or the
            positive label is not in it; a feature has a type that the model cannot take.
    """
    text = read_text(path)
    rules_by_column = parse_rules(text, path)
    columns, faults = _parse_columns(rules_by_column, (id_column, target, time))
    faults += _faults_of_roles(rules_by_column, id_column, target, time)
    if time in columns:
        faults += _faults_of_time(columns[time])
        columns[time] = replace(columns[time], nullable=False)
    if target in columns:
        columns[target] = _as_target(columns[target])
        # Labels are compared by value: 1, 1.0 and true are one label, kept as the contract has it.
        allowed = columns[target].allowed
        if positive in allowed:
            positive = allowed[allowed.index(positive)]
        else:
            listed = ", ".join(map(short, allowed)) or "it lists none"
            faults.append(
                f"data.positive is {positive!r}, not an allowed value (`isin`) of the target "
                f"{target!r}: {listed}"
            )

    if faults:
        lines = [f"  {fault}" for fault in faults]
        raise UserError("\n".join([f"{path}:", *lines]))
    return Contract(Path(path), id_column, target, positive, columns, text, time=time)


def _parse_columns(
    rules_by_column: Mapping[str, Rules], roles: tuple[str | None, ...]
) -> tuple[dict[str, Column], list[str]]:
    """The columns without a fault, and the faults of the others."""
    columns: dict[str, Column] = {}
    faults = []
    for name, rules in rules_by_column.items():
        try:
            columns[name] = _parse_column(name, rules, is_feature=name not in roles)
        except (ValueError, TypeError, AttributeError) as error:
            faults.append(f"column {name}: {error}")
    return columns, faults


def _faults_of_time(column: Column) -> list[str]:
    """What is wrong with the column that holds the period of a row."""
    if column.dtype in TIME_TYPES:
        return []
    fault = f"data.time is {column.name!r} of dtype {column.dtype}"
    return [f"{fault}; it must be one of {', '.join(TIME_TYPES)}"]


def _faults_of_roles(
    columns: Iterable[str], id_column: str, target: str, time: str | None
) -> list[str]:
    """What is wrong with the names that params.yaml gives for id, target and period."""
    faults = []
    for role, name in (("id", id_column), ("target", target), ("time", time)):
        if name is not None and name not in columns:
            faults.append(
                f"data.{role} in params.yaml is {name!r}, which is no column of the contract"
            )
    for role, name in (("id", id_column), ("time", time)):
        if name in RESERVED_COLUMNS:
            faults.append(
                f"data.{role} is {name!r}, which is a column of the scores; give the column "
                "another name in the table"
            )
    return faults


def free_name(name: str, taken: Iterable[str]) -> str:
    """A name for a column of our own beside the user's columns, which keep theirs.

    Returns:
        `name`, with as many underscores behind it as it takes to differ from all of `taken`.
    """
    taken = set(taken)
    while name in taken:
        name += "_"
    return name


def _parse_column(name: object, rules: Rules, is_feature: bool) -> Column:
    """One column of the contract.

    Raises:
        ValueError: a fault of the column, in words.
    """
    # In YAML an unquoted 1 is a number, and for some readers an unquoted No is false.
    if not isinstance(name, str):
        raise ValueError("the name is no text; quote it")
    dtype = rules.get("dtype")
    if dtype not in KINDS:
        raise ValueError(f"dtype {dtype} (must be one of {', '.join(KINDS)})")

    kind = KINDS[dtype]
    nullable = rules.get("nullable", False)
    if kind == "time":
        if is_feature:
            raise ValueError(
                "a date is no feature; turn it into a number (days until the row's date), or name "
                "it as data.time in params.yaml if it is the row's own date"
            )
        return Column(name, dtype, kind, nullable)  # pandera checks its range
    allowed = tuple(rules.get("isin") or ())
    if kind == "text":
        if is_feature and not allowed:
            raise ValueError(
                "text without `isin`, its allowed values; list them or drop the column"
            )
        for value in allowed:
            if not isinstance(value, str):
                raise ValueError(
                    f"`isin` of a text has {value!r}, which is no text; quote each value, as in "
                    "'No'"
                )
    low, high = range_limits(rules)
    return Column(name, dtype, kind, nullable, allowed, low, high)


def _as_target(column: Column) -> Column:
    """The target is never null, whatever the file says; labels of a flag are false and true."""
    allowed = column.allowed
    if column.kind == "flag":
        allowed = tuple(bool(label) for label in allowed) or (False, True)
    return replace(column, nullable=False, allowed=allowed)
