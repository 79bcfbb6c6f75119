"""The log of a server's requests over real HTTP: nothing that was answered is missing in it, and
monitor.py reads it as it reads a scored batch.
"""

import contextlib
import json
import re
import signal
import sys
import threading
from itertools import chain
from pathlib import Path

import mlflow
import pandas as pd
import pytest
import uvicorn
from mlflow.pyfunc import scoring_server
from served import CSV, JSON, PARQUET, Server, started

from churn.operations.request_log import LoggedModel, LogSettings, RequestLog
from churn.tracking import model_loading, registered_versions
from conftest import Project, free_port

pytestmark = pytest.mark.sample

ABOUT = {"model": "ChurnXGB", "model_version": "1", "model_md5": "0"}


@pytest.fixture(scope="module")
def project(tiny_pipeline, tmp_path_factory) -> Project:
    """A quick model in production."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("requests"))
    project.client.set_registered_model_alias("ChurnXGB", "production", "1")
    return project


@pytest.fixture(scope="module")
def model(project):
    """Version 1, as serve.py loads it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", project.uri)
        mlflow.set_tracking_uri(project.uri)
        return model_loading.load_predictor(registered_versions.version_by_number("ChurnXGB", "1"))


@pytest.fixture(scope="module")
def customers(project) -> pd.DataFrame:
    """The test split as callers send it who add the id; the model ignores that."""
    return pd.read_parquet(project.folder / "data/prepared/test.parquet").drop(columns="churn")


@contextlib.contextmanager
def serving(model, log: RequestLog):
    """MLflow's server in a thread of this process."""
    config = uvicorn.Config(
        scoring_server.init(LoggedModel(model, log)), port=free_port(), log_level="error"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield Server(None, config.port)
    finally:
        server.should_exit = True
        thread.join(60)


def records(customers: pd.DataFrame) -> str:
    return json.dumps({"dataframe_records": rows(customers)})


def rows(customers: pd.DataFrame) -> list[dict]:
    return json.loads(customers.to_json(orient="records", double_precision=15))


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines() if line]


def test_each_format_is_logged_and_no_refused_request(model, customers, tmp_path):
    """Id and probability of each customer, whatever the format of the request; nothing personal."""
    few = customers.head(3)
    plain = few.astype(dict.fromkeys(few.select_dtypes("number"), "float64"))
    columns = {name: list(values) for name, values in plain.items()}
    bodies = [
        (records(few), JSON),
        (json.dumps({"dataframe_split": json.loads(few.to_json(orient="split"))}), JSON),
        (json.dumps({"inputs": rows(few)}), JSON),
        (json.dumps({"inputs": columns}), JSON),
        (json.dumps({"instances": rows(few)}), JSON),
        (few.to_csv(index=False), CSV),
        (plain.to_parquet(), PARQUET),
    ]
    log = RequestLog(LogSettings(tmp_path / "requests.jsonl", ABOUT, "customer_id"))
    with serving(model, log) as server:
        answers = [server.probabilities(*body) for body in bodies]
        assert server.ask(records(few.assign(contract="Three year")))[0] == 400
        server.probabilities(records(few.drop(columns="customer_id")))
    logged = lines(tmp_path / "requests.jsonl")
    assert {tuple(line) for line in logged} == {("time", *ABOUT, "id", "churn_probability")}
    assert [line["churn_probability"] for line in logged[:-3]] == list(chain(*answers))
    assert [line["id"] for line in logged[:-3]] == [*few["customer_id"]] * len(bodies)
    assert [line["id"] for line in logged[-3:]] == [None] * 3, "callers who send no id"
    assert (tmp_path / "requests.jsonl").stat().st_mode & 0o077 == 0, "others may not read it"


def test_a_share_is_drawn(model, customers, tmp_path):
    settings = LogSettings(tmp_path / "requests.jsonl", ABOUT, "customer_id", share=0.2)
    with serving(model, RequestLog(settings)) as server:
        server.probabilities(records(customers))
    ids = [line["id"] for line in lines(settings.path)]
    assert 0.1 < len(ids) / len(customers) < 0.3 and set(ids) < set(customers["customer_id"])


def test_a_full_disk_fails_no_answer(model, customers, tmp_path, capfd):
    """/dev/full refuses each write as a full disk does; the log is a link that somebody mends."""
    path = tmp_path / "requests.jsonl"
    path.symlink_to("/dev/full")
    log = RequestLog(LogSettings(path, ABOUT, "customer_id"))
    with serving(model, log) as server:
        for _ in range(3):
            assert len(server.probabilities(records(customers.head(5)))) == 5
        path.unlink()
        server.probabilities(records(customers.head(2)))
    assert len(lines(path)) == 2 and log.missing == 15
    printed = capfd.readouterr().err.splitlines()
    assert [line for line in printed if str(path) in line] == [
        f"{path}: requests cannot be logged: No space left on device; they are answered",
        f"{path}: requests are logged again; 15 scored customers are missing in it",
    ]


