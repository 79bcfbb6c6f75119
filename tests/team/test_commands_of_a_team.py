"""Training and what surrounds it on the real services: PostgreSQL, S3, and MLflow's server."""

import shutil

import pytest

from churn.files import md5
from conftest import Project, warm_environment


@pytest.fixture(scope="module")
def clone(services, tmp_path_factory) -> Project:
    """A clone after `dvc repro` and `dvc push`, everything on the services."""
    project = services.clone(tmp_path_factory.mktemp("commands") / "first")
    # only experiments
    project.set(**{"sweep.trials": 2, "sweep.folds": 1})
    # end
    project.commit("small")
    project.out("dvc", "repro", **services.env)
    project.commit("version 1")
    project.out("dvc", "push", "-q", **services.env)
    return project


@pytest.fixture
def on_team(clone, on_services, monkeypatch) -> Project:
    """The clone as current folder, with the services' addresses and passwords."""
    monkeypatch.chdir(clone.folder)
    return clone


def test_nothing_is_left_at_home(on_team, services):
    """Runs, models and data are with the services alone: no database and no artifacts appear in the
    clone, git is clean, and the runs were not made by dirty code.
    """
    assert not (on_team.folder / "mlflow.db").exists()
    assert not (on_team.folder / "mlartifacts").exists()
    assert on_team.out("git", "status", "--short") == ""
    (version,) = [found for found in on_team.versions() if str(found.version) == "1"]
    assert version.tags["git_dirty"] == "false"
    model = on_team.outs()["models/churn.ubj"]
    objects = services.folder / "buckets/dvc/first/files/md5"
    assert md5(objects / model[:2] / model[2:]) == model
    assert list((services.folder / "buckets/mlflow").rglob("*.ubj"))


def test_a_remote_has_to_be_named(on_team):
    """`make team-remote` without a bucket says what to type, and changes nothing."""
    refused = on_team.run("make", "team-remote", VENV=str(warm_environment()))
    assert refused.returncode and "make team-remote URL=s3://BUCKET/PATH" in refused.stderr
    assert on_team.out("git", "status", "--short") == ""


def test_report_and_doctor(on_team, call, capsys):
    """The report shows the registered version, and the doctor has nothing to mend in the store."""
    assert call("report") == "0"
    assert "gate        passed" in capsys.readouterr().out
    call("doctor")
    assert "ok    MLflow's store" in capsys.readouterr().out


# only experiments
def test_a_search_and_a_queue(on_team, call):
    """A search logs its trials on the server; DVC's queue of experiments runs on it too."""
    assert call("sweep") == "0"
    assert [run.info.status for run in on_team.runs("sweep")] == ["FINISHED"]
    assert len(on_team.runs("trial")) == 2
    on_team.out("dvc", "exp", "run", "--queue", "--name", "queued", "-S", "train.max_depth=3")
    on_team.out("dvc", "exp", "run", "--run-all")
    assert "queued" in {run.info.run_name for run in on_team.runs("train")}


# end
def test_the_launcher(on_team):
    """`mlflow run . -P max_depth=5` logs the runs of its pipeline on the server."""
    on_team.out("mlflow", "run", ".", "--env-manager", "local", "-P", "max_depth=5")
    on_team.out("git", "checkout", "-q", ".")
    on_team.out("dvc", "checkout", "-q")
    depths = {run.data.params["train.max_depth"] for run in on_team.runs("train")}
    assert "5" in depths


# only forensics
def test_what_differs(on_team, call):
    assert "made of the same code, data, parameters, seed" in call(
        "why", "models:/ChurnXGB/1", "HEAD"
    )


# end
def test_a_colleague(on_team, call, monkeypatch):
    """A second clone pulls from the bucket and has nothing to run; it sees the same versions and
    rebuilds the first from what is there; running the pipeline again makes no version.
    """
    folder = on_team.folder.with_name("second")
    shutil.rmtree(folder, ignore_errors=True)
    on_team.out("git", "clone", "-q", str(on_team.folder), str(folder))
    second = Project(folder)
    second.uri = on_team.uri
    monkeypatch.chdir(folder)
    second.out("dvc", "pull", "-q")
    assert second.executed() == []
    assert md5(folder / "models/churn.ubj") == on_team.outs()["models/churn.ubj"]

    before = [version.version for version in on_team.versions()]
    # only forensics
    assert call("reproduce", "1") == "0"
    assert second.client.get_model_version("ChurnXGB", "1").tags["reproduced"] == "identical"
    # end
    second.out("dvc", "repro", "-f")
    assert [version.version for version in second.versions()] == before
    assert second.out("git", "status", "--short") == ""
