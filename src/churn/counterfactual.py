"""Runs of the pipeline that never happened: the code of one model on the data, parameters, seed or packages of another.

Each is the commit's own stages, run in a temporary checkout (workspace.worker) and scored by them. What came out is
kept in .dvc/tmp/why by what went in, so that the second time is free; `rm -r .dvc/tmp/why` forgets it.
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

from churn import attribution, difference, lineage, tracking, workspace
from churn.difference import Side
from churn.errors import UserError

TEST = str(lineage.SPLITS["test"])


@dataclass(frozen=True)
class Table:
    """A raw table with its contract, and the side whose names of id, target and positive label go with it."""

    raw: Path
    schema: Path
    names: Side

    @property
    def identity(self) -> list:
        return [lineage.md5(self.raw), lineage.md5(self.schema), self.names.roles]


def own_table(side: Side) -> Table:
    """The table of a side, apart from its checkout, in which tables come and go."""
    kept = side.folder.parent / "own"
    if not kept.exists():
        kept.mkdir()
        shutil.copyfile(side.raw, kept / "raw.parquet")
        shutil.copyfile(side.schema, kept / "schema.yaml")
    return Table(kept / "raw.parquet", kept / "schema.yaml", side)


def put_back(a: Side, b: Side, names: list[str], folder: Path) -> Table:
    """B's table with A's values in these columns, by customer id. A customer who is not in A keeps B's value, or has
    none where B has no such column."""
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


def _mix_contracts(a: Side, b: Side, names: list[str], all_known: bool, path: Path) -> None:
    """B's contract with A's rules for these columns; a column with values of both has neither's ranges."""
    ours, theirs = (yaml.load(own_table(side).schema.read_text(), yaml.CSafeLoader) for side in (a, b))
    if ours["columns"] == theirs["columns"]:
        shutil.copyfile(own_table(b).schema, path)
        return
    rules = {}
    for name in dict.fromkeys([*theirs["columns"], *names]):  # in B's order, which is that of the model's features
        old, new = ours["columns"].get(name), theirs["columns"].get(name)
        if name not in names:
            rules[name] = new
        elif old and old != new and not all_known:
            allowed = dict.fromkeys([*old.get("isin", ()), *(new or {}).get("isin", ())])
            rules[name] = {"dtype": old["dtype"], "nullable": True, **({"isin": list(allowed)} if allowed else {})}
        elif old:
            rules[name] = old
    theirs["columns"] = rules
    path.write_text(yaml.safe_dump(theirs, sort_keys=False))


def workers(stack: contextlib.ExitStack) -> Callable[[Side], Callable]:
    """Gives the worker (workspace.worker) with a side's packages; one that was started goes on until the stack ends."""
    started = {}

    def worker(packages: Side) -> Callable:
        lock = packages.recipe.lock_md5
        if lock not in started:
            started[lock] = stack.enter_context(workspace.worker(workspace.environment(packages.folder)))
        return started[lock]

    return worker


class Pipelines:
    """Runs any combination of two sides: `metrics` and `splits`. Counts what it ran and what it knew already."""

    def __init__(self, a: Side, b: Side, worker: Callable[[Side], Callable]):
        """Args:
        worker: gives the function that runs the stages with the packages of a side (`workers`).
        """
        self.a, self.b, self.worker = a, b, worker
        self.kept = tracking.root() / ".dvc/tmp/why"
        self.asked, self.seconds = set(), []  # combinations asked for; the time of each that had to be run
        self.after_run: Callable[[], None] = lambda: None
        own_table(a), own_table(b)

    def leaves(self, code: Side, given: Side, names: Side, seed: int) -> dict[str, object]:
        """The parameters of a combination. One that the code does not know is left out; one that only this code knows
        stays as its own params.yaml has it."""
        wanted = given.leaves | {"seed": seed}
        wanted |= dict(zip(("data.id", "data.target", "data.positive"), names.roles, strict=True))
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
        self, code: Side, table: Table, given: Side, seed: int, packages: Side, test: Path | None = None
    ) -> dict[str, float]:
        """What the pipeline measures with the code, the parameters (`given`) and the packages of these sides.

        Args:
            test: rows to measure on instead of the combination's own test split.
        """
        return json.loads((self._made(code, table, given, seed, packages, test) / "metrics.json").read_text())

    def splits(self, code: Side, table: Table, given: Side, seed: int, packages: Side) -> dict[str, pd.DataFrame]:
        """The ids of the customers in train and in valid, and the whole of test."""
        folder = self._made(code, table, given, seed, packages, None, keep=True)
        return {name: pd.read_parquet(folder / f"{name}.parquet") for name in lineage.SPLITS}

    def _made(self, code, table, given, seed, packages, test, keep: bool = False) -> Path:
        leaves = self.leaves(code, given, table.names, seed)
        content = [code.code, table.identity, leaves, packages.packages, lineage.md5(test) if test else None]
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
            for name, path in lineage.SPLITS.items():
                columns = None if name == "test" else [table.names.roles[0]]
                pd.read_parquet(code.folder / path, columns=columns).to_parquet(part / f"{name}.parquet", index=False)
        (part / "metrics.json").write_text(json.dumps(made["metrics"]))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)

    def named(self, code: Side, table: Table, packages: Side) -> str:
        """For an error message: which combination."""
        sides = {id(self.a): "A", id(self.b): "B"}
        data = sides[id(table.names)]
        return f"the code of {sides[id(code)]} on the data of {data} with the packages of {sides[id(packages)]}"


