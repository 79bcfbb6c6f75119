"""Stores that are servers, stores that cannot be used, and files of DVC's cache that are damaged."""

import os
import subprocess
import time
import urllib.request

import mlflow
import pytest
from conftest import BIN, Project, free_port

from churn import lineage, tracking
from churn.errors import UserError


@pytest.fixture
def clone(tiny_pipeline, tmp_path) -> Project:
    """A project with version 1 in staging."""
    return tiny_pipeline.copy(tmp_path)


@pytest.fixture
def server(clone):
    """The address of a real MLflow server over the project's store."""
    port = free_port()
    command = ["mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", clone.uri, "--default-artifact-root", str(clone.folder / "mlartifacts")]
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with open(clone.folder / "server.log", "w") as log:
        running = subprocess.Popen(command, cwd=clone.folder, env=env, stdout=log, stderr=log)
    address, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=5)
            break
        except OSError:
            assert running.poll() is None and time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.3)
    yield address
    running.terminate()
    running.wait(30)


def test_operations_on_a_server(clone, server):
    """promote, score, monitor with labels, status and report work against a server as they do on SQLite."""
    on_server = {"MLFLOW_TRACKING_URI": server}
    clone.out("python", "src/promote.py", "--reason", "first", "--yes", **on_server)
    clone.out("python", "src/score.py", "data/raw.parquet", "s.parquet", **on_server)
    labels = ["--labels", "data/raw.parquet"]
    monitored = clone.run("python", "src/monitor.py", "data/raw.parquet", "s.parquet", *labels, **on_server)
    assert monitored.returncode in (0, 4) and "labelled customers" in monitored.stdout, monitored.stderr
    assert "production" in clone.out("python", "src/promote.py", "--status", **on_server)
    assert "gate        passed" in clone.out("python", "src/report.py", **on_server)


def refused(monkeypatch, store: str) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    with pytest.raises(UserError) as caught:
        tracking.connect()
    return str(caught.value)


@pytest.mark.parametrize("store", ["./mlruns", "mlruns", "file:///tmp/mlruns"])
def test_a_folder_is_no_store(clone, inside, monkeypatch, store):
    inside(clone)
    assert "a folder, which MLflow no longer takes" in refused(monkeypatch, store)


def test_a_server_that_is_down(clone, inside, monkeypatch, capsys):
    """Seconds, not minutes; what is waited for is said at the first failure."""
    inside(clone)
    monkeypatch.setattr(tracking, "TRIES", 2)
    address = f"http://127.0.0.1:{free_port()}"
    assert "does not answer" in refused(monkeypatch, address)
    assert f"waiting for the MLflow server at {address}" in capsys.readouterr().err


def test_an_experiment_that_was_deleted(clone, inside, monkeypatch):
    """As somebody may do in MLflow's page: how to bring it back is said."""
    inside(clone)
    mlflow.set_tracking_uri(clone.uri)
    experiment = tracking.connect()
    mlflow.delete_experiment(experiment)
    said = refused(monkeypatch, clone.uri)
    assert "was deleted" in said and f"restore --experiment-id {experiment}" in said


def test_quotes_in_names(clone, inside):
    """A name with a quote is searched for, one with both kinds is refused; neither breaks MLflow's filter."""
    inside(clone)
    assert tracking.find_run(dvc_experiment="it's") is None
    assert tracking.find_run(dvc_experiment='the "new" one') is None
    with pytest.raises(UserError, match="both kinds of quotes"):
        tracking.find_run(dvc_experiment="it's \"new\"")


def test_a_damaged_file_of_the_cache(clone, inside):
    """A byte flipped in the cached training split: refused by name, before anything is computed from it."""
    inside(clone)
    digest = clone.outs()["data/prepared/train.parquet"]
    path = lineage.fetch(digest, "the training split")
    content = bytearray(path.read_bytes())
    content[1000] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(UserError, match="in DVC's cache is damaged"):
        lineage.fetch(digest, "the training split")
