"""A tracking server that is away, overloaded, or whose answers are lost, and a full disk: what was
computed stays, the message says what to do, and afterwards everything is there once.
"""

import re
import resource
import sys
import time

import mlflow
import pytest

from churn.tracking import store_checks
from conftest import Project, Server
from proxy import AWAY, BUSY, CUT, PASS, proxied


@pytest.fixture(scope="module")
def clone(tiny_pipeline, tmp_path_factory) -> Project:
    return tiny_pipeline.copy(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def front(clone):
    """The address of a proxy, and the proxy, before a real MLflow server."""
    server = Server.over(clone)
    with proxied(server.address) as (address, proxy):
        yield address, proxy
    server.stop()


@pytest.fixture
def proxy(front, clone, inside, monkeypatch):
    """Commands of this process go through the proxy, and give up at the first failure."""
    address, proxy = front
    inside(clone)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(store_checks, "TRIES", 1)
    store_checks.wait_for_server.cache_clear()
    proxy.reset()
    mlflow.set_tracking_uri(address)
    yield proxy
    proxy.reset()


def new_model(clone: Project) -> None:
    """Other code that scores is another version."""
    with (clone.folder / "src/churn/modeling/scoring.py").open("a") as code:
        code.write(f"# {time.monotonic()}\n")


def newest(clone: Project) -> tuple:
    """The newest version, and the runs that recorded the evaluation of its model."""
    version = clone.versions()[0]
    name = f"{version.name}/{version.version}"
    found = clone.runs("train") + clone.runs("evaluate")
    return version, [run for run in found if run.data.tags.get("model_version") == name]


def statuses(clone: Project) -> set[str]:
    stages = ("preprocess", "train", "evaluate")
    return {run.info.status for stage in stages for run in clone.runs(stage)}


def check_whole(clone: Project, versions: int) -> None:
    """One version more than before, one record of it, and no run left open."""
    version, records = newest(clone)
    assert len(clone.versions()) == versions + 1
    assert clone.alias("staging") == str(version.version)
    assert [run.info.status for run in records] == ["FINISHED"]
    assert [v.version for v in clone.versions() if v.tags["stage"] == "Staging"] == [
        version.version
    ]
    assert "RUNNING" not in statuses(clone)


@pytest.mark.parametrize("fate", [AWAY, BUSY, CUT])
def test_at_any_moment_of_an_evaluation(clone, front, proxy, call, fate):
    """The server fails from one request on, which is another one each time; then it is back, and
    the same command completes everything.
    """
    new_model(clone)
    assert call("evaluate") == "0"
    total = len(proxy.requests)
    for first in range(total // 8, total, total // 3):
        new_model(clone)
        versions = len(clone.versions())
        proxy.reset(lambda number, _, first=first: fate if number >= first else PASS)
        message = call("evaluate")
        assert message.startswith("error: ") and front[0] in message, message
        assert (clone.folder / "reports/metrics.json").exists()
        proxy.reset()
        mlflow.end_run()
        store_checks.wait_for_server.cache_clear()
        assert call("evaluate") == "0"
        check_whole(clone, versions)


def test_answers_that_are_lost_once(clone, proxy, call, monkeypatch):
    """Each kind of request loses its first answer, and MLflow's client sends it again: what it did
    is not done twice. MLflow's own call that notes the model of a run is left out: it fails when it
    is sent again, with one message, and the next evaluation completes all.
    """
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    new_model(clone)
    versions = len(clone.versions())
    seen = set()

    def lose_the_first(_, request: str) -> str:
        is_first = request not in seen and not request.endswith(("/health", "/outputs"))
        seen.add(request)
        return CUT if is_first else PASS

    proxy.reset(lose_the_first)
    assert call("evaluate") == "0"
    proxy.reset()
    check_whole(clone, versions)


def test_away_before_and_after_training(clone, front, proxy, monkeypatch):
    """Before: nothing is computed. Between training and evaluation: the model stays, and the next
    `make repro` trains nothing.
    """
    address = front[0]
    env = {"MLFLOW_TRACKING_URI": address}
    clone.out("git", "checkout", "-q", ".")
    clone.set(seed=11)
    before = clone.outs()
    versions = len(clone.versions())
    proxy.reset(lambda *_: AWAY)
    failed = clone.run("dvc", "repro", **env)
    assert failed.returncode != 0 and f"the MLflow server at {address} cannot" in failed.stderr
    assert clone.outs() == before

    proxy.reset()
    clone.out("dvc", "repro", "train", **env)
    model = clone.outs()["models/churn.ubj"]
    proxy.reset(lambda *_: AWAY)
    failed = clone.run("dvc", "repro", **env)
    assert failed.returncode != 0 and f"the MLflow server at {address} cannot" in failed.stderr
    proxy.reset()
    printed = clone.out("make", "-o", "setup", "repro", **env)
    assert "Running stage 'train'" not in printed and "Running stage 'evaluate'" in printed
    check_whole(clone, versions)
    (record,) = newest(clone)[1]
    assert record.data.tags["model_md5"] == model and record.data.tags["stage"] == "train"


@pytest.fixture
def full_disk(monkeypatch):
    """Files can grow to so many bytes, as on a disk that has only them left."""
    # Python would keep the half of a compiled module that it could write, and fail to import it.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("command", ["preprocess", "train", "evaluate", "score"])
def test_a_full_disk(clone, proxy, call, full_disk, command, tmp_path):
    """One message; the same command works when there is room, and leaves no run open."""
    clone.client.set_registered_model_alias("ChurnXGB", "production", "1")
    clone.out("git", "checkout", "-q", ".")
    clone.out("dvc", "checkout", "-q", "-f")
    arguments = ["data/raw.parquet", str(tmp_path / "s.parquet")] if command == "score" else []
    full_disk(2000)
    message = call(command, *arguments)
    full_disk(resource.RLIM_INFINITY)
    assert re.match("error: .*(is full|File too large)", message), message
    mlflow.end_run()
    assert not (tmp_path / "s.parquet").exists()
    assert call(command, *arguments) == "0"
    assert "RUNNING" not in statuses(clone)
