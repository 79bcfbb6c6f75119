"""Start a scoring server by a command of the project, and ask it over HTTP."""

import contextlib
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from conftest import BIN, Project, free_port

JSON, CSV, PARQUET = "application/json", "text/csv", "application/vnd.apache.parquet"


class Server:
    """A server that a command of the project started, on a port of its own."""

    def __init__(self, process: subprocess.Popen, port: int):
        self.process, self.port = process, port

    def get(self, path: str):
        return urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60)

    def ask(self, body: str | bytes, content_type: str = JSON) -> tuple[int, object, dict]:
        """POST to /invocations: status, answer (parsed where it is JSON) and headers."""
        body = body.encode() if isinstance(body, str) else body
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/invocations", body, {"Content-Type": content_type}
        )
        try:
            with urllib.request.urlopen(request, timeout=300) as answer:
                return answer.status, json.loads(answer.read()), dict(answer.headers)
        except urllib.error.HTTPError as error:
            text = error.read().decode()
            with contextlib.suppress(ValueError):
                text = json.loads(text)
            return error.code, text, dict(error.headers)

    def probabilities(self, body: str | bytes, content_type: str = JSON) -> list[float]:
        status, answer, _ = self.ask(body, content_type)
        assert status == 200, answer
        return [row["churn_probability"] for row in answer["predictions"]]


@contextlib.contextmanager
def started(project: Project, *command: str, stop: int = signal.SIGTERM, **options):
    """Start a server by a command in which <port> stands for a free port; end it by a signal to its
    process group, as Ctrl-C does, and see that nothing is left of it.

    Options are those of Popen.
    """
    port = free_port()
    command = [word.replace("<port>", str(port)) for word in command]
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "MLFLOW_TRACKING_URI": project.uri}
    process = subprocess.Popen(
        command, cwd=project.folder, env=env, start_new_session=True, **options
    )
    server = Server(process, port)
    try:
        deadline = time.monotonic() + 300
        while True:
            with contextlib.suppress(OSError):
                server.get("/ping")
                break
            assert process.poll() is None and time.monotonic() < deadline, (
                f"{command} did not come up"
            )
            time.sleep(0.2)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, stop)
        process.wait(120)
        deadline = time.monotonic() + 120
        while members(process.pid) and time.monotonic() < deadline:
            time.sleep(0.1)
        orphans = members(process.pid)
        for pid in orphans:
            os.kill(pid, signal.SIGKILL)
        assert orphans == [], "processes of the server outlived it"


def members(group: int) -> list[int]:
    """The live processes of a process group."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, pgrp = status.read_text().rpartition(")")[2].split()[:3]
            if int(pgrp) == group and state != "Z":
                found.append(int(status.parent.name))
    return found
