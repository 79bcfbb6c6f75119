"""Attribute the change of one metric between two models to its causes, with their noise."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from churn.errors import UserError
from churn.forensics import attribution, difference
from churn.forensics.causes import Cause, CauseNames, name_axis, name_remainder
from churn.forensics.counterfactual import (
    Combination,
    CombinationRunner,
    measured_on,
    own_combination,
)
from churn.forensics.snapshot import Snapshot
from churn.forensics.tables import LabelledTable, restore_columns, table_of

CANNOT_MATCH = CauseNames("the data", "the data changed (its customers cannot be matched by id)")


@dataclass
class ModelsByTestSplit:
    """Both models on both test splits: [model][test split]; None where a model cannot score it."""

    metrics: list[list[float | None]] = field(default_factory=lambda: [[None, None], [None, None]])
    customers: list[list[int]] = field(default_factory=lambda: [[0, 0], [0, 0]])


class Comparison:
    """The change of one metric between two models, A and B."""

    def __init__(self, runner: CombinationRunner, metric: str, reruns: int) -> None:
        self.runner, self.metric = runner, metric
        self.a, self.b = runner.a, runner.b
        self.axes = difference.different_axes(self.a, self.b)
        unused = [seed for seed in range(1, reruns + 3) if seed not in (self.a.seed, self.b.seed)]
        self.seeds = unused[:reruns]  # of the reruns
        # The tables through which the data axis goes from A to B, and the names of its steps.
        self.tables = [table_of(self.a), table_of(self.b)]
        self.data_steps: list[CauseNames] = []

    @property
    def draws(self) -> list[int | None]:
        """The seeds of the reported run (None: each model's own) and of the reruns."""
        return [None, *self.seeds]

    def metric_at(
        self,
        steps: dict[str, int],
        seed: int | None = None,
        tables: Sequence[LabelledTable] | None = None,
    ) -> float:
        """The metric where each axis has gone so many steps from A.

        Args:
            steps: by axis; an axis that is not in it is at A.
            seed: of a rerun; None for the models' own.
            tables: through which the data axis goes; by default `tables` of this comparison.
        """

        def model(axis: str) -> Snapshot:
            return self.b if steps.get(axis) else self.a

        if seed is None:
            seed = model("randomness").seed
        combination = Combination(
            model("code"),
            (tables or self.tables)[steps.get("data", 0)],
            model("parameters"),
            seed,
            model("environment"),
        )
        return self.measure(combination)

    def measure(self, combination: Combination) -> float:
        """The metric of a combination.

        Raises:
            UserError: the pipeline does not measure it.
        """
        metrics = self.runner.metrics(combination)
        if self.metric not in metrics:
            raise UserError(
                f"the pipeline measures no {self.metric}; it measures {', '.join(metrics)}"
            )
        return metrics[self.metric]

    def metric_of_both(self, seed: int | None = None) -> tuple[float, float]:
        """The metric of A and of B."""
        at_b = dict.fromkeys(self.axes, 1)
        if "data" in at_b:
            at_b["data"] = len(self.tables) - 1
        return self.metric_at({}, seed), self.metric_at(at_b, seed)

    def count_runs(self, data_steps: int) -> int:
        """How many runs of the pipeline it takes, if the data axis has so many steps."""
        positions = 2 ** len(self.axes)
        if "data" in self.axes:
            positions = positions // 2 * (data_steps + 1)
        # With the seed of a rerun, the axis of randomness does not move.
        per_rerun = positions // 2 if "randomness" in self.axes else positions
        on_other_test_split = 2
        return positions + len(self.seeds) * per_rerun + on_other_test_split

    def most_data_steps(self) -> int:
        """The number of steps into which `split_data` divides the data axis at most."""
        if "data" not in self.axes or not difference.can_match_customers(self.a, self.b):
            return 1
        customers = difference.customer_counts(self.a, self.b)
        columns = difference.restoration_order(difference.column_changes(self.a, self.b))
        return max(1, len(columns) + bool(customers["came"] + customers["went"]))

    def split_data(self, folder: Path) -> None:
        """Divide the data axis into steps, one per column whose change matters.

        A's columns are restored in B's table, the most drifted first, until what remains of the
        difference is within noise. What remains, and customers who came or went, is one step.

        Args:
            folder: for the tables in between.
        """
        if "data" not in self.axes:
            return
        if not difference.can_match_customers(self.a, self.b):
            self.data_steps = [CANNOT_MATCH]
            return

        table_a, table_b = self.tables
        columns = difference.restoration_order(difference.column_changes(self.a, self.b))
        customers = difference.customer_counts(self.a, self.b)
        have_moved = customers["came"] + customers["went"] > 0
        restored: list[str] = []
        tables = [table_b]  # B's table, each time with one more column restored
        while len(restored) < len(columns):
            is_last_difference = len(restored) == len(columns) - 1 and not have_moved
            if is_last_difference:  # with it restored, the table is A's own
                break
            if self._is_data_within_noise([table_a, tables[-1]]):
                break
            restored.append(columns[len(restored)])
            target = folder / f"table{len(restored)}"
            tables.append(restore_columns(self.a, self.b, restored, target))

        remaining = columns[len(restored) :]
        names = []
        if len(remaining) == 1 and not have_moved:
            restored.append(remaining[0])
        else:
            names.append(name_remainder(remaining, customers))
        for column in reversed(restored):
            names.append(CauseNames(f"column {column}", f"column {column} changed in the data"))
        self.tables = [table_a, *reversed(tables)]
        self.data_steps = names

    def _is_data_within_noise(self, tables: list[LabelledTable]) -> bool:
        """Whether chance explains the difference between two tables, all else being B's."""
        others = {axis: 1 for axis in self.axes if axis != "data"}
        gaps = []
        for seed in self.draws:
            before = self.metric_at({**others, "data": 0}, seed, tables)
            after = self.metric_at({**others, "data": 1}, seed, tables)
            gaps.append(after - before)
        return attribution.within_noise(gaps)

    def contributions(self, axes: list[str], seed: int | None) -> dict[str, list[float]]:
        """The Shapley values of the steps of these axes; the other axes stay at A."""
        steps_of = dict.fromkeys(axes, 1) | {"data": len(self.tables) - 1}
        steps = [steps_of[axis] for axis in axes]

        def value(position: attribution.Position) -> float:
            return self.metric_at(dict(zip(axes, position, strict=True)), seed)

        return dict(zip(axes, attribution.shapley(value, steps), strict=True))

    def causes(self) -> list[Cause]:
        """Every step of every axis with its contribution: real ones first, then by size.

        The contributions add up to the change of the metric.
        """
        reported = self.contributions(self.axes, None)
        without_randomness = [axis for axis in self.axes if axis != "randomness"]
        reruns = [self.contributions(without_randomness, seed) for seed in self.seeds]

        causes = []
        for axis, contributions in reported.items():
            names = self.data_steps if axis == "data" else [name_axis(axis, self.a, self.b)]
            for step, contribution in enumerate(contributions):
                if axis == "randomness":
                    # A single draw: reruns with other seeds have no step from A's seed to B's.
                    noise = self.seed_noise()
                    is_noise = abs(contribution) <= attribution.limit(noise, len(self.draws))
                else:
                    draws = [contribution, *(rerun[axis][step] for rerun in reruns)]
                    noise = attribution.spread(draws)
                    is_noise = attribution.within_noise(draws)
                causes.append(Cause(axis, names[step], contribution, noise, is_noise))
        return sorted(causes, key=lambda cause: (cause.within_noise, -abs(cause.contribution)))

    def seed_noise(self) -> float:
        """The standard deviation of the difference between two seeds.

        It is sqrt(2) times the one over seeds, A's and B's taken together.
        """
        pairs = [self.metric_of_both(seed) for seed in self.draws]
        spread_a, spread_b = (attribution.spread(metrics) for metrics in zip(*pairs, strict=True))
        variance = (spread_a**2 + spread_b**2) / 2
        return float((2 * variance) ** 0.5)

    def noise(self) -> float:
        """The standard deviation of the whole change over seeds."""
        has_other_seed = "randomness" in self.axes
        seeds = self.seeds if has_other_seed else self.draws
        changes = []
        for seed in seeds:
            metric_a, metric_b = self.metric_of_both(seed)
            changes.append(metric_b - metric_a)
        own = self.seed_noise() if has_other_seed else 0.0
        return float((attribution.spread(changes) ** 2 + own**2) ** 0.5)

    def measure_by_test_split(self, folder: Path) -> ModelsByTestSplit:
        """Measure both models on both test splits.

        A model is only measured on customers whom it has not seen in training: with another seed,
        most of the other model's test customers were in its own training split.

        Args:
            folder: for the test rows in between.
        """
        combinations = [own_combination(self.a), own_combination(self.b)]
        splits = [self.runner.splits(combination) for combination in combinations]
        have_same_test = splits[0]["test"].equals(splits[1]["test"])
        table = ModelsByTestSplit()
        for model, combination in enumerate(combinations):
            for other in (0, 1):
                rows = splits[other]["test"]
                if other == model or have_same_test:
                    table.customers[model][other] = len(rows)
                    table.metrics[model][other] = self.measure(combination)
                    continue

                key = combination.table.owner.key
                if not set(key) <= set(rows):
                    continue
                seen = pd.concat([splits[model]["train"], splits[model]["valid"]])
                rows = rows[~rows.set_index(key).index.isin(seen.set_index(key).index)]
                table.customers[model][other] = len(rows)
                path = folder / f"test-of-{'AB'[other]}-for-{'AB'[model]}.parquet"
                rows.to_parquet(path, index=False)
                with contextlib.suppress(UserError):  # its contract does not know these values
                    table.metrics[model][other] = self.measure(measured_on(combination, path))
        return table
