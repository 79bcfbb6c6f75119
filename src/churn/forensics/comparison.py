"""The change of one metric between two models, taken apart: which difference made how much, and how
sure that is.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from churn.errors import UserError
from churn.forensics import attribution, counterfactual, difference


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

    def __init__(self, pipelines: counterfactual.Pipelines, metric: str, seeds: int):
        self.pipelines, self.metric = pipelines, metric
        self.a, self.b = pipelines.a, pipelines.b
        self.axes = difference.axes(self.a, self.b)
        numbers = (seed for seed in range(1, seeds + 3) if seed not in (self.a.seed, self.b.seed))
        self.seeds = [next(numbers) for _ in range(seeds)]
        # What the data axis passes through on its way from A to B, and the causes named by its
        # steps.
        self.tables, self.parts = (
            [counterfactual.own_table(self.a), counterfactual.own_table(self.b)],
            [],
        )

    def figure(self, at: dict[str, int], seed: int | None = None) -> float:
        """The metric where each axis has gone these steps from A; with a seed, of a rerun with that
        one.
        """

        def side(axis: str) -> difference.Side:
            return self.b if at.get(axis) else self.a

        table = self.tables[at["data"]] if "data" in at else self.tables[0]
        seed = side("randomness").seed if seed is None else seed
        return self.measured(side("code"), table, side("parameters"), seed, side("environment"))

    def measured(self, *combination, test: Path | None = None) -> float:
        """The metric of a combination of `Pipelines.metrics`."""
        found = self.pipelines.metrics(*combination, test)
        if self.metric not in found:
            raise UserError(
                f"the pipeline measures no {self.metric}; it measures {', '.join(found)}"
            )
        return found[self.metric]

    def ends(self, seed: int | None = None) -> tuple[float, float]:
        """The figures of A and of B."""
        last = len(self.tables) - 1
        return self.figure({}, seed), self.figure(
            {axis: last if axis == "data" else 1 for axis in self.axes}, seed
        )

    def runs(self, steps: int) -> int:
        """How many runs of the pipeline it takes, if the data axis has so many steps."""
        places = 2 ** len(self.axes)
        if "data" in self.axes:
            places = places // 2 * (steps + 1)
        reruns = places // 2 if "randomness" in self.axes else places
        return places + len(self.seeds) * reruns + 2  # and each model on the other's test split

    def most_steps(self) -> int:
        """Into how many steps `split_data` takes the data axis at most."""
        if "data" not in self.axes or not difference.same_ids(self.a, self.b):
            return 1
        people = difference.customers(self.a, self.b)
        columns = difference.to_put_back(difference.columns(self.a, self.b))
        return max(1, len(columns) + bool(people["came"] + people["went"]))

    def split_data(self, folder: Path) -> None:
        """Find the steps of the data axis: put A's columns back into B's table, the most drifted
        first, until what is left of the difference is within noise; what is left, and customers who
        came or went, is the last step.
        """
        if "data" not in self.axes:
            return
        if not difference.same_ids(self.a, self.b):
            self.parts = [("the data", "the data changed (its customers cannot be matched by id)")]
            return
        names = difference.to_put_back(difference.columns(self.a, self.b))
        people = difference.customers(self.a, self.b)
        others = {axis: 1 for axis in self.axes if axis != "data"}
        start, tables, done = self.tables[0], [self.tables[1]], []
        while len(names) > len(done) and not (
            len(names) == len(done) + 1 and not people["came"] + people["went"]
        ):
            self.tables = [start, tables[-1]]
            gaps = [
                self.figure({**others, "data": 1}, s) - self.figure({**others, "data": 0}, s)
                for s in self.draws
            ]
            if attribution.within_noise(gaps):
                break
            done.append(names[len(done)])
            tables.append(
                counterfactual.put_back(self.a, self.b, done, folder / f"table{len(done)}")
            )
        left = names[len(done) :]
        if len(left) == 1 and not people["came"] + people["went"]:
            done.append(left[0])
            tables.append(start)
        self.tables = (
            [start, *reversed(tables)] if tables[-1] is not start else list(reversed(tables))
        )
        self.parts = [
            (f"column {name}", f"column {name} changed in the data") for name in reversed(done)
        ]
        if len(self.parts) < len(self.tables) - 1:
            self.parts.insert(0, unexplained_rest(names[len(done) :], people))

    @property
    def draws(self) -> list[int | None]:
        """The seeds of the reported run (None) and of the reruns."""
        return [None, *self.seeds]

    def contributions(self, axes: list[str], seed: int | None) -> list[list[float]]:
        """The Shapley values of the steps of these axes; the other ones stay at A."""
        steps = [len(self.tables) - 1 if axis == "data" else 1 for axis in axes]
        return attribution.shapley(
            lambda place: self.figure(dict(zip(axes, place, strict=True)), seed), steps
        )

    def causes(self) -> list[Cause]:
        """Every step of every axis with its contribution, the largest first.

        They add up to the change of `ends`.
        """
        reported = dict(zip(self.axes, self.contributions(self.axes, None), strict=True))
        still = [axis for axis in self.axes if axis != "randomness"]
        reruns = [
            dict(zip(still, self.contributions(still, seed), strict=True)) for seed in self.seeds
        ]
        found = []
        for axis, values in reported.items():
            named = self.parts if axis == "data" else [effect_sentence(axis, self.a, self.b)]
            for step, (value, (what, because)) in enumerate(zip(values, named, strict=True)):
                if (
                    axis == "randomness"
                ):  # a single draw: reruns with other seeds have no step from A's to B's
                    noise = self.luck()
                    chance = abs(value) <= attribution.limit(noise, len(self.draws))
                else:
                    draws = [value, *(rerun[axis][step] for rerun in reruns)]
                    noise, chance = attribution.spread(draws), attribution.within_noise(draws)
                found.append(Cause(axis, what, because, value, noise, chance))
        return sorted(found, key=lambda cause: (cause.within_noise, -abs(cause.contribution)))

    def luck(self) -> float:
        """The standard deviation of the difference between two seeds: sqrt(2) times that over
        seeds, A's and B's taken together.
        """
        pairs = [self.ends(seed) for seed in self.seeds]
        a, b = self.ends()
        spreads = [
            attribution.spread([own, *(pair[i] for pair in pairs)]) for i, own in enumerate((a, b))
        ]
        return float((2 * (spreads[0] ** 2 + spreads[1] ** 2) / 2) ** 0.5)

    def noise(self) -> float:
        """The standard deviation of the whole difference over seeds."""
        draws = [
            b - a
            for a, b in map(self.ends, self.draws if "randomness" not in self.axes else self.seeds)
        ]
        own = self.luck() if "randomness" in self.axes else 0.0
        return float((attribution.spread(draws) ** 2 + own**2) ** 0.5)

    def two_by_two(self, folder: Path) -> tuple[list[list[float | None]], list[list[int]]]:
        """Both models on both test splits: figures[model][test], and on how many customers.

        A model is only asked about customers that it has not seen in training: with another seed,
        most of the other model's test customers were in its own training split. None: it cannot
        score them, or none are left.
        """
        ends = [(s, counterfactual.own_table(s), s, s.seed, s) for s in (self.a, self.b)]
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


def unexplained_rest(names: list[str], people: dict[str, int]) -> tuple[str, str]:
    """What is called the step of the data axis that is left when columns were put back."""
    came = [f"{people[way]:,} customers {way}" for way in ("came", "went") if people[way]]
    listed = (
        f"columns {', '.join(names)}" if len(names) > 1 else f"column {names[0]}" if names else ""
    )
    words = [*came, *([listed] if listed else [])] or ["order of the rows, or contract"]
    return " and ".join(words), " and ".join(
        [*came, *([f"{listed} changed"] if listed else [])] or words
    )


def effect_sentence(axis: str, a: difference.Side, b: difference.Side) -> tuple[str, str]:
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
