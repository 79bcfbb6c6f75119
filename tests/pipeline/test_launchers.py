"""`mlflow run`: what its entry points leave in MLflow and DVC."""

import shutil
import subprocess
from pathlib import Path

import pytest
from mlflow.artifacts import download_artifacts

from churn import paths
from churn.files import md5, read_yaml
from conftest import TINY, Project, flat, free_port
from suspended import start_suspended


@pytest.fixture
def clone(tiny_pipeline, tmp_path) -> Project:
    """A tiny project after `dvc repro`."""
    return tiny_pipeline.copy(tmp_path)


def launched(project: Project, *arguments: str):
    """`mlflow run` in the project: how it ended, and its run."""
    command = ["mlflow", "run", ".", "--env-manager", "local", *arguments]
    result = project.run(*command, MLFLOW_TRACKING_URI=project.uri)
    runs = project.client.search_runs(["0"])  # the newest first
    return result, next(run for run in runs if "mlflow.project.entryPoint" in run.data.tags)


def given(**parameters: object) -> list[str]:
    """The parameters as -P."""
    return [f"-P{name}={value}" for name, value in parameters.items()]


def test_it_is_never_empty(clone):
    """Every stage is cached: the parent holds parameters, metrics and dvc.lock, and says so."""
    result, parent = launched(clone)
    assert result.returncode == 0, result.stderr
    assert (parent.info.status, parent.info.run_name) == ("FINISHED", "pipeline")
    assert parent.data.params["train.rounds"] == "20" and "roc_auc" in parent.data.metrics
    tags = parent.data.tags
    assert (tags["cached"], tags["executed"], tags["gate"]) == ("true", "nothing", "passed")
    (model_run,) = clone.runs("train")
    assert tags["model_run"] == model_run.info.run_id
    assert "dvc.lock" in [item.path for item in clone.client.list_artifacts(parent.info.run_id)]


def test_a_new_store_is_filled(clone):
    """Every stage is cached and the store is new: report.py makes the model's run, under the
    parent, and the parent is filled all the same.
    """
    clone.uri = f"sqlite:///{clone.folder}/new.db"
    result, parent = launched(clone)
    assert result.returncode == 0, result.stderr
    (model_run,) = clone.runs("train")
    assert model_run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert parent.data.tags["model_run"] == model_run.info.run_id
    assert parent.data.metrics["roc_auc"] == model_run.data.metrics["roc_auc"]


def test_a_stage_and_then_the_rest(clone):
    """`-e train` runs the pipeline up to train; what ran is a child of the parent and does not log
    into it. The whole pipeline is then `dvc repro`: no experiment, a version in staging, and its
    parent says that train came from the cache.
    """
    clone.set(**{"train.max_depth": 3})
    result, parent = launched(clone, "-e", "train")
    assert result.returncode == 0, result.stderr
    assert parent.info.run_name == "train"
    assert parent.data.tags["executed"] == "train" and parent.data.params["train.max_depth"] == "3"
    model_run = clone.runs("train")[0]
    assert model_run.data.tags["mlflow.parentRunId"] == parent.info.run_id != model_run.info.run_id
    assert model_run.info.experiment_id == parent.info.experiment_id
    assert clone.alias("staging") == "1"

    result, parent = launched(clone)
    assert result.returncode == 0, result.stderr
    assert parent.data.tags["executed"] == "evaluate" and clone.alias("staging") == "2"
    assert clone.out("dvc", "exp", "list", "--name-only").split() == []


def test_with_changes_it_is_an_experiment(clone):
    """-P max_depth=2: one DVC experiment, one model run of its name under the parent, the same
    figures in all three. Its version is not staged.
    """
    result, parent = launched(clone, *given(max_depth=2))
    assert result.returncode == 0, result.stderr
    assert parent.info.run_name == "pipeline max_depth=2"
    (name,) = clone.out("dvc", "exp", "list", "--name-only").split()
    run = clone.runs("train")[0]
    assert run.info.run_name == run.data.tags["dvc_experiment"] == name
    assert parent.data.tags["dvc_experiment"] == name
    assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert run.data.params["train.max_depth"] == parent.data.params["train.max_depth"] == "2"
    assert run.data.metrics["roc_auc"] == parent.data.metrics["roc_auc"]
    shown = clone.out("dvc", "exp", "show", "--json", "--no-pager")
    assert f"{run.data.metrics['roc_auc']}" in shown
    assert len(clone.versions()) == 2 and clone.alias("staging") == "1"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"max_dept": 6}, "-P max_dept: there is no such parameter; did you mean max_depth?"),
        ({"learning_rate": 7}, "train.learning_rate"),
    ],
)
def test_wrong_parameters(clone, wrong, says):
    """One clear line, no traceback of ours; the launching run is FAILED, says why, and its name
    says that it was refused. No run is left RUNNING, and params.yaml is as it was.
    """
    before = (clone.folder / "params.yaml").read_bytes()
    result, parent = launched(clone, *given(**wrong))
    assert result.returncode != 0 and says in result.stderr and 'File "src/' not in result.stderr
    assert parent.info.status == "FAILED" and says in parent.data.tags["error"]
    assert parent.info.run_name.startswith("refused: pipeline ")
    assert (clone.folder / "params.yaml").read_bytes() == before
    experiments = [item.experiment_id for item in clone.client.search_experiments()]
    everything = clone.client.search_runs(experiments)
    assert [run.info.run_id for run in everything if run.info.status == "RUNNING"] == []


