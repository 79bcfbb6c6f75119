"""Faults of the real services: clones at once, a database that restarts, a bucket that fails or is
damaged. What was computed stays, the message says what to do, and afterwards everything is there
once.
"""

import os
import re
import signal
import threading
import time
from pathlib import Path

import mlflow
import pytest

from churn.files import md5, read_yaml
from conftest import Project
from proxy import BUSY, CUT, PASS, proxied
from together import starter

EVALUATE = """
from churn.console import run_command
from churn.tracking.store_errors import explain_store_error
try:
    run_command(evaluate.main, explain_store_error)
except SystemExit as end:
    raise RuntimeError(end.code) from None
"""
# only operations
MOVE = """
from churn.operations import promotion
store.connect()
promotion.make_move("ChurnXGB", promotion.Move(promotion.now(), *{move!r}, {{}}))
"""
# end


@pytest.fixture(scope="module")
def clones(services, tmp_path_factory) -> list[Project]:
    """Two clones of one project; the first has trained, registered and pushed a quick model."""
    folder = tmp_path_factory.mktemp("clones")
    first = services.clone(folder / "first")
    first.out("dvc", "repro", **services.env)
    first.commit("a model")
    first.out("dvc", "push", "-q", **services.env)
    return [first, first.copy_files(folder / "second")]


def new_model(clones: list[Project]) -> None:
    """Other code that scores is another version."""
    line = f"# {time.monotonic()}\n"
    for clone in clones:
        with (clone.folder / "src/churn/modeling/scoring.py").open("a") as code:
            code.write(line)


def check_whole(clone: Project, versions: int) -> None:
    """One version more than before, in staging alone; its record is whole, and no run is open."""
    newest = clone.versions()[0]
    assert len(clone.versions()) == versions + 1
    assert clone.alias("staging") == str(newest.version)
    tagged = [v.version for v in clone.versions() if v.tags["stage"] == "Staging"]
    assert tagged == [newest.version]
    found = clone.runs("train") + clone.runs("evaluate")
    assert "RUNNING" not in {run.info.status for run in found}
    name = f"{newest.name}/{newest.version}"
    records = [run for run in found if run.data.tags.get("model_version") == name]
    assert records and {run.info.status for run in records} == {"FINISHED"}


def test_two_clones_at_once(clones, on_services, monkeypatch):
    """Both evaluate one new model at the same moment, with a scientist's rights (nobody may delete
    a version); then two people promote it at the same moment, and one of them is told.
    """
    first = clones[0]
    mlflow.set_tracking_uri(first.uri)
    first.out("python", "deploy/users.py", "ann", "scientist", **on_services.env)
    account = (first.folder / ".team/ann.env").read_text()
    with monkeypatch.context() as patch:
        for name, value in re.findall(r"^export (\w+)=(.*)$", account, re.M):
            patch.setenv(name, value)
        with starter(first.uri, first.folder) as call:
            new_model(clones)
            versions = len(first.versions())
            codes, said = call(*((clone.folder, ["evaluate.py"], EVALUATE) for clone in clones))
            assert codes == [0, 0], said
    check_whole(first, versions)
    # only operations
    from churn.operations import promotion

    with starter(first.uri, first.folder) as call:
        staged = first.alias("staging")
        pieces = []
        for clone, person in zip(clones, ("Ada", "Bob"), strict=True):
            move = ("promote", person, "x", first.alias("production"), staged)
            pieces.append((clone.folder, [""], MOVE.format(move=move)))
        codes, said = call(*pieces)
        assert sorted(codes) == [0, 1], said
        refused = said[codes.index(1)]
        assert "is under way" in refused or "since you were asked" in refused
        (made,) = promotion.history("ChurnXGB")
        assert made.new == first.alias("production") == staged
        assert promotion.pending("ChurnXGB") == {}
    # end


def test_postgresql_is_killed_under_load(clones, on_services):
    """While both clones evaluate a new model the database is killed and started again: who fails is
    told so in one message that names the server, and the same command completes everything.
    """
    first = clones[0]
    mlflow.set_tracking_uri(first.uri)
    new_model(clones)
    versions = len(first.versions())

    def restart() -> None:
        time.sleep(2.5)
        os.kill(on_services.process("postgresql"), signal.SIGKILL)
        on_services.up()

    thread = threading.Thread(target=restart)
    with starter(first.uri, first.folder) as call:
        thread.start()
        codes, said = call(*((clone.folder, ["evaluate.py"], EVALUATE) for clone in clones))
        thread.join()
        for code, text in zip(codes, said, strict=True):
            assert code == 0 or f"error: the MLflow store {first.uri} " in text, text
        codes, said = call(*((clone.folder, ["evaluate.py"], EVALUATE) for clone in clones))
    assert codes == [0, 0], said
    check_whole(first, versions)


