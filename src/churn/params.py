"""params.yaml, typed and checked.

An unknown name, a wrong type or a value out of range ends the run. A new parameter is a line in
params.yaml and a field here; dvc.yaml names whole sections, or single parameters of one.
"""

import difflib
import json
import random
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from churn import param_checks
from churn.errors import UserError
from churn.files import read_yaml, text_md5

Share = Field(gt=0, lt=1)


class Section(BaseModel):
    """A section of params.yaml: every name is known, and no value is converted to another type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Label = str | int | float | bool
Event = Literal["gate", "alarm", "promotion"]


class Data(Section):
    id: str
    time: str | None
    target: str
    positive: Label
    negative: list[Label] | None = Field(min_length=1)
    unlabelled: Literal["refuse", "drop"]

    @model_validator(mode="after")
    def _check_columns_and_labels(self) -> Self:
        return param_checks.without_faults(self, param_checks.data_faults(self))


class Split(Section):
    by: Literal["customer", "time"]
    valid: float = Share
    test: float = Share
    gap: int = Field(ge=0)

    @model_validator(mode="after")
    def _check_training_share_and_gap(self) -> Self:
        return param_checks.without_faults(self, param_checks.split_faults(self))


class Train(Section):
    device: Literal["cpu", "cuda"]
    threads: int = Field(ge=0)
    rounds: int = Field(ge=1)
    early_stopping: int = Field(ge=1)
    learning_rate: float = Field(gt=0, le=1)
    max_depth: int = Field(ge=1, le=30)
    min_child_weight: float = Field(ge=0)
    subsample: float = Field(gt=0, le=1)
    colsample_bytree: float = Field(gt=0, le=1)
    reg_lambda: float = Field(ge=0)


class Costs(Section):
    saved_customer: float = Field(gt=0)
    contact: float = Field(ge=0)
    save_chance: float = Field(gt=0, le=1)


class Evaluate(Section):
    bootstrap: int = Field(ge=100)
    backtest: int | None = Field(ge=2)
    segments: list[str] | None = Field(min_length=1)
    suspicious_auc: float = Field(gt=0.5, le=1)
    costs: Costs


class Gate(Section):
    min_roc_auc: float = Field(ge=0, le=1)
    max_calibration_error: float = Field(ge=0, le=1)
    max_auc_drop: float = Field(ge=0, le=1)
    min_gain_over_baseline: float | None = Field(ge=-1, le=1)
    min_backtest_auc: float | None = Field(ge=0, le=1)
    max_segment_auc_drop: float | None = Field(ge=0, le=1)
    min_segment_rows: int = Field(ge=100)  # smaller ones are not measured (modeling/segments.py)
    refuse_leakage: bool
    # only operations and forensics
    require_reproduced: bool = Field(exclude=True)  # read at promotion: no parameter of a model
    # end


class Registry(Section):
    model: str = Field(min_length=1)


# only operations
class Monitor(Section):
    max_psi: float = Field(gt=0)
    max_invalid: float = Field(ge=0, le=1)
    max_auc_drop: float = Field(ge=0, le=1)


# end
# only experiments
class Range(Section):
    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def _check_ends(self) -> Self:
        faults = param_checks.range_faults(self.low, self.high, self.log)
        return param_checks.without_faults(self, faults)


class Sweep(Section):
    trials: int = Field(ge=1)
    folds: int = Field(ge=1)
    space: dict[str, Range] = Field(min_length=1)


# end
class Params(Section):
    seed: int = Field(ge=0, lt=2**31)
    data: Data
    features: list[str] | None = Field(min_length=1)
    split: Split
    train: Train
    evaluate: Evaluate
    gate: Gate
    registry: Registry
    # What is excluded makes no model: it is no parameter of one, and no part of its identity.
    notify: list[Event] | None = Field(min_length=1, exclude=True)
    # only operations
    monitor: Monitor = Field(exclude=True)
    # end
    # only experiments
    sweep: Sweep = Field(exclude=True)
    # end

    def flat(self) -> dict[str, object]:
        """Every parameter of a model by its dotted name: {"train.max_depth": 4, ...}."""
        return flatten(self.model_dump())

    @model_validator(mode="after")
    def _check_what_needs_another(self) -> Self:
        return param_checks.without_faults(self, param_checks.faults_between_sections(self))


def parameter_names(
    section: type[BaseModel] = Params, prefix: str = "", with_excluded: bool = False
) -> list[str]:
    """The dotted name of every parameter of a model, in the order of params.yaml.

    Args:
        with_excluded: also those that do not influence a model.
    """
    names = []
    for key, field in section.model_fields.items():
        if field.exclude and not with_excluded:
            continue
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += parameter_names(kind, f"{prefix}{key}.", with_excluded)
        else:
            names.append(f"{prefix}{key}")
    return names


def flatten(tree: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Turn {"train": {"max_depth": 4}} into {"train.max_depth": 4}."""
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            leaves |= flatten(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def parameters_digest(parameters: dict[str, Any]) -> str:
    """One md5 over all parameters: two runs with the same digest had the same settings."""
    return text_md5(json.dumps(parameters, sort_keys=True))


def load_params(path: str | Path = "params.yaml") -> Params:
    """Read and check the parameters.

    Raises:
        UserError: every unknown, missing, mistyped or out-of-range parameter, with the nearest
            valid name.
    """
    if not Path(path).exists():
        raise UserError(f"{path}: No such file or directory; run this from the root of the project")
    return validate_params(read_yaml(path), path)


def seed_global_generators(seed: int) -> None:
    """Seed Python's and NumPy's global random generators, as every stage does first.

    The code of this project draws from generators of its own, made from `seed`. The global ones are
    seeded too, so that a line added tomorrow cannot forget it.
    """
    random.seed(seed)
    np.random.seed(seed)


def validate_params(tree: object, source: str | Path) -> Params:
    """Check parameters in the form of params.yaml.

    Args:
        source: where they come from, as an error message names it.

    Raises:
        UserError: as `load_params`.
    """
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        lines = [f"{source}:"]
        for fault in error.errors():
            lines += [f"  {line}" for line in _describe_fault(dict(fault)).split("\n")]
        raise UserError("\n".join(lines)) from None


def _describe_fault(fault: dict[str, Any]) -> str:
    """One line for a fault that pydantic found; one for each fault of a check (param_checks.py)."""
    name = ".".join(str(part) for part in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if not name:  # a check of several sections names the parameter itself
        return message
    if fault["type"] == "value_error":  # a check of a section says which of its values it means
        return "\n".join(f"{name}: {line}" for line in message.split("\n"))
    if fault["type"] == "extra_forbidden":
        nearest = difflib.get_close_matches(name, _known_names(), n=1, cutoff=0)[0]
        return f"{name}: no such parameter; did you mean {nearest}?"
    if fault["type"] == "missing":
        return f"{name}: missing; add it"
    return f"{name}: {message} (got {fault['input']!r})"


def _known_names() -> list[str]:
    """Every name in params.yaml, sections too."""
    return [*parameter_names(with_excluded=True), *Params.model_fields]
