"""The pages of docs/ that tell a story: every command runs, in order, and prints what the page
shows below it.
"""

import json
import os
import subprocess

import pytest

from churn.files import md5
from conftest import ROOT, Project
from pages import BLOCK, follow

pytestmark = pytest.mark.sample


@pytest.fixture
def clone(pipeline, tmp_path) -> Project:
    """A clone after `make repro`."""
    project = pipeline.copy(tmp_path)
    project.use_environment()
    return project


# only operations
def test_operations(clone):
    """docs/operations.md: promote, serve, score, shift the data, monitor, train again, promote,
    roll back.
    """
    follow("docs/operations.md", clone)
    assert (clone.alias("production"), clone.alias("staging")) == ("1", None)
    assert {str(v.version): v.tags["stage"] for v in clone.versions()} == {
        "1": "Production",
        "2": "Archived",
    }
    assert "batches" not in clone.out("git", "status", "--short"), "customers do not enter git"


# end
# only forensics
def test_tuesday_and_friday(clone):
    """docs/tuesday-friday.md: two models 0.10 apart, the cause found, the old one rebuilt; git is
    clean.
    """
    follow("docs/tuesday-friday.md", clone)
    assert clone.out("git", "status", "--short") == ""
    assert clone.alias("staging") == "1" and clone.versions()[0].tags["reproduced"] == "identical"


# end
def test_evaluation(clone):
    """docs/evaluation.md: the metrics beside a baseline; a planted leak is found, and its model is
    registered with a tag that names it, or not at all.
    """
    follow("docs/evaluation.md", clone)
    assert clone.out("git", "status", "--short") == ""
    leaking = clone.versions()[0]
    assert "final_bill (1.000)" in leaking.tags["leakage"]
    assert "**Warning:** columns that alone" in leaking.description
    assert "leakage" not in clone.versions()[1].tags
    assert "No column alone reaches" in clone.versions()[1].description


def test_features(clone):
    """docs/features.md: a model with derived features, as an experiment."""
    follow("docs/features.md", clone)
    assert clone.runs("train")[0].data.params["features"] == "['services', 'charge_change']"


def test_time(clone):
    """docs/time.md: a split by customer promises too much on customer-months, one by time does not;
    and a backtest.
    """
    follow("docs/time.md", clone)
    version = clone.versions()[0]
    params = json.loads(version.tags["params"])
    assert (params["split.by"], params["split.gap"], params["data.time"]) == ("time", 1, "month")
    assert "2025-08-31 to 2025-12-31" in version.description, "the model card names the periods"
    assert (clone.folder / "reports/plots/backtest.csv").exists()


def test_experiments(clone):
    """docs/experiments.md: experiments, with the search a small one, and the launcher."""
    # only experiments
    clone.set(**{"sweep.trials": 2, "sweep.folds": 1})
    clone.commit("a small search")
    # end
    follow("docs/experiments.md", clone)
    assert {"deeper", "slower"} <= set(clone.out("dvc", "exp", "list", "--name-only").split())


def test_ci(clone):
    """docs/ci.md: a change against main, as its pull request shows it; pushed and registered."""
    follow("docs/ci.md", clone)
    assert clone.alias("staging") == "2"
    assert (clone.folder / "ci-report/plots/roc.png").exists()
    assert clone.out("git", "status", "--short") == ""


def test_reset(clone):
    """`make reset` asks, and brings a clone back to what git has; the experiments are gone, the
    commits are not.
    """
    upstream = clone.folder.with_name(f"{clone.folder.name}-upstream")
    clone.out("git", "clone", "-q", "--bare", ".", str(upstream))
    clone.out("git", "remote", "add", "origin", str(upstream))
    clone.out("git", "fetch", "-q", "origin")
    clone.out("git", "branch", "-q", "--set-upstream-to", "origin/main")
    clone.out("git", "update-ref", "refs/exps/aa/bb/deeper", "HEAD")
    clone.set(seed=7)
    (clone.folder / "notes.txt").write_text("mine")
    (clone.folder / "storage").mkdir(exist_ok=True)
    (clone.folder / "storage/pushed").write_text("the remote's")
    refused = subprocess.run(
        ["make", "reset"], cwd=clone.folder, input="n\n", capture_output=True, text=True
    )
    assert (
        refused.returncode != 0
        and "nothing was changed" in refused.stdout
        and "mlflow.db" in refused.stdout
    )
    assert (clone.folder / "notes.txt").exists()
    clone.out("git", "commit", "-qam", "another seed")
    kept = clone.out("git", "rev-parse", "--short", "HEAD").strip()
    clone.out("make", "reset", "YES=1")
    left = {name for name in os.listdir(clone.folder) if name not in {".git", ".venv", ".dvc"}}
    tracked = {name.split("/")[0] for name in clone.out("git", "ls-files").splitlines()} - {".dvc"}
    assert left == tracked | {"storage"}, "what was pushed to the local remote stays"
    assert (
        not (clone.folder / "data/raw.parquet").exists()
        and not (clone.folder / ".dvc/cache").exists()
    )
    assert clone.out("git", "for-each-ref", "refs/exps") == ""
    assert (
        clone.out("git", "branch", "--list", f"before-reset-{kept}").strip()
        == f"before-reset-{kept}"
    )
    assert clone.out("git", "log", "--format=%s", "-1").strip() != "another seed"


def test_an_experiment_is_undone_whole(tiny_pipeline, tmp_path):
    """The one command of docs/first-steps.md: afterwards DVC and git say that nothing is changed,
    and nothing runs.
    """
    clone = tiny_pipeline.copy(tmp_path)
    (undo,) = [
        b["command"]
        for b in BLOCK.finditer((ROOT / "docs/first-steps.md").read_text())
        if "git checkout" in b["command"]
    ]
    before = clone.outs()
    clone.out("dvc", "exp", "run", "-S", "train.max_depth=2")
    clone.out("bash", "-euc", undo)
    assert clone.out("git", "status", "--short") == "" and clone.executed() == []
    assert {
        path: md5(clone.folder / path) for path in before if not (clone.folder / path).is_dir()
    } == {path: md5 for path, md5 in before.items() if not md5.endswith(".dir")}
