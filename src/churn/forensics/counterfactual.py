"""Run pipelines that never happened: the code of one model on the data or parameters of another.

Each is the commit's own stages, run in a temporary checkout (worker.start_worker) and measured by
them. The results are kept in .dvc/tmp/why under a key of everything that went in, so that the
second time is free; `rm -r .dvc/tmp/why` deletes them.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from churn import paths
from churn.errors import UserError
from churn.files import md5, reading
from churn.forensics import locked_environment, workspace
from churn.forensics.snapshot import Snapshot, json_md5
from churn.forensics.tables import LabelledTable, table_of
from churn.forensics.worker import start_worker

TEST = str(paths.SPLITS["test"])
RUN_AGAIN = "`rm -r .dvc/tmp/why` has it run again"

NO_PERIODS: dict[str, object] = {
    "split.by": "customer",
    "split.gap": 0,
    "evaluate.backtest": None,
    "gate.min_backtest_auc": None,
}

Worker = Callable[..., dict[str, dict[str, Any]]]  # of worker.start_worker


@dataclass(frozen=True)
class Combination:
    """What one run of the pipeline is made of, each part from one of the two models."""

    code: Snapshot
    table: LabelledTable
    parameters: Snapshot
    seed: int
    packages: Snapshot
    test: Path | None = None  # rows to measure on instead of its own test split


def start_workers(stack: contextlib.ExitStack) -> Callable[[Snapshot], Worker]:
    """A function that gives the worker (worker.start_worker) with the packages of a model.

    A worker is started at its first use, and ends with the stack.
    """
    started: dict[str, Worker] = {}

    def worker_for(packages: Snapshot) -> Worker:
        lock = packages.recipe.lock_md5
        if lock not in started:
            environment = locked_environment.environment_for(packages.folder)
            started[lock] = stack.enter_context(start_worker(environment))
        return started[lock]

    return worker_for


class CombinationRunner:
    """Runs any combination of two models, and keeps the results."""

    def __init__(self, a: Snapshot, b: Snapshot, worker_for: Callable[[Snapshot], Worker]) -> None:
        """Args:
        worker_for: of `start_workers`.
        """
        self.a, self.b, self.worker_for = a, b, worker_for
        self.results = paths.project_root() / ".dvc/tmp/why"
        self.requested: set[str] = set()  # keys of combinations
        self.seconds: list[float] = []  # of each combination that had to be run
        self.after_run: Callable[[], None] = lambda: None
        for snapshot in (a, b):
            table_of(snapshot)  # before the first exchange of tables

    def metrics(self, combination: Combination) -> dict[str, float]:
        """What the pipeline measures."""
        path = self._result(combination, with_splits=False) / "metrics.json"
        with reading(path, RUN_AGAIN):
            metrics: dict[str, float] = json.loads(path.read_text())
            return metrics

    def splits(self, combination: Combination) -> dict[str, pd.DataFrame]:
        """What identifies the rows of train and of valid, and all columns of test."""
        folder = self._result(combination, with_splits=True)
        with reading(folder, RUN_AGAIN):
            return {name: pd.read_parquet(folder / f"{name}.parquet") for name in paths.SPLITS}

    def parameters(self, combination: Combination) -> dict[str, object]:
        """The parameters of a combination.

        One that the code does not know is left out; one that only this code knows stays as its own
        params.yaml has it.
        """
        owner = combination.table.owner
        wanted = {**combination.parameters.parameters, "seed": combination.seed, **owner.labelling}
        roles = ("data.id", "data.target", "data.positive")
        wanted |= dict(zip(roles, owner.roles, strict=True))
        if wanted.get("data.time") is None:
            wanted = without_periods(wanted)
        recorded = {**self.a.recipe.params, **self.b.recipe.params, **wanted}
        parameters = {}
        for name, own_value in combination.code.own_parameters.items():
            if name in recorded:
                parameters[name] = wanted.get(name, own_value)
        return parameters

    def warnings(self) -> list[str]:
        """One sentence per parameter that only one model's code knows, or that the table of the
        other cannot serve.
        """
        sentences = []
        for label, one, other in (("A", self.a, self.b), ("B", self.b, self.a)):
            for name in one.parameters:
                if name not in other.own_parameters:
                    text = f"{name} is a parameter of {label} only"
                    sentences.append(f"{text}: the other code runs without it")
            needs_time = without_periods(one.parameters) != one.parameters
            if needs_time and other.own_parameters.get("data.time") is None:
                sentences.append(
                    f"the other table has no data.time: on it, {label}'s parameters split by "
                    "customer and make no backtest"
                )
        return sentences

    def _result(self, combination: Combination, with_splits: bool) -> Path:
        """The folder with the results of a combination, which is run if there are none."""
        test_md5 = md5(combination.test) if combination.test else None
        key = json_md5(
            [
                combination.code.code,
                combination.table.identity,
                self.parameters(combination),
                combination.packages.packages,
                test_md5,
            ]
        )
        folder = self.results / key
        wanted = "test.parquet" if with_splits else "metrics.json"
        if not (folder / wanted).exists():
            start = time.monotonic()
            self._run(combination, folder, with_splits)
            self.seconds.append(time.monotonic() - start)
        if key not in self.requested:
            self.requested.add(key)
            self.after_run()
        return folder

    def _run(self, combination: Combination, folder: Path, with_splits: bool) -> None:
        """Run the stages in the code's checkout, and keep what they measured."""
        code, table = combination.code, combination.table
        run_stages = self.worker_for(combination.packages)
        shutil.copyfile(table.raw, code.raw)
        shutil.copyfile(table.schema, code.schema)
        workspace.set_params(code.folder, self.parameters(combination))
        replacements = {TEST: combination.test} if combination.test else None
        try:
            made = run_stages(code.folder, replacements)
        except UserError as error:
            raise UserError(f"{self._describe(combination)}: {error}") from None

        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        if with_splits:
            for name, path in paths.SPLITS.items():
                columns = None if name == "test" else table.owner.key
                split = pd.read_parquet(code.folder / path, columns=columns)
                split.to_parquet(part / f"{name}.parquet", index=False)
        (part / "metrics.json").write_text(json.dumps(made["metrics"]))
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)

    def _describe(self, combination: Combination) -> str:
        """Which combination it is, for an error message."""

        def label(snapshot: Snapshot) -> str:
            return "A" if snapshot is self.a else "B"

        return (
            f"the code of {label(combination.code)} on the data of "
            f"{label(combination.table.owner)} with the packages of {label(combination.packages)}"
        )


def without_periods(parameters: dict[str, object]) -> dict[str, object]:
    """Parameters as they can be on a table without periods: no split by time, and no backtest."""
    changed = {name: value for name, value in NO_PERIODS.items() if name in parameters}
    return {**parameters, **changed}


def own_combination(snapshot: Snapshot) -> Combination:
    """The combination that made a model."""
    return Combination(snapshot, table_of(snapshot), snapshot, snapshot.seed, snapshot)


def measured_on(combination: Combination, test: Path) -> Combination:
    """The same combination, measured on other rows."""
    return replace(combination, test=test)
