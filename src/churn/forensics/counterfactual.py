"""Runs of the pipeline that never happened: the code of one model on the data, parameters, seed or
packages of another.

Each is the commit's own stages, run in a temporary checkout (workspace.worker) and scored by them.
What came out is kept in .dvc/tmp/why by what went in, so that the second time is free; `rm -r
.dvc/tmp/why` forgets it.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from churn import paths
from churn.errors import UserError
from churn.files import md5, reading
from churn.forensics import difference, locked_environment, workspace

TEST = str(paths.SPLITS["test"])
RUN_AGAIN = "`rm -r .dvc/tmp/why` has it run again"  # what was kept of earlier answers


@dataclass(frozen=True)
class Table:
    """A raw table with its contract, and the side whose names of id, target and positive label go
    with it.
    """

    raw: Path
    schema: Path
    names: difference.Side

    @property
    def identity(self) -> list:
        return [md5(self.raw), md5(self.schema), self.names.naming]


def own_table(side: difference.Side) -> Table:
    """The table of a side, apart from its checkout, in which tables come and go."""
    kept = side.folder / ".dvc/tmp/own"
    if not kept.exists():
        kept.mkdir(parents=True)
        shutil.copyfile(side.raw, kept / "raw.parquet")
        shutil.copyfile(side.schema, kept / "schema.yaml")
    return Table(kept / "raw.parquet", kept / "schema.yaml", side)


def put_back(a: difference.Side, b: difference.Side, names: list[str], folder: Path) -> Table:
    """B's table with A's values in these columns, by customer id.

    A customer who is not in A keeps B's value, or has none where B has no such column.
    """
    id = a.roles[0]
    table, left = b.table.copy(), a.table.set_index(id)
    known = table[id].isin(left.index)
    for name in names:
        if name not in left:
            table = table.drop(columns=name)
            continue
        values = left[name].reindex(table[id]).set_axis(table.index)
        if name in table and difference.kind(table[name]) == difference.kind(left[name]):
            values = values.where(known, table[name])
        if not values.isna().any():
            values = values.astype(left[name].dtype)
        elif left[name].dtype.kind == "b":
            values = values.astype("boolean")
        table[name] = values
    folder.mkdir()
    table.to_parquet(folder / "raw.parquet", index=False)
    _mix_contracts(a, b, names, bool(known.all()), folder / "schema.yaml")
    return Table(folder / "raw.parquet", folder / "schema.yaml", b)


def _mix_contracts(
    a: difference.Side, b: difference.Side, names: list[str], all_known: bool, path: Path
) -> None:
    """B's contract with A's rules for these columns; a column with values of both has neither's
    ranges.
    """
    ours, theirs = (
        yaml.load(own_table(side).schema.read_text(), yaml.CSafeLoader) for side in (a, b)
    )
    if ours["columns"] == theirs["columns"]:
        shutil.copyfile(own_table(b).schema, path)
        return
    rules = {}
    for name in dict.fromkeys(
        [*theirs["columns"], *names]
    ):  # in B's order, which is that of the model's features
        old, new = ours["columns"].get(name), theirs["columns"].get(name)
        if name not in names:
            rules[name] = new
        elif old and old != new and not all_known:
            allowed = dict.fromkeys([*old.get("isin", ()), *(new or {}).get("isin", ())])
            rules[name] = {
                "dtype": old["dtype"],
                "nullable": True,
                **({"isin": list(allowed)} if allowed else {}),
            }
        elif old:
            rules[name] = old
    theirs["columns"] = rules
    path.write_text(yaml.safe_dump(theirs, sort_keys=False))


def workers(stack: contextlib.ExitStack) -> Callable[[difference.Side], Callable]:
    """Gives the worker (workspace.worker) with a side's packages; one that was started goes on
    until the stack ends.
    """
    started = {}

    def worker(packages: difference.Side) -> Callable:
        lock = packages.recipe.lock_md5
        if lock not in started:
            started[lock] = stack.enter_context(
                workspace.worker(locked_environment.environment_for(packages.folder))
            )
        return started[lock]

    return worker


class Pipelines:
    """Runs any combination of two sides: `metrics` and `splits`. Counts what it ran and what it
    knew already.
    """

    def __init__(
        self, a: difference.Side, b: difference.Side, worker: Callable[[difference.Side], Callable]
    ):
        """Args:
        worker: gives the function that runs the stages with the packages of a side (`workers`).
        """
        self.a, self.b, self.worker = a, b, worker
        self.kept = paths.project_root() / ".dvc/tmp/why"
        self.asked, self.seconds = (
            set(),
            [],
        )  # combinations asked for; the time of each that had to be run
        self.after_run: Callable[[], None] = lambda: None
        own_table(a), own_table(b)

    def leaves(
        self, code: difference.Side, given: difference.Side, names: difference.Side, seed: int
    ) -> dict[str, object]:
        """The parameters of a combination.

        One that the code does not know is left out; one that only this code knows stays as its own
        params.yaml has it.
        """
        wanted = given.leaves | {"seed": seed}
        wanted |= dict(zip(("data.id", "data.target", "data.positive"), names.roles, strict=True))
        wanted |= names.labelling
        known = {**self.a.recipe.params, **self.b.recipe.params, **wanted}
        return {name: wanted.get(name, own) for name, own in code.own.items() if name in known}

    def unknown(self) -> list[str]:
        """What is said of parameters that only one side's code knows."""
        return [
            f"{name} is a parameter of {side} only: the other code runs without it"
            for side, one, other in (("A", self.a, self.b), ("B", self.b, self.a))
            for name in one.leaves
            if name not in other.own
        ]

    def metrics(
        self,
        code: difference.Side,
        table: Table,
        given: difference.Side,
        seed: int,
        packages: difference.Side,
        test: Path | None = None,
    ) -> dict[str, float]:
        """What the pipeline measures with the code, the parameters (`given`) and the packages of
        these sides.

        Args:
            test: rows to measure on instead of the combination's own test split.
        """
        path = self._made(code, table, given, seed, packages, test) / "metrics.json"
        with reading(path, RUN_AGAIN):
            return json.loads(path.read_text())

    def splits(
        self,
        code: difference.Side,
        table: Table,
        given: difference.Side,
        seed: int,
        packages: difference.Side,
    ) -> dict[str, pd.DataFrame]:
        """The ids of the customers in train and in valid, and the whole of test."""
        folder = self._made(code, table, given, seed, packages, None, keep=True)
        with reading(folder, RUN_AGAIN):
            return {name: pd.read_parquet(folder / f"{name}.parquet") for name in paths.SPLITS}

    def _made(self, code, table, given, seed, packages, test, keep: bool = False) -> Path:
        leaves = self.leaves(code, given, table.names, seed)
        content = [
            code.code,
            table.identity,
            leaves,
            packages.packages,
            md5(test) if test else None,
        ]
        folder = self.kept / difference.digest(content)
        if not (folder / ("test.parquet" if keep else "metrics.json")).exists():
            start = time.monotonic()
            self._run(code, table, leaves, packages, test, folder, keep)
            self.seconds.append(time.monotonic() - start)
        if folder.name not in self.asked:
            self.asked.add(folder.name)
            self.after_run()
        return folder

    def _run(self, code, table, leaves, packages, test, folder: Path, keep: bool) -> None:
        """Run the stages in the code's checkout, and keep what they measured."""
        stages = self.worker(packages)
        shutil.copyfile(table.raw, code.raw)
        shutil.copyfile(table.schema, code.schema)
        workspace.set_params(code.folder, leaves)
        try:
            made = stages(code.folder, {TEST: test} if test else None)
        except UserError as error:
            raise UserError(f"{self.named(code, table, packages)}: {error}") from None
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        if keep:
            for name, path in paths.SPLITS.items():
                columns = None if name == "test" else [table.names.roles[0]]
                pd.read_parquet(code.folder / path, columns=columns).to_parquet(
                    part / f"{name}.parquet", index=False
                )
        (part / "metrics.json").write_text(json.dumps(made["metrics"]))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)

    def named(self, code: difference.Side, table: Table, packages: difference.Side) -> str:
        """For an error message: which combination."""
        sides = {id(self.a): "A", id(self.b): "B"}
        data = sides[id(table.names)]
        return f"the code of {sides[id(code)]} on the data of {data} with the packages of {sides[id(packages)]}"
