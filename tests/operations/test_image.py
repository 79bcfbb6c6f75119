"""`make image`: what a container is built from, and its steps without a container engine.

They run in this environment, which is made from the same lock; docs/serving.md says what was tried
by hand, and that no engine was at hand.
"""

import json
import os
import re
import subprocess
import time
import urllib.request

import pytest

from churn.errors import UserError
from churn.files import md5
from churn.operations.image_requirements import locked_closure
from conftest import BIN, ROOT, Project, free_port


@pytest.fixture(scope="module")
def project(tiny_pipeline, tmp_path_factory) -> Project:
    """A project with a model in production."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("image"))
    project.client.set_registered_model_alias("ChurnXGB", "production", "1")
    return project


@pytest.fixture
def build(project, inside, call):
    """The folder that `python src/image.py` writes."""
    inside(project)
    assert call("image") == "0"
    return project.folder / "build/image"


def instructions(build) -> dict[str, list[str]]:
    """The arguments of each instruction of the Dockerfile, in order, with ARGs filled in."""
    text = re.sub(r"^#.*\n", "", (build / "Dockerfile").read_text(), flags=re.M)
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "ARG":
            argument, _, value = rest.partition("=")
            text = text.replace(f"${{{argument}}}", value)
        found.setdefault(name, [])
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name:
            found[name].append(" ".join(rest.split()))
    return found


def test_the_folder_is_whole(build, project):
    """The Dockerfile names what is there, a pinned base, another user than root, and the version;
    that user may read everything.
    """
    steps = instructions(build)
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", *steps["FROM"])
    assert steps["USER"] == ["10001"]
    for source in (copied.split()[0] for copied in steps["COPY"]):
        assert (build / source).exists()
    digest = md5(project.folder / "models/churn.ubj")
    assert f"x-model-version:1 x-model-md5:{digest}" in steps["ENV"][0]
    assert md5(build / "model/artifacts/churn.ubj") == digest
    for path in (build, *build.rglob("*")):
        assert path.stat().st_mode & 0o044 == 0o044, path
        assert not path.is_dir() or path.stat().st_mode & 0o011 == 0o011, path


def test_its_packages_are_locked(build):
    """What the model needs, as requirements.txt pins it, with hashes; nothing of DVC or the
    tests.
    """
    text = (build / "requirements.txt").read_text()
    lock = (ROOT / "requirements.txt").read_text()
    entries = re.findall(r"^\S+==.*\n(?:    --hash=.*\n)+", text, re.M)
    assert "".join(entries) == text and all(entry in lock for entry in entries)
    names = {entry.split("==")[0] for entry in entries}
    for pin in (build / "model/requirements.txt").read_text().split():
        assert f"\n{pin}" in f"\n{text}", pin
    assert {"mlflow", "uvicorn", "starlette", "scipy"} <= names, "also what these need"
    assert not names & {"dvc", "pytest", "cookiecutter"}


def test_the_server_answers_and_is_healthy(build):
    """CMD, ENV and HEALTHCHECK as they stand, on a port of loopback."""
    steps = instructions(build)
    port = str(free_port())
    command = json.loads(steps["CMD"][0])
    command[command.index("0.0.0.0")] = "127.0.0.1"
    command[command.index("8080")] = port
    pairs = re.findall(r'(\w+)="?((?:[^" ]|(?<=\w) (?=x-))+)"?', steps["ENV"][0])
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **dict(pairs)}
    health = json.loads(steps["HEALTHCHECK"][0].partition("CMD ")[2])
    health = [part.replace("8080", port) for part in health]

    with (build / "server.log").open("w") as log:
        server = subprocess.Popen(command, cwd=build, env=env, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 300
        while subprocess.run(health, env=env, capture_output=True).returncode:
            assert server.poll() is None, (build / "server.log").read_text()
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.5)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            (build / "model/serving_input_example.json").read_bytes(),
            {"Content-Type": "application/json"},
        )
        answer = urllib.request.urlopen(request, timeout=60)
        assert answer.headers["x-model-version"] == "1"
        assert "churn_probability" in json.loads(answer.read())["predictions"][0]
    finally:
        server.terminate()
        server.wait(60)


def test_another_lock_is_refused(project, inside, call):
    """A version of another environment is not packed with this one; nothing is written over."""
    inside(project)
    lock = project.folder / "requirements.txt"
    before = lock.read_bytes()
    lock.write_bytes(before + b"# changed\n")
    try:
        message = call("image")
    finally:
        lock.write_bytes(before)
    assert message.startswith("error: ChurnXGB version 1 was made with another requirements.txt")
    with pytest.raises(UserError, match="needs mlflow==0.1, which requirements.txt does not pin"):
        locked_closure(["mlflow==0.1"], before.decode())
