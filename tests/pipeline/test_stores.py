"""Stores that are servers, stores that cannot be used, and damaged files of DVC's cache."""

import contextlib
import http.server
import threading
from pathlib import Path

import mlflow
import pytest

from churn import paths
from churn.console import run_command
from churn.errors import UserError
from churn.files import md5
from churn.tracking import dvc_cache, runs, store, store_checks, store_errors
from conftest import Project, Server, free_port


@pytest.fixture(scope="module")
def clone(tiny_pipeline, tmp_path_factory) -> Project:
    """A project with version 1 in staging; its store is only looked at."""
    return tiny_pipeline.copy(tmp_path_factory.mktemp("stores"))


@pytest.fixture
def own(tiny_pipeline, tmp_path) -> Project:
    """A copy to be changed."""
    return tiny_pipeline.copy(tmp_path)


@pytest.fixture
def server(clone):
    started = Server.over(clone)
    yield started
    started.stop()


def refused(monkeypatch, address: str) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(UserError) as caught:
        store.connect()
    return str(caught.value)


class Answers(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status and the body that the first part of the path names:
    /404, /html, /json; /gone closes the connection.
    """

    def do_GET(self):
        kind = self.path.split("/")[1]
        if kind == "gone":
            self.connection.close()
            return
        body = b'{"hello": 1}' if kind == "json" else b"<html>hello</html>"
        self.send_response(int(kind) if kind.isdecimal() else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_):
        pass

    def handle(self):
        with contextlib.suppress(OSError, ValueError):  # it was closed by /gone
            super().handle()


@pytest.fixture(scope="module")
def no_mlflow():
    """The address of a web server that is no MLflow server."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("404", "answers, and is no MLflow server"),
        ("302", "answers, and is no MLflow server"),
        ("html", "answers, and is no MLflow server"),
        ("json", "answers, and is no MLflow server"),
        ("503", "it answers 503"),
        ("gone", "it does not answer"),
        ("401", "does not know you (401)"),
        ("403", "does not allow this (403"),
    ],
)
def test_an_address_that_is_no_mlflow_server(clone, inside, no_mlflow, monkeypatch, answer, says):
    """Whatever answers there: what it is, and what to do, in a second."""
    inside(clone)
    monkeypatch.setattr(store_checks, "TRIES", 1)
    assert says in refused(monkeypatch, f"{no_mlflow}/{answer}")


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("./mlruns", "a folder, which MLflow no longer takes"),
        ("mlruns", "a folder, which MLflow no longer takes"),
        ("file:///tmp/mlruns", "a folder, which MLflow no longer takes"),
        ("htp://127.0.0.1:5000", "a kind of store that MLflow does not know"),
        ("http://", "is no address"),
        ("sqlite:mlflow.db", "sqlite:///FILE"),
        ("sqlite:////no/such/folder/mlflow.db", "there is no folder /no/such/folder"),
        (
            "postgresql://ada:secret@db/mlflow",  # pragma: allowlist secret
            "postgresql://ada:***@db/mlflow needs the package psycopg",
        ),
        ("databricks", "the MLflow store databricks failed: Reading Databricks credential"),
    ],
)
def test_an_address_that_names_no_store(clone, inside, monkeypatch, address, says):
    """A folder, a mistyped scheme, a database without its driver, a service without credentials."""
    inside(clone)
    assert says in refused(monkeypatch, address)
    assert not Path("/no").exists()


def test_an_empty_address_is_none(clone, inside, monkeypatch):
    """MLFLOW_TRACKING_URI= is as good as unset, as it is to make."""
    inside(clone)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")
    assert store.connect() and store.tracking_uri() == clone.uri


def test_a_server_that_is_down(clone, inside, monkeypatch, capsys):
    """Seconds, not minutes; what is waited for is said at the first failure."""
    inside(clone)
    monkeypatch.setattr(store_checks, "TRIES", 2)
    address = f"http://127.0.0.1:{free_port()}"
    assert "does not answer" in refused(monkeypatch, address)
    assert f"waiting for the MLflow server at {address}" in capsys.readouterr().err


COMMANDS = {
    "preprocess": [()],
    "train": [()],
    "evaluate": [()],
    "report": [()],
    # only operations
    "promote": [
        ("--reason", "x", "--yes"),
        ("--rollback", "--reason", "x", "--yes"),
        ("--stage", "1"),
    ],
    "score": [("data/raw.parquet", "s.parquet")],
    "serve": [("--port", "5099")],
    # end
    # only forensics
    "reproduce": [("1",)],
    "why": [("models:/ChurnXGB/1", "HEAD")],
    # end
    # only experiments
    "sweep": [()],
    # end
}


