"""What processes leave behind that are killed, and what becomes of it."""

import os
import re
import signal
import subprocess
import sys

import mlflow
import pytest

from churn.errors import UserError
from churn.tracking import held_runs, leftovers, runs, store
from conftest import BIN, ROOT, place_empty_store

WORKS = """
import sys, time
from churn.tracking import runs
with runs.open_run("works", {"stage": sys.argv[1]}):
    print("open", flush=True)
    time.sleep(600)
"""


KILLED_AT_WORK = """
import os, signal, sys
sys.path.insert(0, "src")
import preprocess
preprocess.write_splits = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
preprocess.main()
"""


@pytest.fixture
def own_store(tmp_path, monkeypatch):
    """A folder with a store of its own, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "leftovers")
    monkeypatch.setenv(
        "MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db"
    )  # which MLflow sets, too
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    place_empty_store(tmp_path)
    store.connect()
    return tmp_path


def at_work(stage: str) -> subprocess.Popen:
    """Start a process that opens a run and waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", WORKS, stage], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "open\n"
    return process


def status(stage: str) -> tuple[str, str | None]:
    run = runs.find_run(stage=stage)
    return run.info.status, run.data.tags.get("error")


def test_runs_of_killed_processes(own_store, monkeypatch):
    """The next run of the project closes them, with the launching run of one; those of living
    processes go on.
    """
    with mlflow.start_run(experiment_id=store.connect(), tags={"stage": "launch"}) as launching:
        pass
    mlflow.MlflowClient().update_run(launching.info.run_id, status="RUNNING")
    living = at_work("living")
    monkeypatch.setenv("MLFLOW_RUN_ID", launching.info.run_id)
    killed = at_work("killed")
    monkeypatch.delenv("MLFLOW_RUN_ID")
    try:
        held_runs.close_abandoned()
        assert [status(stage)[0] for stage in ("living", "killed", "launch")] == ["RUNNING"] * 3
        killed.kill()
        killed.wait()
        with runs.open_run("next", {"stage": "next"}):
            assert [status(stage)[0] for stage in ("living", "killed", "launch")] == [
                "RUNNING",
                "KILLED",
                "KILLED",
            ]
        assert status("killed")[1] == held_runs.CLOSED_LATER
        assert len(list(held_runs.open_runs_folder().iterdir())) == 1
    finally:
        living.send_signal(signal.SIGINT)
        living.wait()
    assert status("living") == ("FAILED", "KeyboardInterrupt")
    assert status("next") == ("FINISHED", None)
    assert list(held_runs.open_runs_folder().iterdir()) == []


def test_a_clone_of_the_same_name(own_store, tmp_path_factory, monkeypatch):
    """A container with the same host name and folder opens a run in the same store: this one's
    goes on, though only its own project has noted it.
    """
    mine = at_work("mine")
    try:
        monkeypatch.setenv("DVC_ROOT", str(tmp_path_factory.mktemp("other")))
        with runs.open_run("other", {"stage": "other"}):
            assert status("mine")[0] == "RUNNING"
    finally:
        mine.send_signal(signal.SIGINT)
        mine.wait()


def test_a_run_that_was_deleted_meanwhile(own_store):
    """Nothing is left to close, and nothing fails."""
    leftovers.note_runs(
        held_runs.open_runs_folder(), store.tracking_uri(), ["0" * 32]
    )  # not closed: the note stays, as after a kill
    held_runs.close_abandoned()
    assert list(held_runs.open_runs_folder().iterdir()) == []


def test_a_stage_that_was_killed(tiny_pipeline, tmp_path):
    """`kill -9` of preprocess leaves a run and a folder; the next one closes the run, removes the
    folder, and works.
    """
    project = tiny_pipeline.copy(tmp_path)
    assert project.run(sys.executable, "-c", KILLED_AT_WORK).returncode == -signal.SIGKILL
    assert len(list((project.folder / "data").glob(".prepared-*"))) == 1
    assert project.runs("preprocess")[0].info.status == "RUNNING"
    project.out("python", "src/preprocess.py")
    assert [run.info.status for run in project.runs("preprocess")] == [
        "FINISHED",
        "KILLED",
        "FINISHED",
    ]
    assert list((project.folder / "data").glob(".prepared-*")) == []


def test_artifacts_that_cannot_be_written(own_store):
    """Refused before anything is computed, by the folder's name; no run is opened."""
    (own_store / "mlartifacts").write_text("not a folder")
    with (
        pytest.raises(
            UserError, match="mlartifacts, the folder of MLflow's artifacts, cannot be written"
        ),
        runs.open_run("train", {"stage": "train"}),
    ):
        raise AssertionError("it began")
    assert runs.find_run(stage="train") is None


def test_an_experiment_that_was_killed(tiny_pipeline, tmp_path):
    """`kill -9` of `dvc exp run` leaves git on no branch with the experiment's files: report.py and
    make say how to get back, the command does it, and the user's own edit is still there.
    """
    project = tiny_pipeline.copy(tmp_path)
    with open(project.folder / "README.md", "a") as readme:
        readme.write("mine")
    command = [str(BIN / "dvc"), "exp", "run", "-S", "train.max_depth=3"]
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    process = subprocess.Popen(
        command,
        cwd=project.folder,
        env=env,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert any("Running stage 'train'" in line for line in process.stdout)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()

    reported = project.run("python", "src/report.py")
    assert reported.returncode == 1 and "git is on no branch" in reported.stderr, reported.stderr
    (back,) = re.findall("`(git checkout.*)`", reported.stderr)
    made = project.run("make", "-o", "setup", "repro")  # without an installation
    assert made.returncode != 0 and "git is on no branch" in made.stderr
    assert "Running stage" not in made.stdout

    project.out("bash", "-euc", back)
    assert project.out("git", "branch", "--show-current") == "main\n"
    assert project.out("git", "status", "--short") == " M README.md\n"
    assert (project.folder / "README.md").read_text().endswith("mine")
    assert "workspace   ChurnXGB version 1" in project.out("python", "src/report.py")
