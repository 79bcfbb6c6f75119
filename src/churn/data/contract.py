"""The data contract, data/schema.yaml (pandera's YAML form): columns, types, ranges, allowed
values.

It validates the raw table, orders and encodes the features, makes the MLflow signature, checks rows
at scoring, and lists the columns that monitoring compares.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml

from churn import paths
from churn.errors import UserError, short

if TYPE_CHECKING:  # a logged model carries this module, and needs no pydantic
    from churn.params import Params

SCORE_COLUMNS = ("churn_probability", "churn")  # what the model gives
RESERVED_COLUMNS = (
    *SCORE_COLUMNS,
    *(f"{name}_{place}" for name in ("reason", "contribution") for place in (1, 2, 3)),
)
KINDS = {"str": "text", "int64": "number", "float64": "number", "bool": "flag"}

Label = str | int | float | bool


@dataclass(frozen=True)
class Column:
    """One column: `kind` is number, text or flag; `allowed` its values, for a text the categories
    in order; `low` and `high` the ends of its range, both within it.
    """

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
        """Every column but the id and the target, in the contract's order: the order the model
        sees.
        """
        return [c for c in self.columns.values() if c.name not in (self.id, self.target)]


def load_contract(path: str | Path, id: str, target: str, positive: Label) -> Contract:
    """Read a contract and check that a model can be made from it.

    Raises:
        UserError: the file is no pandera schema, the id, target or positive label is not in it, or
            a feature has a type the model cannot take.
    """
    faults, columns, written = [], {}, read_rules(path)
    for name, rules in written.items():
        try:
            columns[name] = _column(name, rules, name in (id, target))
        except (ValueError, TypeError, AttributeError) as error:
            faults.append(f"column {name}: {error}")
    for role, name in (("id", id), ("target", target)):
        if name not in written:
            faults.append(
                f"data.{role} in params.yaml is {name!r}, which is no column of the contract"
            )
    if id in RESERVED_COLUMNS:
        faults.append(
            f"data.id is {id!r}, which is a column of the scores; give the column another name in the table"
        )
    if target in columns:
        columns[target] = _target(columns[target])
        # Labels compare by value: 1, 1.0 and true are one label, which is kept as the contract
        # writes it.
        meant = [label for label in columns[target].allowed if label == positive]
        listed = f"not an allowed value (`isin`) of the target {target!r}: {_listed(columns[target].allowed)}"
        faults += [] if meant else [f"data.positive is {positive!r}, {listed}"]
        positive = meant[0] if meant else positive
    if faults:
        raise UserError(f"{path}:\n" + "\n".join(f"  {fault}" for fault in faults))
    return Contract(
        Path(path), id, target, positive, columns, Path(path).read_text(encoding="utf-8")
    )


def load_project_contract(parameters: "Params") -> Contract:
    """Read the project's contract, data/schema.yaml, for the id, target and label of params.yaml.

    Raises:
        UserError: as `load_contract`.
    """
    data = parameters.data
    return load_contract(paths.SCHEMA, data.id, data.target, data.positive)


def read_rules(path: str | Path) -> dict[str, dict]:
    """The rules of each column as a contract's file has them."""
    try:
        written = yaml.load(Path(path).read_text(encoding="utf-8"), yaml.CSafeLoader)["columns"]
        return {name: dict(rules) for name, rules in written.items()}
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}; `python src/infer_schema.py TABLE` writes one"
        ) from None
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
        raise ValueError(
            f"`isin` of a text has {other[0]!r}, which is no text; quote each value, as in 'No'"
        )
    return Column(
        name, rules["dtype"], kind, rules.get("nullable", False), allowed, *range_limits(rules)
    )


def _target(column: Column) -> Column:
    """The target's column: never null, whatever the file says (who has no label is nobody to learn
    from); the labels of a flag are false and true.
    """
    allowed = column.allowed
    if column.kind == "flag":
        allowed = tuple(bool(label) for label in allowed) or (False, True)
    return replace(column, nullable=False, allowed=allowed)


def _listed(values: Iterable) -> str:
    return ", ".join(short(value) for value in values) or "it lists none"


def range_limits(rules: dict) -> tuple[float, float]:
    """The lowest and the highest number that a column's rules (in pandera's words) let pass."""
    span = rules.get("in_range", {})
    low, high = span.get("min_value", -np.inf), span.get("max_value", np.inf)
    low = low if span.get("include_min", True) else np.nextafter(low, np.inf)
    high = high if span.get("include_max", True) else np.nextafter(high, -np.inf)
    low = max(
        low,
        rules.get("greater_than_or_equal_to", -np.inf),
        np.nextafter(rules.get("greater_than", -np.inf), np.inf),
    )
    high = min(
        high,
        rules.get("less_than_or_equal_to", np.inf),
        np.nextafter(rules.get("less_than", np.inf), -np.inf),
    )
    return float(low), float(high)


def free_name(name: str, taken: Iterable[str]) -> str:
    """A name for a column of the product's own beside those of the user: `name`, with an underscore
    for each time that it is taken. The user's columns keep theirs.
    """
    taken = set(taken)
    while name in taken:
        name += "_"
    return name
