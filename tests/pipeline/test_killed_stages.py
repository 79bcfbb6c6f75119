"""`dvc repro` that is killed or interrupted in each stage, and `dvc exp run`: nothing that it
started goes on writing, nothing stays RUNNING, and the next `make repro` finishes.
"""

import os
import re
import signal
import time

import pytest

from churn.tracking import leftovers
from conftest import Project
from suspended import start_suspended

# Each with the shell by which DVC starts it: bash becomes the stage; Debian's sh, which DVC takes
# where SHELL is not set, as in CI, waits for it.
STAGES = {"preprocess": "/bin/sh", "train": "bash", "evaluate": "/bin/sh"}


@pytest.fixture(scope="module")
def killed(tiny_pipeline, tmp_path_factory) -> Project:
    """A project of which every stage is to be run again."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("killed"))
    project.set(seed=7)
    project.commit("another seed")
    return project


def statuses(project: Project) -> list[str]:
    return [run.info.status for stage in STAGES for run in project.runs(stage)]


@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C"])
@pytest.mark.parametrize("stage", STAGES)  # one after the other, in one project
def test_a_stage(killed, stage, how):
    """`kill -9` of dvc alone: the stage ends by itself, and its outputs are not written.

    Ctrl-C, as the terminal sends it to both: the run is FAILED, and says why.
    """
    before = killed.lock()[stage]
    dvc, process = start_suspended(killed, stage, "dvc", "repro", shell=STAGES[stage])
    if how == "kill -9":
        dvc.kill()
        time.sleep(2 * leftovers.WATCH_SECONDS)  # so that it looks as soon as it is resumed
    else:
        os.killpg(dvc.pid, signal.SIGINT)
    process.resume()
    process.wait(60)
    printed = dvc.communicate(timeout=300)[0]
    assert dvc.returncode not in (0, None) and "Traceback" not in printed, printed
    assert killed.lock()[stage] == before

    run = killed.runs("preprocess" if stage == "preprocess" else "train")[0]
    if how == "kill -9":
        assert "error: dvc, which started this stage, was killed" in printed
        assert run.info.status == "RUNNING", "until the next command of the project"
    else:
        assert (run.info.status, run.data.tags["error"]) == ("FAILED", "KeyboardInterrupt")


def test_then_make_repro_finishes(killed):
    """One version of this model, whose run is whole; no other run is left open, and no lock."""
    killed.out("make", "-o", "setup", "repro")
    newest = killed.versions()[0]
    assert newest.tags["model_md5"] == killed.outs()["models/churn.ubj"]
    assert killed.alias("staging") == str(newest.version) and len(killed.versions()) == 2
    name = f"{newest.name}/{newest.version}"
    found = killed.runs("train") + killed.runs("evaluate")
    (record,) = [run for run in found if run.data.tags.get("model_version") == name]
    assert record.info.status == "FINISHED" and record.data.tags["gate"] == "passed"
    assert set(statuses(killed)) == {"FINISHED", "FAILED", "KILLED"}
    assert killed.out("git", "status", "--short").split() == re.findall(
        r"\S+", killed.out("git", "status", "--short", "dvc.lock", "reports")
    ), "only what the pipeline writes has changed"


def test_an_experiment_ends_with_its_dvc(killed):
    """`kill -9` of `dvc exp run` alone: its stage ends too, and report.py names the way back."""
    killed.commit("after the faults")
    dvc, process = start_suspended(killed, "train", "dvc", "exp", "run", "-S", "train.max_depth=3")
    dvc.kill()
    time.sleep(2 * leftovers.WATCH_SECONDS)
    process.resume()
    process.wait(60)
    dvc.communicate()
    # What it would have written, had it ended a moment later: an output that DVC never saw.
    (killed.folder / "models/churn.ubj").write_bytes(b"a model of the experiment")
    message = killed.run("python", "src/report.py").stderr
    (back,) = re.findall("`(git checkout.*)`", message)
    killed.out("bash", "-euc", back)
    assert killed.out("git", "branch", "--show-current") == "main\n"
    assert "workspace   ChurnXGB version 2" in killed.out("python", "src/report.py")
    assert "RUNNING" not in statuses(killed)