@dataclass
class Cause:
    """A change, what it did to the metric, and the figures of its noise."""

    axis: str
    what: str  # for a table: "column tenure"
    because: str  # for a sentence: "column tenure changed in the data"
    contribution: float
    noise: float  # one standard deviation over seeds
    within_noise: bool  # whether chance alone explains it, with 95 % confidence


class Comparison:
    """The change of one metric between two sides, taken apart."""

    def __init__(self, pipelines: Pipelines, metric: str, seeds: int):
        self.pipelines, self.metric = pipelines, metric
        self.a, self.b = pipelines.a, pipelines.b
        self.axes = difference.axes(self.a, self.b)
        numbers = (seed for seed in range(1, seeds + 3) if seed not in (self.a.seed, self.b.seed))
        self.seeds = [next(numbers) for _ in range(seeds)]
        # What the data axis passes through on its way from A to B, and the causes named by its steps.
        self.tables, self.parts = [own_table(self.a), own_table(self.b)], []

    def figure(self, at: dict[str, int], seed: int | None = None) -> float:
        """The metric where each axis has gone these steps from A; with a seed, of a rerun with that one."""

        def side(axis: str) -> Side:
            return self.b if at.get(axis) else self.a

        table = self.tables[at["data"]] if "data" in at else self.tables[0]
        seed = side("randomness").seed if seed is None else seed
        return self.measured(side("code"), table, side("parameters"), seed, side("environment"))

    def measured(self, *combination, test: Path | None = None) -> float:
        """The metric of a combination of `Pipelines.metrics`."""
        found = self.pipelines.metrics(*combination, test)
        if self.metric not in found:
            raise UserError(f"the pipeline measures no {self.metric}; it measures {', '.join(found)}")
        return found[self.metric]

    def ends(self, seed: int | None = None) -> tuple[float, float]:
        """The figures of A and of B."""
        last = len(self.tables) - 1
        return self.figure({}, seed), self.figure({axis: last if axis == "data" else 1 for axis in self.axes}, seed)

    def split_data(self, folder: Path) -> None:
        """Find the steps of the data axis: put A's columns back into B's table, the most drifted first, until what is
        left of the difference is within noise; what is left, and customers who came or went, is the last step."""
        if "data" not in self.axes:
            return
        if not difference.same_ids(self.a, self.b):
            self.parts = [("the data", "the data changed (its customers cannot be matched by id)")]
            return
        names = difference.to_put_back(difference.columns(self.a, self.b))
        people = difference.customers(self.a, self.b)
        others = {axis: 1 for axis in self.axes if axis != "data"}
        start, tables, done = self.tables[0], [self.tables[1]], []
        while len(names) > len(done) and not (len(names) == len(done) + 1 and not people["came"] + people["went"]):
            self.tables = [start, tables[-1]]
            gaps = [self.figure({**others, "data": 1}, s) - self.figure({**others, "data": 0}, s) for s in self.draws]
            if attribution.within_noise(gaps):
                break
            done.append(names[len(done)])
            tables.append(put_back(self.a, self.b, done, folder / f"table{len(done)}"))
        left = names[len(done) :]
        if len(left) == 1 and not people["came"] + people["went"]:
            done.append(left[0])
            tables.append(start)
        self.tables = [start, *reversed(tables)] if tables[-1] is not start else list(reversed(tables))
        self.parts = [(f"column {name}", f"column {name} changed in the data") for name in reversed(done)]
        if len(self.parts) < len(self.tables) - 1:
            self.parts.insert(0, rest(names[len(done) :], people))

    @property
    def draws(self) -> list[int | None]:
        """The seeds of the reported run (None) and of the reruns."""
        return [None, *self.seeds]

    def contributions(self, axes: list[str], seed: int | None) -> list[list[float]]:
        """The Shapley values of the steps of these axes; the other ones stay at A."""
        steps = [len(self.tables) - 1 if axis == "data" else 1 for axis in axes]
        return attribution.shapley(lambda place: self.figure(dict(zip(axes, place, strict=True)), seed), steps)

    def causes(self) -> list[Cause]:
        """Every step of every axis with its contribution, the largest first. They add up to the change of `ends`."""
        reported = dict(zip(self.axes, self.contributions(self.axes, None), strict=True))
        still = [axis for axis in self.axes if axis != "randomness"]
        reruns = [dict(zip(still, self.contributions(still, seed), strict=True)) for seed in self.seeds]
        found = []
        for axis, values in reported.items():
            named = self.parts if axis == "data" else [said(axis, self.a, self.b)]
            for step, (value, (what, because)) in enumerate(zip(values, named, strict=True)):
                if axis == "randomness":  # a single draw: reruns with other seeds have no step from A's to B's
                    noise = self.luck()
                    chance = abs(value) <= attribution.limit(noise, len(self.draws))
                else:
                    draws = [value, *(rerun[axis][step] for rerun in reruns)]
                    noise, chance = attribution.spread(draws), attribution.within_noise(draws)
                found.append(Cause(axis, what, because, value, noise, chance))
        return sorted(found, key=lambda cause: (cause.within_noise, -abs(cause.contribution)))

    def luck(self) -> float:
        """The standard deviation of the difference between two seeds: sqrt(2) times that over seeds, A's and B's
        taken together."""
        pairs = [self.ends(seed) for seed in self.seeds]
        a, b = self.ends()
        spreads = [attribution.spread([own, *(pair[i] for pair in pairs)]) for i, own in enumerate((a, b))]
        return float((2 * (spreads[0] ** 2 + spreads[1] ** 2) / 2) ** 0.5)

    def noise(self) -> float:
        """The standard deviation of the whole difference over seeds."""
        draws = [b - a for a, b in map(self.ends, self.draws if "randomness" not in self.axes else self.seeds)]
        own = self.luck() if "randomness" in self.axes else 0.0
        return float((attribution.spread(draws) ** 2 + own**2) ** 0.5)

    def two_by_two(self, folder: Path) -> tuple[list[list[float | None]], list[list[int]]]:
        """Both models on both test splits: figures[model][test], and on how many customers.

        A model is only asked about customers that it has not seen in training: with another seed, most of the other
        model's test customers were in its own training split. None: it cannot score them, or none are left.
        """
        ends = [(s, own_table(s), s, s.seed, s) for s in (self.a, self.b)]
        splits = [self.pipelines.splits(*end) for end in ends]
        figures, counts = [[None, None], [None, None]], [[0, 0], [0, 0]]
        for model in (0, 1):
            for test in (0, 1):
                rows, path = splits[test]["test"], None
                if model != test and not splits[0]["test"].equals(splits[1]["test"]):
                    mine, id = splits[model], ends[model][0].roles[0]
                    if id not in rows:
                        continue
                    seen = pd.concat([mine["train"][id], mine["valid"][id]])
                    rows = rows[~rows[id].isin(seen)]
                    path = folder / f"test-of-{'AB'[test]}-for-{'AB'[model]}.parquet"
                    rows.to_parquet(path, index=False)
                counts[model][test] = len(rows)
                if path is None:
                    figures[model][test] = self.measured(*ends[model])
                    continue
                with contextlib.suppress(UserError):  # its contract does not know these values
                    figures[model][test] = self.measured(*ends[model], test=path)
        return figures, counts


