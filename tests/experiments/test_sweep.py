"""The search: what it leaves in MLflow, that it can be killed and resumed, and that its best
parameters become an experiment.
"""

import re
import signal
import subprocess
import sys
import time

import optuna
import pytest
from optuna.trial import TrialState

from churn.experiments.heartbeats import fail_trials_without_heartbeat
from churn.experiments.study import open_database

SMALL = {"sweep.trials": 8, "sweep.folds": 3, "train.early_stopping": 5}
OPEN_GATE = {
    "gate.min_roc_auc": 0.5,
    "gate.max_calibration_error": 1.0,
}  # the best of 8 small models passes, on any table


def children(clone, parent) -> list:
    """The trials of a search in MLflow, by number."""
    found = [
        run
        for run in clone.runs("trial")
        if run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    ]
    return sorted(found, key=lambda run: int(run.data.tags["trial"]))


def kept(clone, parent) -> list[optuna.trial.FrozenTrial]:
    """The trials of a search in the clone's database."""
    return optuna.load_study(
        study_name=parent.data.tags["study"], storage=f"sqlite:///{clone.folder}/sweep.db"
    ).trials


def search_run(clone, printed: str):
    """The run of a search in MLflow, by what the search printed."""
    (study,) = re.findall(r"^study (\S+): ", printed, re.M)
    (run,) = [run for run in clone.runs("sweep") if run.data.tags["study"] == study]
    return run


def best(printed: str) -> list[str]:
    return re.findall(r"^train\.\w+ .*$", printed, re.M)


@pytest.fixture(scope="module")
def clone(tiny_pipeline, tmp_path_factory):
    clone = tiny_pipeline.copy(tmp_path_factory.mktemp("sweep"))
    clone.set(**SMALL, **OPEN_GATE)
    clone.out("dvc", "repro")
    clone.commit("tiny")
    return clone


@pytest.fixture(scope="module")
def searched(clone) -> str:
    """What a search printed that could not open the test split, since there was none."""
    test = clone.folder / "data/prepared/test.parquet"
    test.rename(test.with_suffix(".away"))
    try:
        return clone.out("python", "src/sweep.py")
    finally:
        test.with_suffix(".away").rename(test)


def test_every_trial_is_a_child_with_params_metrics_and_curve(clone, searched):
    """One finished parent with comparison and plots; under it each trial, as Optuna has it."""
    parent = search_run(clone, searched)
    assert parent.info.status == "FINISHED" and parent.data.params["sweep.folds"] == "3"
    assert {"best", "today", "gain", "gain_sd"} <= set(parent.data.metrics)
    plots = {item.path for item in clone.client.list_artifacts(parent.info.run_id, "plots")}
    kinds = ("optimization_history", "parallel_coordinate", "param_importances")
    assert plots == {f"plots/{kind}.png" for kind in kinds}
    drawn = kept(clone, parent)
    assert [trial.number for trial in drawn] == list(range(8))
    for child, trial in zip(children(clone, parent), drawn, strict=True):
        assert child.data.tags["trial"] == str(trial.number)
        assert (
            child.info.status == "FINISHED"
            and child.data.tags["trial_state"].upper() == trial.state.name
        )
        assert float(child.data.params["train.max_depth"]) == trial.params["max_depth"]
        assert child.data.metrics["roc_auc"] == pytest.approx(trial.value)
        curve = clone.client.get_metric_history(child.info.run_id, "valid_auc")
        assert len(curve) > 3 and [point.step for point in curve] == sorted(
            point.step for point in curve
        )
    top = max((t for t in drawn if t.state == TrialState.COMPLETE), key=lambda trial: trial.value)
    assert f"trial {top.number}, ROC AUC {top.value:.4f}" in searched


def test_the_same_seed_gives_the_same_best(clone, searched):
    """A second cold start is a study of its own; it ends at the same parameters and comparison."""
    before = len(clone.runs("sweep"))
    again = clone.out("python", "src/sweep.py")
    assert best(again) and best(again) == best(searched)
    assert again.splitlines()[-3:] == searched.splitlines()[-3:]
    assert len(clone.runs("sweep")) == before + 1
    assert len(kept(clone, search_run(clone, again))) == 8


@pytest.mark.filterwarnings("ignore:Heartbeat of storage")
def test_a_trial_killed_before_its_first_heartbeat_is_failed(tmp_path):
    """A minute after its start, so that nobody waits for it; one that has just begun runs on."""
    database = open_database(f"sqlite:///{tmp_path}/sweep.db")
    study = optuna.create_study(storage=database, study_name="killed")
    study.ask(), study.ask()
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE trials SET datetime_start = '2026-01-01 00:00:00' WHERE number = 0"
        )
    study = optuna.load_study(
        study_name="killed", storage=open_database(f"sqlite:///{tmp_path}/sweep.db")
    )
    fail_trials_without_heartbeat(study, database)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL, TrialState.RUNNING]


