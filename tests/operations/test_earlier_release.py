"""A version registered before the packages is promoted, scored with, served and monitored."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest

import earlier_release
from churn import paths
from churn.data.contract import load_contract
from churn.files import md5
from churn.modeling.booster import load_booster, predict_probabilities
from conftest import BIN, Project, free_port

pytestmark = pytest.mark.sample


@pytest.fixture(scope="module")
def earlier(once, tmp_path_factory) -> Project:
    """A project with today's code; version 1, of the earlier release, is in production."""
    earlier_release.skip_without_history()
    built = Project(once("earlier_release", earlier_release.build_earlier_release))
    project = built.copy(tmp_path_factory.mktemp("earlier_release"))
    project.out("python", "src/promote.py", "--reason", "the earlier release", "--yes")
    return project


@pytest.fixture
def customers(earlier, inside) -> pd.DataFrame:
    """The raw table without its labels, in the project."""
    inside(earlier)
    return pd.read_parquet(paths.RAW).drop(columns="churn")


@pytest.fixture
def expected(earlier, customers) -> np.ndarray:
    """The probabilities of the booster that the earlier release trained; shape (rows,)."""
    (version,) = earlier.versions()
    assert md5(paths.MODEL) == version.tags["model_md5"]

    contract = load_contract(paths.SCHEMA, "customer_id", "churn", "Yes")
    return predict_probabilities(load_booster(paths.MODEL), customers, contract)


def test_it_was_registered_by_the_earlier_release(earlier):
    """The logged code is one folder of modules, and the version is in production."""
    artifacts = earlier.folder / "mlartifacts"
    (module,) = artifacts.rglob("code/churn/contract.py")
    assert not (module.parent / "data").exists()
    assert earlier.alias("production") == "1"


def test_it_scores_a_table_and_is_monitored(customers, expected, call, capsys, tmp_path):
    """score.py writes the booster's own probabilities; monitor.py finds its training rows."""
    table, scores = str(tmp_path / "customers.parquet"), str(tmp_path / "scores.parquet")
    customers.to_parquet(table)

    assert call("score", table, scores) == "0"
    printed = capsys.readouterr().out
    assert "7,043 scored by ChurnXGB version 1" in printed
    assert "no longer says by which costs" not in printed, "its run has them"
    assert np.array_equal(pd.read_parquet(scores)["churn_probability"], expected)

    assert call("monitor", table, scores) == "0"
    assert "training rows of ChurnXGB version 1" in capsys.readouterr().out


def test_it_is_served(earlier, customers, expected):
    """serve.py over HTTP gives the booster's own probabilities."""
    rows = json.loads(customers.head(20).to_json(orient="split", index=False))
    with served(earlier) as address:
        request = urllib.request.Request(
            f"{address}/invocations",
            json.dumps({"dataframe_split": rows}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            answer = json.loads(response.read())["predictions"]
            assert response.headers["x-model-version"] == "1"
    assert [row["churn_probability"] for row in answer] == list(expected[:20])


@contextlib.contextmanager
def served(project: Project) -> Iterator[str]:
    """Serve the production model; the server's address."""
    port = free_port()
    command = [BIN / "python", "src/serve.py", "--port", str(port)]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": project.uri}
    process = subprocess.Popen(command, cwd=project.folder, env=environment, start_new_session=True)
    try:
        wait_until_it_answers(process, f"http://127.0.0.1:{port}/ping")
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(120)


def wait_until_it_answers(process: subprocess.Popen, url: str) -> None:
    deadline = time.monotonic() + 300
    while True:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(url, timeout=5).close()
            return
        assert process.poll() is None and time.monotonic() < deadline, "the server did not come up"
        time.sleep(0.2)


def test_the_next_version_is_compared_with_it(earlier, tmp_path, inside, call):
    """This code's own pipeline gates against it, takes its place, and a rollback brings it back."""
    project = inside(earlier.copy(tmp_path))
    printed = project.out("dvc", "repro")
    assert "gate passed (roc_auc +0.0000 against production" in printed
    assert project.alias("staging") == "2"

    assert call("promote", "--reason", "the packages", "--yes") == "0"
    assert project.alias("production") == "2"
    assert call("promote", "--rollback", "--reason", "compare them", "--yes") == "0"
    assert project.alias("production") == "1"
