"""DVC experiments, one or a queue of them, and MLflow hold the same thing afterwards."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.entities import Run

from conftest import warm_environment

METRICS = "reports/metrics.json"


@pytest.fixture(scope="module")
def clone(tiny_pipeline, tmp_path_factory):
    return tiny_pipeline.copy(tmp_path_factory.mktemp("experiments"))


def shown(clone) -> dict[str, dict]:
    """{name: {"params", "metrics"}} of every experiment that `dvc exp show` lists."""
    (_, commit) = json.loads(clone.out("dvc", "exp", "show", "--json"))
    found = {}
    for experiment in commit["experiments"] or ():
        data = experiment["revs"][0]["data"]
        params, metrics = (
            data[key][file]["data"]
            for key, file in (("params", "params.yaml"), ("metrics", METRICS))
        )
        found[experiment["name"]] = {"params": params, "metrics": metrics}
    return found


@pytest.fixture(scope="module")
def queue_run(clone) -> tuple[subprocess.CompletedProcess, Run]:
    """A queue that was run, two good experiments and one that fails; and its run in MLflow.

    It was started from a shell in which the environment is not on PATH and the tracking URI is
    relative.
    """
    clone.out("dvc", "exp", "run", "--queue", "-S", "train.max_depth=2,3")
    clone.out(
        "dvc", "exp", "run", "--queue", "-n", "broken", "-S", "+train.max_dept=3", "-S", "seed=3"
    )
    plain = ":".join(p for p in os.environ["PATH"].split(":") if not Path(p, "dvc").exists())
    env = {**os.environ, "PATH": plain, "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db"}
    env["CHURN_SKIP_PLOTS"] = "0"
    command = [warm_environment() / "bin/python", "src/sweep.py", "--queue", "--jobs", "2"]
    result = subprocess.run(command, cwd=clone.folder, env=env, capture_output=True, text=True)
    return result, clone.runs("queue")[0]


def test_queue_runs_all_under_one_parent_and_reports_failure(clone, queue_run):
    """The failed one's log is shown, the exit code is 1. The good ones are in MLflow after their
    workspaces are gone, with artifacts, as children of one run, with DVC's names and numbers.
    """
    result, parent = queue_run
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert (
        "did you mean train.max_depth?" in result.stderr
        and "error: broken: failed" in result.stderr
    )
    table = r"Experiment +train.max_depth +roc_auc .* thresholds\n( *\S+ +[23] +0\.\d{4} .*\n){2}"
    assert re.search(table, result.stdout), result.stdout
    assert result.stdout.count(": success") == 2 and "broken: failed" in result.stdout
    assert parent.info.status == "FAILED"
    children = [
        r for r in clone.runs() if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id
    ]
    done = [child for child in children if child.info.status == "FINISHED"]
    listed = shown(clone)
    assert len(done) == 2 and {run.info.run_name for run in done} < set(listed)
    for run in done:
        experiment = listed[run.info.run_name]
        depth = str(experiment["params"]["train"]["max_depth"])
        assert (
            run.data.params["train.max_depth"] == depth
            and run.data.tags["dvc_experiment"] == run.info.run_name
        )
        assert run.data.metrics["roc_auc"] == experiment["metrics"]["roc_auc"]
        assert (
            Path(clone.client.download_artifacts(run.info.run_id, "plots/roc.png")).stat().st_size
            > 1000
        )
    assert {run.data.params["train.max_depth"] for run in done} == {"2", "3"}


def test_a_dead_worker_is_noticed(clone):
    """kill -9 of a queue's only worker is reported, with the experiment it left; exit code 1."""
    clone.out("dvc", "exp", "run", "--queue", "-n", "orphan", "-S", "train.max_depth=6")
    running = subprocess.Popen(
        [sys.executable, "src/sweep.py", "--queue"],
        cwd=clone.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in running.stdout:
        if "orphan: running" in line:
            break
    listed = subprocess.run(
        ["pgrep", "-P", str(running.pid), "-f", "queue-worker"], capture_output=True, text=True
    )
    assert listed.stdout, running.communicate()
    (worker,) = map(int, listed.stdout.split())
    os.kill(worker, signal.SIGKILL)
    _, printed = running.communicate(timeout=300)
    assert (
        running.returncode == 1
        and "died" in printed
        and "orphan" in printed
        and "Traceback" not in printed
    )
    assert re.search(r"orphan .* Failed", clone.out("dvc", "queue", "status"))


def test_apply_brings_the_registered_model_back(clone, queue_run):
    """Of the two experiments the first is applied: nothing is trained, and report.py finds its run
    and its version by the model's md5. The same experiment again is cached and adds no run.
    """
    runs, versions = len(clone.runs()), len(clone.versions())
    queued = re.findall(r"\] (\S+): success", queue_run[0].stdout)
    (name,) = [name for name in queued if shown(clone)[name]["params"]["train"]["max_depth"] == 2]
    clone.out("dvc", "exp", "apply", name)
    assert clone.executed() == []
    printed = clone.out("python", "src/report.py")
    md5 = clone.outs()["models/churn.ubj"]
    (run,) = [run for run in clone.runs() if run.data.tags.get("model_md5") == md5]
    assert run.info.run_name == name and run.data.tags["dvc_experiment"] == name
    (version,) = [version for version in clone.versions() if version.tags["model_md5"] == md5]
    assert f"workspace   ChurnXGB version {version.version}, model {md5[:8]}" in printed
    clone.out("git", "checkout", "-q", ".")
    clone.out("dvc", "exp", "run", "-n", "again", "-S", "train.max_depth=2")
    assert (len(clone.runs()), len(clone.versions())) == (runs, versions)
    assert "again" in clone.out("dvc", "exp", "list")