def test_no_bucket_during_an_evaluation(clones, on_services, inside, call):
    """The model cannot be uploaded: nothing is registered, and the same command completes it."""
    first = clones[0]
    inside(first)
    mlflow.set_tracking_uri(first.uri)
    new_model(clones)
    versions = len(first.versions())
    on_services.down("bucket")
    message = call("evaluate")
    on_services.up()
    assert message.startswith("error: ") and first.uri in message, message
    assert len(first.versions()) == versions
    mlflow.end_run()
    assert call("evaluate") == "0"
    check_whole(first, versions)


@pytest.mark.parametrize("fate", [BUSY, CUT])
def test_a_bucket_that_fails_during_push_and_pull(clones, on_services, tmp_path, fate):
    """Uploads and downloads of DVC fail half-way; the same command again brings the rest, and every
    file is what its md5 says, at both ends.
    """
    first = clones[0]
    with proxied(on_services.env["AWS_ENDPOINT_URL"]) as (address, proxy):
        env = {**on_services.env, "AWS_ENDPOINT_URL": address, "AWS_MAX_ATTEMPTS": "1"}
        first.out("dvc", "remote", "modify", "--local", "team", "endpointurl", address)
        bucket = f"s3://dvc/{tmp_path.name}"
        first.out("dvc", "remote", "modify", "--local", "team", "url", bucket)

        def fail(number: int, request: str) -> str:
            return fate if request.startswith(("PUT", "GET")) and number % 2 else PASS

        proxy.reset(fail)
        first.run("dvc", "push", **env)
        proxy.reset()
        first.out("dvc", "push", "-q", **env)
        stored = objects(on_services.folder / "buckets/dvc" / tmp_path.name)
        assert stored <= objects(first.folder / ".dvc/cache")
        assert stored >= tracked(first) and len(stored) > 10

        other = first.copy_files(tmp_path / "other")
        for name in (".dvc/cache", "models", "data/prepared"):
            other.out("rm", "-rf", name)
        proxy.reset(fail)
        other.run("dvc", "pull", "--force", **env)
        proxy.reset()
        other.out("dvc", "pull", "-q", "--force", **env)
    for name, digest in first.outs().items():
        path = other.folder / name
        assert path.is_dir() or md5(path) == digest


def tracked(project: Project) -> set[str]:
    """The md5s of the outputs that DVC's cache keeps."""
    stages = read_yaml(project.folder / "dvc.yaml")["stages"].values()
    kept = {out for stage in stages for out in stage["outs"] if isinstance(out, str)}
    return {digest for path, digest in project.outs().items() if path in kept}


def objects(folder: Path) -> set[str]:
    """The names of DVC's objects in a folder, each of which holds what its name says."""
    found = set()
    for path in folder.rglob("files/md5/*/*"):
        digest = path.parent.name + path.name
        assert md5(path) == digest.removesuffix(".dir"), path
        found.add(digest)
    return found


def test_a_damaged_object_of_the_bucket(clones, on_services, tmp_path):
    """A bit that flipped in the bucket: pull refuses it, and nothing is written from it."""
    first = clones[0]
    first.out("git", "config", "user.name", "test")
    other = first.copy_files(tmp_path / "other")
    (other.folder / ".dvc/config.local").unlink(missing_ok=True)
    digest = first.outs()["data/prepared/test.parquet"]
    folder = on_services.folder / "buckets/dvc"
    (stored,) = folder.glob(f"first/files/md5/{digest[:2]}/{digest[2:]}")
    content = bytearray(stored.read_bytes())
    content[len(content) // 2] ^= 1
    stored.write_bytes(content)
    for name in (".dvc/cache", "data/prepared"):
        other.out("rm", "-rf", name)
    result = other.run("dvc", "pull", "data/prepared/test.parquet", **on_services.env)
    assert result.returncode != 0
    assert not (other.folder / "data/prepared/test.parquet").exists()
