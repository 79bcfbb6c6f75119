"""Promotion, scoring, monitoring and serving on the real services of a team."""

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request

import fsspec
import pandas as pd
import pytest

from churn.params import load_params
from conftest import Project, free_port


@pytest.fixture(scope="module")
def clone(services, tmp_path_factory) -> Project:
    """A clone after `dvc repro`, `dvc push` and the promotion of version 1."""
    project = services.clone(tmp_path_factory.mktemp("operations") / "first")
    project.out("dvc", "repro", **services.env)
    project.commit("version 1")
    project.out("dvc", "push", "-q", **services.env)
    project.out("python", "src/promote.py", "--reason", "first", "--yes", **services.env)
    return project


@pytest.fixture
def on_team(clone, on_services, monkeypatch) -> Project:
    """The clone as current folder, with the services' addresses and passwords."""
    monkeypatch.chdir(clone.folder)
    return clone


def upload(table: pd.DataFrame, name: str) -> str:
    """Write a table as Parquet into the bucket; its URL."""
    url = f"s3://dvc/batches/{name}.parquet"
    with fsspec.open(url, "wb") as file:
        table.to_parquet(file)
    return url


def download(url: str) -> pd.DataFrame:
    with fsspec.open(url) as file:
        return pd.read_parquet(file)


def test_promotion_and_rollback(on_team, call, capsys):
    """An experiment's version is staged, promoted and rolled back; the history has both."""
    on_team.out("dvc", "exp", "run", "--name", "deeper", "-S", "train.max_depth=2")
    on_team.out("git", "checkout", "-q", ".")
    on_team.out("dvc", "checkout", "-q")
    assert call("promote", "--stage", "deeper") == "0"
    assert call("promote", "--reason", "deeper", "--yes") == "0"
    assert call("promote", "--rollback", "--reason", "complaints", "--yes") == "0"
    assert on_team.alias("production") == "1"
    assert call("promote", "--history") == "0"
    history = capsys.readouterr().out
    assert "deeper" in history and "complaints" in history and "admin" in history


def test_batches_in_the_bucket(on_team, call, capsys):
    """score.py reads from and writes to s3://, as does monitor.py; a row without an id is in the
    file of rejected rows beside the scores.
    """
    data = load_params().data
    customers = pd.read_parquet("data/raw.parquet")
    broken = customers.head(500).astype({data.id: object})
    broken.loc[broken.index[:2], data.id] = None
    table = upload(broken, "may")
    scores = "s3://dvc/batches/may.scores.parquet"
    assert call("score", table, scores) == "0"
    assert len(download(scores)) == 498
    assert len(download("s3://dvc/batches/may.scores.rejected.parquet")) == 2
    labels = upload(customers[[data.id, data.target]], "may.labels")
    assert call("monitor", table, scores, "--labels", labels) in ("0", "4")
    assert "labelled customers" in capsys.readouterr().out
    with fsspec.open("s3://dvc/batches/may.scores.drift.png") as picture:
        assert picture.read(4) == b"\x89PNG"


@pytest.mark.parametrize(
    ("table", "scores", "settings", "message"),
    [
        ("s3://dvc/none.parquet", "s3://dvc/s.parquet", {}, "none.parquet does not exist"),
        ("data/raw.parquet", "s3://nowhere/s.parquet", {}, "cannot be written: .* does not exist"),
        ("data/raw.parquet", "s3://dvc/batches/", {}, "is a folder; name a file"),
        (
            "s3://dvc/first/x.parquet",
            "s.parquet",
            {"AWS_SECRET_ACCESS_KEY": "wrong"},  # pragma: allowlist secret
            "cannot be read .*: these keys do not open it",
        ),
        (
            "s3://dvc/first/x.parquet",
            "s.parquet",
            {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
            "cannot be read .*AWS_ENDPOINT_URL",
        ),
    ],
)
def test_a_bucket_that_cannot_be_used(on_team, call, monkeypatch, table, scores, settings, message):
    """One message that names the URL; nothing is left behind."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    said = call("score", table, scores)
    assert said.startswith("error: ") and re.search(message, said), said
    assert not (on_team.folder / "s.parquet").exists()


def test_serving(on_team):
    """The model server answers with the version that production names."""
    port = free_port()
    with (on_team.folder.parent / "serve.log").open("w") as log:
        serving = subprocess.Popen(
            [sys.executable, "src/serve.py", "--port", str(port)],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                break
            except OSError:
                assert serving.poll() is None and time.monotonic() < deadline
                time.sleep(0.3)
        assert answer.headers["x-model-version"] == on_team.alias("production")
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait(120)