def test_killed_and_resumed_nothing_counts_twice(clone, searched):
    """Ctrl-C, then kill -9, then two processes to the end: as many trials as `sweep.trials`, each
    once in Optuna and once in MLflow, no run left open, one parent.
    """
    clone.set(**{"sweep.trials": 24, "train.rounds": 100})  # another cache key, and longer
    command = [sys.executable, "src/sweep.py", "--resume"]
    options = {
        "cwd": clone.folder,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.PIPE,
        "text": True,
    }
    for with_signal, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9)):
        before = len(clone.runs("trial"))
        running = subprocess.Popen(command, **options)
        deadline = time.monotonic() + 300
        while len(clone.runs("trial")) < before + 2:
            assert running.poll() is None and time.monotonic() < deadline, running.communicate()
            time.sleep(0.1)
        running.send_signal(with_signal)
        printed = running.communicate()[1]
        assert running.returncode == status and "Traceback" not in printed
    parent = clone.runs("sweep")[0]
    # What a process leaves that is killed in the one moment between making a run and ending it.
    tags = {"mlflow.parentRunId": parent.info.run_id, "stage": "trial", "trial": "99"}
    ghost = clone.client.create_run(parent.info.experiment_id, tags=tags)

    clone.out(*command, "--jobs", "2")
    same = [
        run for run in clone.runs("sweep") if run.data.tags["study"] == parent.data.tags["study"]
    ]
    assert [(run.info.run_id, run.info.status) for run in same] == [
        (parent.info.run_id, "FINISHED")
    ]
    drawn = kept(clone, parent)
    assert {trial.state for trial in drawn} <= {
        TrialState.COMPLETE,
        TrialState.PRUNED,
        TrialState.FAIL,
    }
    counted = [trial for trial in drawn if trial.state != TrialState.FAIL]
    assert len(counted) in (24, 25)  # two that end in the same moment may both begin another
    assert len({tuple(trial.params.items()) for trial in counted}) == len(counted), (
        "a point was drawn twice"
    )
    spans = [(trial.datetime_start, trial.datetime_complete) for trial in counted]
    assert any(a[0] < b[0] < a[1] for a in spans for b in spans), "one process ran all trials"
    status = {int(run.data.tags["trial"]): run.info.status for run in children(clone, parent)}
    assert status.pop(99) == clone.client.get_run(ghost.info.run_id).info.status == "KILLED"
    assert [n for n in status if status[n] == "FINISHED"] == [trial.number for trial in counted]
    assert set(status.values()) <= {"FINISHED", "KILLED"}
    clone.out("git", "checkout", "-q", ".")


def test_apply_makes_the_best_a_candidate(clone, searched):
    """`--resume --apply` on a finished search runs no trial more; its best is a DVC experiment, a
    model run under the search's run, and a registered version.
    """
    clone.out("git", "checkout", "-q", ".")
    before = len(clone.runs("trial"))
    printed = clone.out("python", "src/sweep.py", "--resume", "--apply")
    assert len(clone.runs("trial")) == before
    run = clone.runs("train")[0]
    parent = clone.client.get_run(run.data.tags["mlflow.parentRunId"])
    assert parent.data.tags["stage"] == "sweep"
    wanted = dict(re.findall(r"^(train\.\w+) .* -> (\S+)$", printed, re.M))
    assert wanted and {name: run.data.params[name] for name in wanted} == wanted
    assert run.info.run_name in clone.out("dvc", "exp", "list")
    assert run.data.tags["model_version"] in {f"{v.name}/{v.version}" for v in clone.versions()}
    clone.out("git", "checkout", "-q", ".")
    clone.out("dvc", "checkout", "-q", "-f")


def test_nothing_is_applied_to_other_parameters(clone, searched):
    """What was edited in params.yaml while a search ran stays, and its result is not applied: the
    best for these parameters may not be the best for those.
    """
    clone.out("git", "checkout", "-q", ".")
    command = [sys.executable, "src/sweep.py", "--resume", "--apply"]
    running = subprocess.Popen(
        command, cwd=clone.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while not running.stdout.readline().startswith("scoring the best"):
        assert running.poll() is None
    running.send_signal(signal.SIGSTOP)
    clone.set(**{"train.rounds": 21, "evaluate.costs.contact": 41.0})
    running.send_signal(signal.SIGCONT)
    printed = running.communicate()[0]
    assert running.returncode == 1, printed
    assert "error: train.rounds in params.yaml changed while the search ran" in printed
    changed = clone.out("git", "diff", "--name-only", "params.yaml", "dvc.lock").split()
    assert changed == ["params.yaml"]
    clone.out("git", "checkout", "-q", ".")


def test_settings_of_a_search_are_no_parameters_of_a_model(clone):
    """Another number of trials reruns no stage and makes no second run of the model."""
    before = len(clone.runs())
    clone.set(**{"sweep.trials": 9})
    assert clone.executed() == []
    assert "gate        passed" in clone.out("python", "src/report.py")
    assert len(clone.runs()) == before
    clone.out("git", "checkout", "-q", ".")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--storage", "mysql://nobody@127.0.0.1:1/none"], "is no database for a search"),
        (["--jobs", "0"], "--jobs must be 1 or more"),
        (["--queue", "--apply"], "--queue takes no option but --jobs"),
        (["--queue"], "the queue is empty"),
    ],
)
def test_mistakes_are_one_clear_message(clone, arguments, says):
    """Not 0, no traceback, and no run left open."""
    result = clone.run("python", "src/sweep.py", *arguments)
    assert result.returncode != 0 and says in result.stderr and "Traceback" not in result.stderr
    assert {run.info.status for stage in ("sweep", "queue") for run in clone.runs(stage)} <= {
        "FINISHED",
        "FAILED",
    }
