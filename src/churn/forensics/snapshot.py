"""Read what a checkout of a model holds: its code, packages, parameters and table."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from churn import paths
from churn.files import md5, read_yaml, text_md5
from churn.forensics.recipe import Recipe
from churn.params import flatten

# Along these, two models can differ; the order in which they are shown.
AXES = ("code", "data", "parameters", "randomness", "environment")
# What holds where an older params.yaml lacks these.
LABELLING_DEFAULTS: dict[str, object] = {
    "data.negative": None,
    "data.unlabelled": "refuse",
    "data.time": None,
}
COMMAND_OF = "command of "


@dataclass(frozen=True)
class Snapshot:
    """One of two models that are compared: its recipe, and a checkout of it."""

    recipe: Recipe
    folder: Path
    code: dict[str, str]  # {path: md5} of the files that a stage runs, and of the commands
    packages: dict[str, str]  # {package: version} of the lock
    own_parameters: dict[str, Any]  # its params.yaml: every parameter that the code knows
    table: pd.DataFrame = field(repr=False, compare=False)

    @property
    def key(self) -> list[str]:
        """The columns that identify a row: the id, and the period if there is one."""
        names = [self.own_parameters.get("data.id"), self.own_parameters.get("data.time")]
        return [str(name) for name in names if name is not None]

    @property
    def roles(self) -> tuple[object, ...]:
        """The names that belong to the data: id, target and positive label."""
        names = ("data.id", "data.target", "data.positive")
        return tuple(self.own_parameters.get(name) for name in names)

    @property
    def labelling(self) -> dict[str, object]:
        """The rest of the section `data`, which decides what is a row of the data."""
        parameters = self.own_parameters
        return {name: parameters.get(name, value) for name, value in LABELLING_DEFAULTS.items()}

    @property
    def data_settings(self) -> list[object]:
        """What identifies the data beside its bytes: roles, and labelling unlike the default."""
        unlike_default = [
            setting
            for setting in self.labelling.items()
            if setting not in LABELLING_DEFAULTS.items()
        ]
        return [*self.roles, *unlike_default]

    @property
    def schema(self) -> Path:
        """The contract in the checkout."""
        return self.folder / paths.SCHEMA

    @property
    def raw(self) -> Path:
        """The raw table in the checkout."""
        return self.folder / paths.RAW

    @property
    def parameters(self) -> dict[str, object]:
        """The recorded parameters, without the seed and those that belong to the data."""
        parameters = {}
        for name, value in self.recipe.params.items():
            if name != "seed" and not name.startswith("data."):
                parameters[name] = value
        return parameters

    @property
    def seed(self) -> int:
        """The seed of its params.yaml."""
        return int(self.own_parameters["seed"])

    def axis_md5s(self) -> dict[str, str]:
        """One short identity per axis: two models that agree in one have that axis in common."""
        data = [self.recipe.data_md5, md5(self.schema), self.data_settings]
        return {
            "code": json_md5(self.code),
            "data": json_md5(data),
            "parameters": json_md5(self.parameters),
            "randomness": str(self.seed),
            "environment": json_md5(self.packages),
        }


def read_snapshot(recipe: Recipe, folder: Path) -> Snapshot:
    """Read a checkout of a model.

    Args:
        folder: of workspace.checkout.
    """
    requirements = (folder / "requirements.txt").read_text()
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", requirements, re.M)
    parameters = flatten(read_yaml(folder / "params.yaml"))
    table = pd.read_parquet(folder / paths.RAW)
    return Snapshot(recipe, folder, _read_code(folder), dict(pins), parameters, table)


def json_md5(content: object) -> str:
    """One md5 over anything that JSON can hold."""
    return text_md5(json.dumps(content, sort_keys=True))


def _read_code(folder: Path) -> dict[str, str]:
    """The md5 of each file that a stage runs, and of the command of each stage."""
    stages = read_yaml(folder / "dvc.yaml")["stages"]
    outs: set[str] = set()
    deps: set[str] = set()
    for stage in stages.values():
        outs.update(map(str, stage.get("outs", ())))
        deps.update(stage.get("deps", ()))
    data = {str(paths.RAW), str(paths.SCHEMA)}
    code = {}
    for path in sorted(deps - outs - data):
        if (folder / path).is_file():
            code[path] = md5(folder / path)
    for name, stage in stages.items():
        code[f"{COMMAND_OF}{name}"] = text_md5(stage["cmd"])
    return code