@pytest.mark.parametrize("options", [[], given(max_depth=2)], ids=["repro", "experiment"])
def test_an_edit_of_params_is_not_lost(clone, monkeypatch, options):
    """Somebody writes the next experiment into params.yaml while `mlflow run` works: that ends the
    stage, and what was written stays. Without an edit, params.yaml is as it was.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", clone.uri)
    clone.set(**{"train.max_depth": 3})
    before = (clone.folder / "params.yaml").read_text()
    command = ("mlflow", "run", ".", "--env-manager=local", *options)
    launcher, stage = start_suspended(clone, "train", *command)
    clone.set(**{"train.learning_rate": 0.07})
    stage.resume()
    printed, _ = launcher.communicate(timeout=300)
    assert "train.learning_rate in params.yaml changed while train ran" in printed
    edited = flat(read_yaml(clone.folder / "params.yaml"))
    assert edited["train.learning_rate"] == 0.07
    assert ("train.max_depth are the experiment's" in printed) == bool(options)

    (clone.folder / "params.yaml").write_text(before)
    (clone.folder / "data/schema.yaml").write_text("no contract")
    result, _ = launched(clone, *options)
    assert result.returncode != 0
    assert (clone.folder / "params.yaml").read_text() == before


def test_killed(clone, monkeypatch):
    """`kill -9` of `mlflow run` alone: what it launched goes on to its end; its run is KILLED."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", clone.uri)
    clone.set(**{"train.max_depth": 2})
    launcher, stage = start_suspended(clone, "train", "mlflow", "run", ".", "--env-manager=local")
    launcher.kill()
    stage.resume()
    printed, _ = launcher.communicate(timeout=300)
    assert "ChurnXGB version 2" in printed
    runs = clone.client.search_runs(["0"])
    (parent,) = [run for run in runs if "mlflow.project.entryPoint" in run.data.tags]
    assert parent.info.status == "KILLED"


# only experiments
def test_sweep(clone):
    """The search by the launcher: its run is the launcher's child, its trials are that run's, in
    one experiment.
    """
    clone.set(**{"sweep.trials": 2, "sweep.folds": 1})
    result, parent = launched(clone, "-e", "sweep")
    assert result.returncode == 0 and parent.info.status == "FINISHED", result.stderr
    assert parent.info.run_name.startswith("sweep")
    (search,) = clone.runs("sweep")
    assert search.data.tags["mlflow.parentRunId"] == parent.info.run_id
    trials = clone.runs("trial")
    assert len(trials) == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in trials} == {search.info.run_id}
    assert {run.info.experiment_id for run in (search, *trials)} == {parent.info.experiment_id}


# end
# only operations
def test_operations(clone):
    """promote and score by the launcher: production is set; the parent of a command that failed is
    FAILED.
    """
    result, parent = launched(clone, "-e", "promote", "-P", "reason=first model", "-P", "by=Ada")
    assert result.returncode == 0, result.stderr
    assert clone.alias("production") == "1"
    assert parent.info.run_name == "promote by=Ada reason='first model'"
    files = ("-P", "customers=none.csv", "-P", "scores=scores.parquet")
    result, parent = launched(clone, "-e", "score", *files)
    assert result.returncode != 0 and parent.info.status == "FAILED"


# end
@pytest.fixture
def fresh(tmp_path) -> Project:
    """A tiny project in which nothing was pulled or run."""
    fresh = Project.clone(tmp_path / "fresh")
    fresh.set(**TINY)
    fresh.commit("tiny")
    return fresh


def from_elsewhere(fresh: Project, *arguments: str, **env: str) -> None:
    """`mlflow run` in a folder beside the project, whose store is used."""
    there = fresh.folder.with_name("elsewhere")
    there.mkdir()
    fresh.out("mlflow", "run", *arguments, "--env-manager", "local", cwd=there, **env)
    assert not (fresh.folder / "mlflow.db").exists()
    fresh.uri = f"sqlite:///{there}/mlflow.db"


def test_a_path_from_outside(fresh):
    """`mlflow run PATH` from another folder, with no data pulled by hand."""
    from_elsewhere(fresh, str(fresh.folder), "-e", "preprocess")
    (run,) = fresh.runs("preprocess")
    assert run.info.status == "FINISHED" and "mlflow.parentRunId" in run.data.tags
    assert (fresh.folder / paths.SPLITS["test"]).exists()


@pytest.mark.sample  # own data is on a remote that a test does not reach
def test_a_git_url_from_outside(fresh, tmp_path):
    """`mlflow run URL` clones the project into a temporary folder.

    When that is gone, the version still has its artifacts, and names the commit that it was made
    of.
    """
    port, temporary = free_port(), tmp_path / "temporary"
    temporary.mkdir()
    daemon = Path(fresh.out("git", "--exec-path").strip(), "git-daemon")
    options = [
        "--listen=127.0.0.1",
        f"--port={port}",
        f"--base-path={tmp_path}",
        "--export-all",
        "--reuseaddr",
    ]
    server = subprocess.Popen([daemon, *options], stderr=subprocess.DEVNULL)
    try:
        from_elsewhere(fresh, f"git://127.0.0.1:{port}/fresh", TMPDIR=str(temporary))
    finally:
        server.terminate()
        server.wait()
    assert not (fresh.folder / "models/churn.ubj").exists()
    shutil.rmtree(temporary)
    (version,) = fresh.versions()
    assert fresh.alias("staging") == str(version.version)
    assert version.tags["git_commit"] == fresh.out("git", "rev-parse", "HEAD").strip()
    artifacts = fresh.client.get_model_version_download_uri("ChurnXGB", "1")
    copied = download_artifacts(
        artifacts, tracking_uri=fresh.uri, dst_path=str(tmp_path / "copied")
    )
    assert md5(next(Path(copied).rglob("churn.ubj"))) == version.tags["model_md5"]
