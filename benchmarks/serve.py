"""Load the scoring server, next to a bare `Booster.predict`, and say where the time of a request
goes.

    python benchmarks/serve.py [--alias production] [--seconds 5]

wrk sends requests of 1 and of 100 customers over one and over four connections, on loopback. In the
same run, on the same rows: XGBoost alone (a DMatrix of encoded rows and `Booster.predict`), and the
steps of a request one by one.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))
os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # as src/serve.py has it; read when XGBoost is imported

LUA = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = io.open(os.getenv("BODY")):read("*a")
function done(summary, latency, requests)
  local e = summary.errors
  local form = '{"requests": %d, "seconds": %f, "p50": %f, "p99": %f, "errors": %d}'
  print(string.format(form, summary.requests,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.status + e.timeout))
end
"""


@contextlib.contextmanager
def server(alias: str) -> Iterator[str]:
    """The project's server on a free port; yields the URL to ask."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "src/serve.py", "--alias", alias, "--port", str(port)]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        try:
            while True:
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5)
                    break
                if process.poll() is not None:
                    log.seek(0)
                    sys.exit(f"the server did not start:\n{log.read()}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def load(url: str, body: bytes, connections: int, seconds: int) -> dict[str, float]:
    """What wrk measured: requests, seconds, and the 50th and 99th percentile of latency in ms."""
    with tempfile.TemporaryDirectory() as folder:
        (script, content) = (Path(folder, name) for name in ("post.lua", "body"))
        script.write_text(LUA)
        content.write_bytes(body)
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "--timeout",
            "30s",
            "-s",
            str(script),
            url,
        ]
        result = subprocess.run(
            command, env={**os.environ, "BODY": str(content)}, capture_output=True, text=True
        )
    if result.returncode:
        sys.exit(f"wrk failed:\n{result.stdout}{result.stderr}")
    measured = json.loads(result.stdout.splitlines()[-1])
    if measured["errors"]:
        sys.exit(f"{measured['errors']} requests failed; nothing was measured")
    return measured


def in_turn(calls: dict[str, Callable], seconds: int) -> dict:
    """Wall milliseconds of each call, an array each; made in turn, so that a busy moment meets them
    all.
    """
    import numpy as np

    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - start) * 1000)
    return {name: np.array(values) for name, values in times.items()}


def steps_of(body: bytes, loaded, seconds: int) -> dict:
    """The steps of a request in this process, `in_turn`: `whole` is all that the server does but
    HTTP.
    """
    import xgboost as xgb
    from mlflow.pyfunc import _validate_prediction_input, scoring_server

    from churn.modeling.encoding import encode_features

    scorer, schema = loaded.unwrap_python_model(), loaded.metadata.get_input_schema()
    frame = scoring_server._parse_json_data(body, loaded.metadata, schema).data
    rows = _validate_prediction_input(frame, None, schema, None)[0]
    encoded = encode_features(rows, scorer.contract)
    calls = {
        "MLflow: JSON to table": lambda: scoring_server._parse_json_data(
            body, loaded.metadata, schema
        ),
        "MLflow: signature": lambda: _validate_prediction_input(frame, None, schema, None),
        "ours: encode": lambda: encode_features(rows, scorer.contract),
        "XGBoost: matrix and trees": lambda: scorer.booster.predict(
            xgb.DMatrix(encoded, enable_categorical=True)
        ),
        "whole": lambda: scoring_server.invocations(body, "application/json", loaded, schema),
    }
    for call in calls.values():
        call()
    return in_turn(calls, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--alias", default="production")
    parser.add_argument(
        "--seconds", type=int, default=5, help="of load a case (default: %(default)s)"
    )
    asked = parser.parse_args()
    if not shutil.which("wrk"):
        sys.exit("error: wrk is not installed; `apt-get install wrk` or `brew install wrk`")

    import mlflow
    import numpy as np
    import pandas as pd

    from churn.params import load_params
    from churn.tracking import model_loading, registered_versions, store

    os.chdir(ROOT)
    store.connect()
    version = registered_versions.require_alias(load_params().registry.model, asked.alias)
    loaded = model_loading.load_predictor(version)
    customers = pd.read_parquet("data/prepared/test.parquet")[
        loaded.metadata.get_input_schema().input_names()
    ]

    loads, steps = [], {}
    for count in (1, 100):
        table = json.loads(customers.head(count).to_json(orient="split", index=False))
        body = json.dumps({"dataframe_split": table}).encode()
        with server(asked.alias) as url:
            load(url, body, 1, 1)  # warm
            for connections in (1, 4):
                m = load(url, body, connections, asked.seconds)
                loads.append(
                    (
                        f"server, {connections} at once",
                        count,
                        m["requests"] / m["seconds"],
                        m["p50"],
                        m["p99"],
                    )
                )
        times = steps_of(body, loaded, asked.seconds)
        bare = times["XGBoost: matrix and trees"]
        loads.append(
            ("bare Booster.predict", count, 1000 / bare.mean(), *np.percentile(bare, [50, 99]))
        )
        ms = {step: np.median(values) for step, values in times.items()}
        whole = ms.pop("whole")
        steps[count] = ms | {
            "MLflow: the rest, table to JSON": whole - sum(ms.values()),
            "all, without HTTP": whole,
        }

    print(
        f"{version.name} version {version.version}, {os.cpu_count()} cores, "
        f"MLflow {mlflow.__version__}, {asked.seconds} s a case\n"
    )
    print(
        "| | rows a request | requests/s | rows/s | p50 ms | p99 ms |\n"
        "| --- | --- | --- | --- | --- | --- |"
    )
    for case, count, rate, p50, p99 in loads:
        print(f"| {case} | {count} | {rate:.0f} | {rate * count:.0f} | {p50:.1f} | {p99:.1f} |")
    print("\n| median ms in this process | 1 row | 100 rows |\n| --- | --- | --- |")
    for step in steps[1]:
        print(f"| {step} | {steps[1][step]:.1f} | {steps[100][step]:.1f} |")


if __name__ == "__main__":
    main()
