"""Planted causes: commits of a project, each of which differs from its first one in ways that are
known.

Used by tests/forensics/test_why.py and benchmarks/why.py.
"""

import os
import shutil
import sys
import tempfile
import venv
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import tqdm

import why
from churn import paths
from churn.files import md5
from churn.forensics import counterfactual, explanation, workspace
from churn.forensics.causes import Cause
from churn.forensics.comparison import Comparison
from churn.forensics.resolve import resolve_recipe
from churn.forensics.snapshot import read_snapshot
from conftest import Project

MIXED = ["tenure", "contract", "total_charges"]


@dataclass(frozen=True)
class PlantedCause:
    """One planted change, and the words by which why.py must name it."""

    named: tuple[str, ...]  # any of these is in the name of the cause that is found
    params: dict = field(default_factory=dict)
    table: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    edit: tuple[str, str, str] | None = None  # file, text, its replacement
    metric: str = "roc_auc"
    real: bool = True  # False: it changes nothing, and must be called noise


def unit(table: pd.DataFrame) -> pd.DataFrame:
    """Charges in another currency."""
    return table.assign(monthly_charges=table.monthly_charges * 3.67)


def shifted(table: pd.DataFrame) -> pd.DataFrame:
    """Three columns joined one row off."""
    table = table.copy()
    table[MIXED] = table[MIXED].shift(1).bfill()
    return table.astype({"tenure": "int64"})


def flipped(table: pd.DataFrame) -> pd.DataFrame:
    """The other label for 30 % of the customers."""
    drawn = np.random.default_rng(1).random(len(table)) < 0.3
    other = table.churn.map({"Yes": "No", "No": "Yes"})
    return table.assign(churn=table.churn.where(~drawn, other))


