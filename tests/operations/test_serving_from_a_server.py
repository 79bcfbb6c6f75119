"""serve.py with a real MLflow server as the store."""

import os
import signal
import subprocess
import sys
import time
import urllib.request

from conftest import BIN, Server, free_port


def test_the_production_version_is_served(tiny_pipeline, tmp_path):
    """The server of the model answers, with the version that production names."""
    project = tiny_pipeline.copy(tmp_path)
    project.client.set_registered_model_alias("ChurnXGB", "production", "1")
    store = Server.over(project)
    port = free_port()
    env = {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "MLFLOW_TRACKING_URI": store.address,
    }
    command = [sys.executable, "src/serve.py", "--port", str(port)]
    log = project.folder / "serve.log"
    with log.open("w") as written:
        serving = subprocess.Popen(
            command,
            cwd=project.folder,
            env=env,
            stdout=written,
            stderr=written,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                answer = urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                break
            except OSError:
                assert serving.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
        assert answer.headers["x-model-version"] == "1"
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait(120)
        store.stop()