def rest(names: list[str], people: dict[str, int]) -> tuple[str, str]:
    """What is called the step of the data axis that is left when columns were put back."""
    came = [f"{people[way]:,} customers {way}" for way in ("came", "went") if people[way]]
    listed = f"columns {', '.join(names)}" if len(names) > 1 else f"column {names[0]}" if names else ""
    words = [*came, *([listed] if listed else [])] or ["order of the rows, or contract"]
    return " and ".join(words), " and ".join([*came, *([f"{listed} changed"] if listed else [])] or words)


def said(axis: str, a: Side, b: Side) -> tuple[str, str]:
    """What a change along an axis is called in a table and in a sentence."""

    def some(names: list[str]) -> str:
        return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")

    if axis == "code":
        names = difference.changed(a.code, b.code).index.tolist()
        return f"code: {some(names)}", f"the code changed ({some(names)})"
    if axis == "parameters":
        table = difference.changed(a.leaves, b.leaves)
        if len(table) == 1:
            name, (old, new) = table.index[0], table.iloc[0]
            return f"{name} {old} → {new}", f"{name} went from {old} to {new}"
        return (
            f"parameters: {some(table.index.tolist())}",
            f"{len(table)} parameters changed ({some(list(table.index))})",
        )
    if axis == "randomness":
        return f"seed {a.seed} → {b.seed}", f"the seed went from {a.seed} to {b.seed}"
    names = difference.changed(a.packages, b.packages).index.tolist()
    return f"packages: {some(names)}", f"packages changed ({some(names)})"
