"""params.yaml, typed and checked: an unknown name, a wrong type or a value out of range ends the
run.
"""

import difflib
import hashlib
import json
import random
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from churn.errors import UserError
from churn.files import read_yaml

Share = Field(gt=0, lt=1)


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


Label = str | int | float | bool


class Data(Section):
    id: str
    target: str
    positive: Label
    negative: list[Label] | None = Field(min_length=1)
    unlabelled: Literal["refuse", "drop"]

    @property
    def roles(self) -> tuple[str, str, Label]:
        """What contract.load takes: the id, the target and the label of who churned."""
        return self.id, self.target, self.positive

    @model_validator(mode="after")
    def name_each_thing_once(self):
        if self.id == self.target:
            raise ValueError(f"id and target are the same column, {self.id!r}")
        if self.negative and self.positive in self.negative:
            raise ValueError(f"negative lists {self.positive!r}, which is positive")
        return self


class Split(Section):
    valid: float = Share
    test: float = Share

    @model_validator(mode="after")
    def leave_rows_to_train_on(self):
        if self.valid + self.test >= 1:
            raise ValueError(
                f"valid + test is {self.valid + self.test:g}, which leaves nothing to train on"
            )
        return self


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
    costs: Costs


class Gate(Section):
    min_roc_auc: float = Field(ge=0, le=1)
    max_calibration_error: float = Field(ge=0, le=1)
    max_auc_drop: float = Field(ge=0, le=1)
    require_reproduced: bool = Field(exclude=True)  # asked at promotion: no parameter of a model


class Registry(Section):
    model: str = Field(min_length=1)


class Monitor(Section):
    max_psi: float = Field(gt=0)
    max_invalid: float = Field(ge=0, le=1)
    max_auc_drop: float = Field(ge=0, le=1)


class Range(Section):
    low: int | float
    high: int | float
    log: bool = False

    @model_validator(mode="after")
    def rise(self):
        if not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} has no logarithm; it must be above 0")
        return self


class Sweep(Section):
    trials: int = Field(ge=1)
    folds: int = Field(ge=1)
    space: dict[str, Range] = Field(min_length=1)


class Params(Section):
    seed: int = Field(ge=0, lt=2**31)
    data: Data
    split: Split
    train: Train
    evaluate: Evaluate
    gate: Gate
    registry: Registry
    # What follows makes no model: it is no parameter of one, and no part of its identity.
    monitor: Monitor = Field(exclude=True)
    sweep: Sweep = Field(exclude=True)

    def flat(self) -> dict[str, object]:
        """Every parameter of a model by its dotted name: {"train.max_depth": 4, ...}."""
        return flatten(self.model_dump())

    @model_validator(mode="after")
    def search_what_train_takes(self):
        for name, ends in self.sweep.space.items():
            for end in (ends.low, ends.high):
                try:
                    Train.model_validate(self.train.model_dump() | {name: end})
                except ValidationError as error:
                    said = error.errors()[0]
                    what = (
                        "train has no such parameter"
                        if said["type"] == "extra_forbidden"
                        else said["msg"]
                    )
                    raise ValueError(f"sweep.space.{name}: {what} (got {end!r})") from None
        return self


def parameter_names(section: type[BaseModel] = Params, prefix: str = "") -> list[str]:
    """The dotted name of every parameter of a model, in the order of params.yaml."""
    found = []
    for key, field in section.model_fields.items():
        if field.exclude:
            continue
        nested = isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
        found += (
            parameter_names(field.annotation, f"{prefix}{key}.") if nested else [f"{prefix}{key}"]
        )
    return found


def flatten(tree: dict, prefix: str = "") -> dict[str, object]:
    """{"train": {"max_depth": 4}} as {"train.max_depth": 4}."""
    leaves = {}
    for key, value in tree.items():
        leaves |= (
            flatten(value, f"{prefix}{key}.")
            if isinstance(value, dict)
            else {f"{prefix}{key}": value}
        )
    return leaves


def parameters_digest(leaves: dict[str, object]) -> str:
    """md5 over all parameters: two runs with the same digest were asked for the same thing."""
    return hashlib.md5(json.dumps(leaves, sort_keys=True).encode()).hexdigest()


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


def validate_params(tree: object, where: str | Path) -> Params:
    """The parameters of a tree as params.yaml holds it.

    Raises:
        UserError: as `load`; `where` is what the message names as their place.
    """
    try:
        return Params.model_validate(tree)
    except ValidationError as error:
        raise UserError(
            f"{where}:\n" + "\n".join(f"  {_fault(e)}" for e in error.errors())
        ) from None


def _fault(error: dict) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if not name:  # a rule between sections names the parameter itself
        return error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":  # a rule of a section says which of its values it means
        return f"{name}: {error['msg'].removeprefix('Value error, ')}"
    if error["type"] == "extra_forbidden":
        tops = {n.split(".")[0] for n in parameter_names()}
        valid = [
            *parameter_names(),
            *parameter_names(Monitor, "monitor."),
            *parameter_names(Sweep, "sweep."),
            *tops,
            "monitor",
            "sweep",
        ]
        valid += ["gate.require_reproduced"]
        nearest = difflib.get_close_matches(name, valid, n=1, cutoff=0)[0]
        return f"{name}: no such parameter; did you mean {nearest}?"
    if error["type"] == "missing":
        return f"{name}: missing; add it"
    return f"{name}: {error['msg']} (got {error['input']!r})"
