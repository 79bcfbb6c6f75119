"""`dvc repro` that is killed or interrupted in each stage, and `dvc exp run`: nothing that it
started goes on writing, nothing stays RUNNING, and the next `make repro` finishes.
"""

import contextlib
import os
import re
import signal
import subprocess
import time

import psutil
import pytest

from churn.tracking import leftovers
from conftest import BIN, Project

STAGES = ("preprocess", "train", "evaluate")

# Python imports this when it starts. The stage named by SUSPEND suspends itself at work: when it
# opens its first input or output after it has noted its MLflow run. So a busy machine changes
# nothing.
SUSPENDING = """
import os, signal, sys
from pathlib import Path

noted = suspended = False

def suspend(event, arguments):
    global noted, suspended
    if event != "open" or suspended or sys.argv[0] != os.environ["SUSPEND"]:
        return
    path, mode, _ = arguments
    folders = Path(path).parts if isinstance(path, str) else ()
    if "open-runs" in folders:
        noted = noted or mode == "w"
    elif noted and folders[:1] in (("data",), ("models",)):
        suspended = True
        os.kill(os.getpid(), signal.SIGSTOP)

if "SUSPEND" in os.environ:
    sys.addaudithook(suspend)
"""


@pytest.fixture(scope="module")
def killed(tiny_pipeline, tmp_path_factory) -> Project:
    """A project of which every stage is to be run again."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("killed"))
    project.set(seed=7)
    project.commit("another seed")
    return project


def start(project: Project, stage: str, *command: str) -> tuple[subprocess.Popen, psutil.Process]:
    """Start a command, and wait until a stage of it is suspended at work.

    Returns:
        The command, and the process of the stage.
    """
    hook = project.folder.with_name("suspending")
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(SUSPENDING)
    dvc = subprocess.Popen(
        command,
        cwd=project.folder,
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(hook),
            "SUSPEND": f"src/{stage}.py",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while dvc.poll() is None:
        for process in psutil.Process(dvc.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended
                if process.status() == psutil.STATUS_STOPPED:
                    return dvc, process
        time.sleep(0.1)
    raise AssertionError(f"{stage} was not seen at work: {dvc.communicate()[0]}")


def statuses(project: Project) -> list[str]:
    return [run.info.status for stage in STAGES for run in project.runs(stage)]


@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C"])
@pytest.mark.parametrize("stage", STAGES)  # one after the other, in one project
def test_a_stage(killed, stage, how):
    """`kill -9` of dvc alone: the stage ends by itself, and its outputs are not written.

    Ctrl-C, as the terminal sends it to both: the run is FAILED, and says why.
    """
    before = killed.lock()[stage]
    dvc, process = start(killed, stage, "dvc", "repro")
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
    dvc, process = start(killed, "train", "dvc", "exp", "run", "-S", "train.max_depth=3")
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