def newest(table: pd.DataFrame) -> pd.DataFrame:
    """The fifth of the customers with the shortest tenure, in the order of the table."""
    by_tenure = table.tenure.sort_values(kind="stable").index
    return table.loc[by_tenure[: len(table) // 5].sort_values()]


CAUSES = {
    "another split seed": PlantedCause(("seed",), params={"seed": 7}, real=False),
    "learning rate x 10": PlantedCause(
        ("train.learning_rate",), params={"train.learning_rate": 1.0}
    ),
    # Before the other tables: they must not decide who is new.
    "20 % newest customers only": PlantedCause(("customers went",), table=newest),
    "unit of one column": PlantedCause(("column monthly_charges",), table=unit, real=False),
    "three columns shifted": PlantedCause(tuple(f"column {name}" for name in MIXED), table=shifted),
    "30 % of labels flipped": PlantedCause(("column churn",), table=flipped),
    "threshold on the wrong side": PlantedCause(
        ("code",),
        edit=(
            "src/churn/modeling/metrics.py",
            "contacted = probabilities >= threshold",
            "contacted = probabilities < threshold",
        ),
        metric="value_per_customer",
    ),
    "a dropped feature": PlantedCause(  # the one that is missed the most
        ("code",),
        edit=(
            "src/churn/data/contract.py",
            "roles = (self.id, self.target, self.time)",
            'roles = (self.id, self.target, "contract")',
        ),
    ),
    "a version bump": PlantedCause(
        ("packages",), edit=("requirements.txt", "tqdm==4.70.1", "tqdm==4.70.0"), real=False
    ),
}


def first_commit(project: Project) -> Project:
    """Commit on `main` what `dvc repro` makes of a project with a learning rate of 0.1."""
    project.set(**{"train.learning_rate": 0.1})
    (project.folder / ".git/info/exclude").write_text("/first.parquet\n")
    shutil.copyfile(project.folder / paths.RAW, project.folder / "first.parquet")
    project.out("dvc", "repro", "-q")
    project.commit("first")
    return project


@dataclass(frozen=True)
class Answer:
    """What `python src/why.py A B --attribute` finds."""

    metric_of_both: tuple[float, float]
    causes: list[Cause]
    noise: float
    sentence: str
    warnings: list[str]
    combinations: int
    run_now: int  # of the combinations

    @property
    def change(self) -> float:
        """By how much the metric changed from A to B."""
        metric_a, metric_b = self.metric_of_both
        return metric_b - metric_a

    def share(self, *planted: PlantedCause) -> float:
        """Which share of the change is attributed to these planted causes."""
        if not self.change:
            return 1.0
        ours = [cause.contribution for cause in self.causes if is_one_of(planted, cause)]
        return sum(ours) / self.change


def is_one_of(planted: tuple[PlantedCause, ...], cause: Cause) -> bool:
    """Whether a cause that was found is one of the planted ones."""
    text = cause.what.replace("columns ", "column ").replace(", ", ", column ")
    words = [word for one in planted for word in one.named]
    return any(word in text for word in words)


def explain(a: str, b: str, workers: Callable, metric: str = "roc_auc", seeds: int = 3) -> Answer:
    """Attribution in this process and with workers that are already started; without the table of
    two by two.
    """
    with ExitStack() as stack:
        snapshots = []
        for name in (a, b):
            recipe = resolve_recipe(name)
            folder = stack.enter_context(workspace.checkout(recipe))
            snapshots.append(read_snapshot(recipe, folder))

        runner = counterfactual.CombinationRunner(*snapshots, workers)
        comparison = Comparison(runner, metric, seeds)
        comparison.split_data(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        both, causes, noise = comparison.metric_of_both(), comparison.causes(), comparison.noise()
        return Answer(
            metric_of_both=both,
            causes=causes,
            noise=noise,
            sentence=explanation.sentence(metric, both, noise, causes),
            warnings=why.rerun_warnings(comparison, both),
            combinations=len(runner.requested),
            run_now=len(runner.seconds),
        )


def start(stack: ExitStack) -> tuple[Callable, Callable]:
    """Workers for `explain` and, of the first commit's environment, the one for `plant`."""
    workers = counterfactual.start_workers(stack)
    recipe = resolve_recipe("main")
    with workspace.checkout(recipe) as folder:
        return workers, workers(read_snapshot(recipe, folder))


def overlay(project: Project, caches: Path) -> None:
    """An environment for the lock in the project's workspace, where `environment.locked` looks for
    it: this one, with tqdm under another version. To install the whole lock would take minutes.
    """
    lock = md5(project.folder / "requirements.txt")
    name = f"{lock}-{sys.version_info.major}.{sys.version_info.minor}"
    folder = caches / "churn-environments" / name
    if folder.exists():
        return
    venv.create(folder)
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "ours.pth").write_text(f"{Path(pd.__file__).parent.parent}\n")
    shutil.copytree(Path(tqdm.__file__).parent, packages / "tqdm")
    (packages / "tqdm/_version.py").write_text('__version__ = "4.70.0"\n')


def plant(project: Project, branch: str, run: Callable, *causes: PlantedCause) -> str:
    """Commit the project's first commit with these changes, and with what its stages make of it, on
    a branch.

    Args:
        run: a worker (worker.start_worker); `dvc repro` would give the same and take five times as
            long.
    """
    project.out("git", "checkout", "-q", "-f", "-B", branch, "main")
    table = pd.read_parquet(project.folder / "first.parquet")
    for cause in causes:
        if cause.params:
            project.set(**cause.params)
        if cause.table:
            table = cause.table(table)
        if cause.edit:
            path, old, new = cause.edit
            text = (project.folder / path).read_text()
            assert old in text
            (project.folder / path).write_text(text.replace(old, new))
            if path == "requirements.txt":
                overlay(project, Path(os.environ["XDG_CACHE_HOME"]))
    raw = project.folder / paths.RAW
    raw.unlink()
    if any(cause.table for cause in causes):
        table.to_parquet(raw, index=False)
    else:
        shutil.copyfile(project.folder / "first.parquet", raw)
    keep(project, raw)
    run(project.folder)
    project.commit(branch)
    project.out("git", "checkout", "-q", "main")
    shutil.copyfile(project.folder / "first.parquet", raw)
    return branch


def keep(project: Project, path: Path) -> None:
    """Put a file into the project's DVC cache."""
    digest = md5(path)
    cached = project.folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    cached.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, cached)
