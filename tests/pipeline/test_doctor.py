"""`make doctor` names each state in which a clone does not work, with the command that mends it."""

import shutil
import sqlite3
import sys
from contextlib import closing

import pytest

from churn.tracking.diagnosis import CHECKS, find_faults
from conftest import BIN, Project

pytestmark = pytest.mark.sample


@pytest.fixture
def clone(tiny_pipeline, tmp_path, inside, monkeypatch) -> Project:
    monkeypatch.setenv("PATH", str(BIN), prepend=":")
    return inside(tiny_pipeline.copy(tmp_path))


def faults(name: str) -> list[tuple[str, str]]:
    return [(fault.what, fault.mend) for fault in find_faults(name, CHECKS[name])]


def test_a_healthy_clone_has_no_fault(clone):
    result = clone.run("python", "src/doctor.py")
    assert result.returncode == 0, result.stdout
    assert [line[:6] for line in result.stdout.splitlines()] == ["ok    "] * result.stdout.count(
        "\n"
    )


def test_all_that_is_wrong_is_said_at_once(clone):
    clone.set(**{"train.max_depth": 99})
    (clone.folder / "data/raw.parquet").unlink()
    clone.out("git", "checkout", "-q", "--detach")
    result = clone.run("python", "src/doctor.py")
    assert result.returncode == 1 and result.stderr == ""
    for says in (
        "MEND  git: git is on no branch (detached HEAD)\n      git switch main",
        "MEND  params.yaml and the contract: params.yaml:\n  train.max_depth: ",
        "MEND  data: data/raw.parquet is missing\n      python src/launch.py table",
        "ok    MLflow's store",
    ):
        assert says in result.stdout


def test_what_mends_a_missing_table(project):
    """On a clone with nothing in DVC's cache."""
    project.out("python", "src/launch.py", "table")
    assert (project.folder / "data/raw.parquet").exists()


def test_a_killed_experiment(clone):
    """As `kill -9` leaves it: no branch, and DVC's note of where the experiment began."""
    head = clone.out("git", "rev-parse", "HEAD").strip()
    clone.out("git", "update-ref", "refs/exps/exec/EXEC_BASELINE", head)
    clone.out("git", "checkout", "-q", "--detach")
    ((what, mend),) = faults("git")
    assert "`dvc exp run` was killed" in what and mend.startswith("git checkout main && git restor")
    clone.out("bash", "-c", mend)
    assert faults("git") == []


def test_stale_outputs(clone):
    clone.set(**{"train.learning_rate": 0.29})
    assert faults("data") == [
        ("dvc.lock is not up to date with the files: train, evaluate", "dvc repro")
    ]


def test_no_remote(clone):
    clone.out("dvc", "config", "--unset", "core.remote")
    assert ("DVC has no default remote, to push to", "dvc remote add --default NAME URL") in (
        faults("data")
    )


def test_packages_that_differ(clone):
    pins = clone.folder / "pyproject.toml"
    text = pins.read_text()
    pins.write_text(text.replace('"xgboost==', '"xgboost==0.'))
    ((what, mend),) = faults("packages")
    assert what.startswith("packages differ from their pins: xgboost") and "make install" in mend


def test_dvc_is_not_on_path(clone, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    ((what, mend),) = faults("Python and dvc")
    assert what.startswith("dvc is not on PATH") and mend == "source .venv/bin/activate"


def test_an_old_python(monkeypatch):
    monkeypatch.setattr("churn.tracking.diagnosis.OLDEST_PYTHON", (4, 0))
    assert faults("Python and dvc") == [
        (f"Python is {sys.version.split()[0]}", "install 4.0 or later")
    ]


def test_locks_of_killed_processes(clone):
    """git refuses to work beside its lock, DVC beside notes that are half written; what is named
    mends it.
    """
    assert faults("locks") == []
    (clone.folder / ".git/index.lock").touch()
    notes = clone.folder / ".dvc/tmp/rwlock"
    notes.write_text('{"write": {')
    assert clone.run("git", "add", ".").returncode != 0
    assert "RWLock" in clone.run("dvc", "repro", "preprocess").stderr
    (of_git, mend_git), (of_dvc, mend_dvc) = faults("locks")
    assert of_git.startswith(".git/index.lock is there") and "rwlock" in of_dvc
    for mend in (mend_git, mend_dvc):
        clone.out("bash", "-euc", mend.split(",")[0])
    assert faults("locks") == []
    clone.out("git", "add", ".")
    clone.out("dvc", "repro", "preprocess")


@pytest.mark.parametrize(
    ("revision", "what", "mend"),
    [
        ("451aebb31d03", "has the tables of an earlier MLflow", "`mlflow db upgrade sqlite:///"),
        ("ffffffffffff", "has the tables (ffffffffffff) of a later MLflow", "`make install`"),
    ],
)
def test_a_store_of_another_mlflow(clone, revision, what, mend, tmp_path_factory, monkeypatch):
    """The revision of its tables is not that of the installed MLflow's."""
    path = tmp_path_factory.mktemp("schema") / "mlflow.db"
    shutil.copy(clone.folder / "mlflow.db", path)
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("update alembic_version set version_num = ?", [revision])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    ((found, _),) = faults("MLflow's store")
    assert what in found and mend in found and "Traceback" not in found


# only experiments
def test_a_queue_without_workers(clone):
    """An experiment that was queued, and nobody works it off."""
    clone.out("dvc", "exp", "run", "--queue", "-n", "waits", "-S", "train.max_depth=3")
    result = clone.run("python", "src/doctor.py")
    assert result.returncode == 1
    assert "MEND  the queue: 1 experiments wait in DVC's queue, and no worker runs" in result.stdout
    clone.out("dvc", "queue", "remove", "--all")
    assert "ok    the queue" in clone.run("python", "src/doctor.py").stdout


# end
def test_no_store_and_a_deleted_experiment(clone):
    experiment = clone.client.search_experiments()[0]
    clone.client.delete_experiment(experiment.experiment_id)
    ((what, _),) = faults("MLflow's store")
    assert "was deleted; `mlflow experiments restore" in what

    (clone.folder / "mlflow.db").unlink()
    ((what, mend),) = faults("MLflow's store")
    assert what.startswith("there is no MLflow store yet") and mend == "make setup"
