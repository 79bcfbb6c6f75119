"""Every command works with a real MLflow server as it does with the project's SQLite file."""

import pytest

from conftest import Project, Server


@pytest.fixture(scope="module")
def clone(tiny_pipeline, tmp_path_factory) -> Project:
    return tiny_pipeline.copy(tmp_path_factory.mktemp("on_a_server"))


@pytest.fixture(scope="module")
def address(clone):
    server = Server.over(clone)
    yield server.address
    server.stop()


@pytest.fixture
def on_server(clone, address, inside, monkeypatch) -> Project:
    """The project, its commands pointed at the server, and version 1 in production."""
    inside(clone)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    if clone.alias("production") is None:
        clone.client.set_registered_model_alias("ChurnXGB", "production", "1")
    return clone


# only operations
def test_promotion(on_server, call, capsys):
    """Every verb of promote.py, and the report."""
    on_server.client.delete_registered_model_alias("ChurnXGB", "production")
    assert call("promote", "--stage", "1") == "0"
    assert call("promote", "--reason", "first", "--by", "Ada", "--yes") == "0"
    assert "nothing came before it" in call(
        "promote", "--rollback", "--reason", "x", "--by", "Ada", "--yes"
    )
    assert call("promote", "--history") == call("promote", "--status") == call("report") == "0"
    printed = capsys.readouterr().out
    assert (
        "ChurnXGB version 1 (model" in printed
        and "first" in printed
        and "gate        passed" in printed
    )


def test_scores_and_drift(on_server, call, capsys):
    assert call("score", "data/raw.parquet", "s.parquet", "--explain") == "0"
    ended = call("monitor", "data/raw.parquet", "s.parquet", "--labels", "data/raw.parquet")
    assert ended in ("0", "4")
    assert "labelled customers" in capsys.readouterr().out


# end
def test_an_experiment_by_the_launcher(on_server, address):
    """`mlflow run . -P max_depth=2` is `dvc exp run`: its run on the server is the launching run's
    child.
    """
    command = ("mlflow", "run", ".", "--env-manager", "local", "-P", "max_depth=2")
    on_server.out(*command, MLFLOW_TRACKING_URI=address)
    (name,) = on_server.out("dvc", "exp", "list", "--name-only").split()
    run = on_server.runs("train")[0]
    assert run.info.run_name == name and "mlflow.parentRunId" in run.data.tags
    on_server.out("git", "checkout", "-q", ".")
    on_server.out("dvc", "checkout", "-q")


# only experiments
def test_a_search(on_server, call):
    on_server.set(**{"sweep.trials": 2, "sweep.folds": 1})
    assert call("sweep") == "0"
    on_server.out("git", "checkout", "-q", "params.yaml")
    (search,) = on_server.runs("sweep")
    assert search.info.status == "FINISHED" and len(on_server.runs("trial")) == 2


# end
# only forensics
def test_a_rebuild(on_server, call, capsys):
    """reproduce.py finds version 1 by its tags on the server, and writes its result there."""
    assert call("reproduce", "1") == "0"
    assert on_server.client.get_model_version("ChurnXGB", "1").tags["reproduced"] == "identical"


def test_what_differs(on_server, call):
    assert "made of the same code, data, parameters, seed" in call(
        "why", "models:/ChurnXGB/1", "HEAD"
    )


# end