def test_a_line_that_was_cut_off_harms_no_other(model, customers, tmp_path, inside, call, project):
    """As a full disk or a kill leaves it, in the middle of the file."""
    path = tmp_path / "requests.jsonl"
    about = {**ABOUT, "model_md5": project.outs()["models/churn.ubj"]}
    log = RequestLog(LogSettings(path, about, "customer_id"))
    with serving(model, log) as server:
        server.probabilities(records(customers.head(700)))
        path.write_bytes(path.read_bytes()[:-20])
        server.probabilities(records(customers.tail(700)))
    inside(project)
    assert call("monitor", "--requests", str(path)) in ("0", "4")
    run = project.runs("monitor")[0]
    assert run.data.tags["requests"] == str(path) and run.data.tags["model_version"] == "1"


def test_logs_that_cannot_be_used(tmp_path, inside, project, call):
    """Each says what is wrong with it."""
    inside(project)
    empty, other = tmp_path / "empty.jsonl", tmp_path / "other.jsonl"
    empty.write_text("\n")
    other.write_text('{"hello": 1}\n')
    assert "has no scored customer; `python src/serve.py --log" in call(
        "monitor", "--requests", str(empty)
    )
    assert "is no log of requests: line 1 has no" in call("monitor", "--requests", str(other))
    assert "does not exist" in call("monitor", "--requests", str(tmp_path / "none"))
    folder = call("serve", "--port", str(free_port()), "--log", str(tmp_path))
    assert "the log of requests, cannot be written: Is a directory" in folder


def test_monitored_as_a_batch_is(model, project, customers, inside, call, capsys, tmp_path):
    """The same customers in a table and over HTTP, with their features: the same drift of each
    column and of the score, the same estimates, and the same figures with labels, though one
    customer was asked for twice.
    """
    inside(project)
    table, scores = tmp_path / "customers.parquet", tmp_path / "scores.parquet"
    labels = project.folder / "data/prepared/test.parquet"
    customers.to_parquet(table)
    assert call("score", str(table), str(scores)) == "0"
    about = {**ABOUT, "model_md5": project.outs()["models/churn.ubj"]}
    features = tuple(model.metadata.signature.inputs.input_names())
    path = tmp_path / "requests.jsonl"
    log = RequestLog(LogSettings(path, about, "customer_id", inputs=features))
    with serving(model, log) as server:
        for start in range(0, len(customers), 500):
            server.probabilities(records(customers[start : start + 500]))

    def monitored(*arguments: str) -> list[str]:
        capsys.readouterr()
        assert call("monitor", *arguments, "--labels", str(labels)) in ("0", "4")
        return re.sub(r"\S+\.drift\.png", "", capsys.readouterr().out).splitlines()

    batch = monitored(str(table), str(scores))
    online = monitored("--requests", str(path))
    first, *rest = online[:1] + online[2:]
    assert first.startswith(f"{len(customers):,} customers scored by ChurnXGB version 1, 20")
    # A server leaves no control group.
    assert rest == batch and any(line.startswith("labelled customers") for line in rest)

    again = lines(path)[0]
    path.write_text(json.dumps({**again, "churn_probability": 0.5}) + path.read_text())
    assert monitored("--requests", str(path))[2:].count("labelled customers") == 0
    (labelled,) = [line for line in rest if line.startswith("roc_auc ")][:1]
    assert labelled in monitored("--requests", str(path)), "the last answer counts"


def test_two_servers_one_log_and_ctrl_c(project, customers, tmp_path):
    """Two servers append to one file while four callers ask each of them, until Ctrl-C ends both:
    each customer that was answered is in the file, whole. One server keeps the features too.
    """
    path = tmp_path / "requests.jsonl"
    body = records(customers.head(20))
    command = (sys.executable, "src/serve.py", "--port", "<port>", "--log", str(path))
    answered = []

    def ask(server: Server) -> None:
        with contextlib.suppress(OSError, ValueError):  # the server ended
            while True:
                answered.append(len(server.probabilities(body)))

    threads = []
    with (
        started(project, *command, stop=signal.SIGINT) as first,
        started(project, *command, "--log-inputs", stop=signal.SIGINT) as second,
    ):
        for server in (first, second) * 4:
            threads.append(threading.Thread(target=ask, args=[server]))
            threads[-1].start()
        while len(answered) < 100 and any(thread.is_alive() for thread in threads):
            threads[0].join(0.1)
        both = (first.process, second.process)
    for thread in threads:
        thread.join(60)
    assert [process.returncode for process in both] == [130, 130]
    logged = lines(path)
    # An answer may have been logged and not have arrived when its connection was cut.
    assert 0 <= len(logged) - sum(answered) <= 20 * len(threads)
    assert len(answered) >= 100
    assert {"inputs" in line for line in logged} == {True, False}
    assert {line["id"] for line in logged} == set(customers["customer_id"].head(20))


def test_off_unless_asked_for(project):
    """The options of the log alone are a mistake."""
    result = project.run(sys.executable, "src/serve.py", "--log-inputs")
    assert result.returncode == 2 and "need --log FILE" in result.stderr