def test_every_command_says_it_in_one_message(clone, inside, no_mlflow, monkeypatch, call):
    """Of a store that is none, each command says the same, and nothing of ours or of MLflow's
    internals.
    """
    inside(clone)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{no_mlflow}/404")
    for command, variants in COMMANDS.items():
        for arguments in variants:
            message = call(command, *arguments)
            assert (
                message.startswith("error: ") and "answers, and is no MLflow server" in message
            ), (command, message)


def test_a_server_that_goes_away(clone, inside, server, monkeypatch):
    """In the middle of a command: one message, soon."""
    inside(clone)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

    def command() -> None:
        with runs.open_run("cut off", {}):
            server.stop()
            mlflow.log_metric("one", 1)

    with pytest.raises(SystemExit) as end:
        run_command(command, store_errors.explain_store_error)
    assert "does not answer (any more" in str(end.value.code)


@pytest.mark.parametrize("number", ["999", "nonsense"])
def test_an_experiment_that_never_was(clone, inside, monkeypatch, number):
    """As a shell may have it from another store."""
    inside(clone)
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", number)
    assert f"MLFLOW_EXPERIMENT_ID is {number}" in refused(monkeypatch, clone.uri)


def test_an_experiment_that_was_deleted(own, inside, monkeypatch):
    """As somebody may do in MLflow's page: how to bring it back is said."""
    inside(own)
    mlflow.set_tracking_uri(own.uri)
    experiment = store.connect()
    mlflow.delete_experiment(experiment)
    for name, value in (("MLFLOW_EXPERIMENT_NAME", ""), ("MLFLOW_EXPERIMENT_ID", experiment)):
        monkeypatch.setenv(name, value)
        said = refused(monkeypatch, own.uri)
        assert "was deleted" in said and f"restore --experiment-id {experiment}" in said


def test_quotes_in_names(clone, inside):
    """A name with a quote is searched for, one with both kinds is refused; neither breaks MLflow's
    filter.
    """
    inside(clone)
    assert runs.find_run(dvc_experiment="it's") is None
    assert runs.find_run(dvc_experiment='the "new" one') is None
    with pytest.raises(UserError, match="both kinds of quotes"):
        runs.find_run(dvc_experiment='it\'s "new"')


def damage(path: Path) -> None:
    """Flip one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.fixture
def pushed(own, inside) -> tuple[Path, Path]:
    """The training split in the cache of a project whose outputs were pushed: there, and in the
    remote's folder.
    """
    inside(own)
    own.out("dvc", "remote", "modify", "--local", "storage", "url", str(own.folder / "storage"))
    own.out("dvc", "push", "-q", "data/prepared/train.parquet")
    digest = own.outs()["data/prepared/train.parquet"]
    return tuple(
        own.folder / place / "files/md5" / digest[:2] / digest[2:]
        for place in (".dvc/cache", "storage")
    )


def test_a_damaged_file_of_the_cache(own, pushed):
    """A byte flipped in the cached training split: an intact copy comes from the remote.

    Where the remote's is damaged as well, it is refused before anything is computed from it, with
    every place and its state.
    """
    cached, remote = pushed
    digest = own.outs()["data/prepared/train.parquet"]
    damage(cached)
    dvc_cache.copy_tracked_file(digest, own.folder / "copy.parquet", "the training split")
    assert md5(own.folder / "copy.parquet") == digest != md5(cached), "the cache stays as it is"
    assert (
        dvc_cache.fetch_to_cache(digest, "the training split") == cached and md5(cached) == digest
    )

    damage(cached)
    damage(remote)
    with pytest.raises(UserError) as caught:
        dvc_cache.fetch_to_cache(digest, "the training split")
    message = str(caught.value)
    assert f"the training split (md5 {digest}) is intact in none of the places" in message
    assert f"DVC's cache (damaged: {cached}), " in message
    assert f"the remote storage at {own.folder}/storage (damaged)" in message
    assert list(cached.parent.iterdir()) == [cached]


def test_a_damaged_table_is_not_checked_out(own, inside, call):
    """DVC checks a damaged file out without a word: what `make repro` fetches is compared with its
    pointer.
    """
    inside(own)
    digest = md5(paths.RAW)
    cached = own.folder / ".dvc/cache/files/md5" / digest[:2] / digest[2:]
    damage(cached)
    paths.RAW.unlink()
    message = call("launch", "table")
    if message == "0":  # the sample's own remote has it
        assert md5(paths.RAW) == md5(cached) == digest
    else:
        assert "the raw data" in message and not paths.RAW.exists()
