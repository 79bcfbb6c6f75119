"""What a team should know is posted to a webhook; a receiver that is away fails nothing."""

import http.server
import json
import threading

import pytest

from churn.params import load_params
from churn.tracking.notification import notify
from conftest import ROOT, Project, free_port

PARAMS = load_params(ROOT / "params.yaml").model_copy(
    update={"notify": ["gate", "alarm", "promotion"]}
)


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted; answers 200, or the status in the path."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.headers["Content-Type"], json.loads(body)))
        status = self.path.strip("/")
        self.send_response(int(status) if status else 200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver(monkeypatch):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.received = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("CHURN_WEBHOOK_URL", server.address)
    yield server
    server.shutdown()
    server.server_close()


def test_an_event_is_one_line_of_text_in_json(receiver):
    notify(PARAMS, "gate", "not registered")
    model = PARAMS.registry.model
    assert receiver.received == [("application/json", {"text": f"{model}: not registered"})]


def test_only_what_params_yaml_names_is_sent(receiver, monkeypatch):
    notify(PARAMS.model_copy(update={"notify": ["alarm"]}), "gate", "x")
    notify(PARAMS.model_copy(update={"notify": None}), "gate", "x")
    monkeypatch.delenv("CHURN_WEBHOOK_URL")
    notify(PARAMS, "gate", "x")
    assert receiver.received == []


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("{address}/404", "answered 404"),
        ("{address}/500", "answered 500"),
        ("http://127.0.0.1:{closed}/secret", "does not answer"),
        ("http://[/secret", "does not answer"),
        ("file:///secret", "is no http(s) address"),
    ],
)
def test_a_fault_is_a_note_without_the_address(receiver, monkeypatch, capsys, address, says):
    """The address is a secret."""
    address = address.format(address=receiver.address, closed=free_port())
    monkeypatch.setenv("CHURN_WEBHOOK_URL", address)
    notify(PARAMS, "alarm", "drift")
    printed = capsys.readouterr().err
    assert printed == f"note: nobody was notified, CHURN_WEBHOOK_URL {says}\n"


@pytest.mark.sample
def test_the_commands_notify(tiny_pipeline, tmp_path, receiver, inside, call):
    """A model that the gate refuses, a promotion, and an alarm; nothing for what went well."""
    project: Project = inside(tiny_pipeline.copy(tmp_path))
    # only operations
    import pandas as pd

    assert call("promote", "--reason", "first", "--by", "Ada", "--yes") == "0"
    customers = pd.read_parquet("data/raw.parquet")
    customers["monthly_charges"] += 40
    customers.to_parquet("dearer.parquet")
    assert call("score", "dearer.parquet", "s.parquet") == "0"
    assert call("monitor", "dearer.parquet", "s.parquet") == "4"
    # end
    project.set(**{"gate.min_roc_auc": 0.99})
    project.out("dvc", "repro")
    texts = [posted["text"] for _, posted in receiver.received]
    assert "not registered, gate FAILED: roc_auc" in texts.pop()
    # only operations
    assert texts[0] == "ChurnXGB: promote of version 1 by Ada (first)"
    assert texts[1].startswith("ChurnXGB: dearer.parquet: ") and "PSI" in texts[1]
    assert len(texts) == 2
    # end
