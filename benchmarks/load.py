"""What the services of a team hold: pipelines at once, and requests per second.

    python benchmarks/load.py [--people 1 2 4 8]

PostgreSQL, the bucket and MLflow's server run on this machine (`make install-team`), beside the
pipelines that they serve, so that all share its processors.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import requests

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("src", "tests", "deploy")]

from conftest import BIN, Project  # noqa: E402
from team_services import Services  # noqa: E402

SECONDS = 5  # of requests
NAME = "ChurnXGB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--people", type=int, nargs="+", default=[1, 2, 4, 8])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        services = Services(Path(folder, "services"))
        try:
            services.up()
            os.environ.update(services.env)  # this process, and what it starts, is the admin
            first = services.clone(Path(folder, "0"))
            first.out("dvc", "repro")
            first.commit("tiny")
            clones = [first]
            for number in range(1, max(options.people)):
                clones.append(first.copy_files(Path(folder, str(number))))
            for people in options.people:
                print(pipelines_at_once(clones[:people]), flush=True)
            for people in options.people:
                print(requests_at_once(people), flush=True)
        finally:
            services.remove()


def pipelines_at_once(clones: list[Project]) -> str:
    """Run `dvc repro -f` in each clone at the same moment, each on a seed of its own."""
    before = len(clones[0].runs("train"))
    for number, clone in enumerate(clones):
        clone.set(seed=before * 100 + number)
    start = time.monotonic()
    running = []
    for clone in clones:
        env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        command = [BIN / "dvc", "repro", "-f"]
        running.append(
            subprocess.Popen(
                command, cwd=clone.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    failed = 0
    for process in running:
        printed = process.communicate()[0].decode()
        if process.returncode:
            failed += 1
            print(printed[-600:])
    seconds = time.monotonic() - start

    trained = clones[0].runs("train")
    statuses = Counter(run.info.status for run in trained)
    models = Counter(version.tags["model_md5"] for version in clones[0].versions())
    doubled = sum(count > 1 for count in models.values())
    return (
        f"{len(clones)} pipelines at once: {seconds:.1f} s, {failed} failed; "
        f"{len(trained) - before} training runs more, all: {dict(statuses)}; "
        f"{doubled} models registered twice"
    )


def requests_at_once(people: int) -> str:
    """Let some people ask for the registered model, and log a metric, as fast as they can."""
    login = (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"])
    api = f"{os.environ['MLFLOW_TRACKING_URI']}/api/2.0/mlflow"
    run = requests.post(f"{api}/runs/create", json={"experiment_id": "0"}, auth=login, timeout=60)
    run_id = run.json()["run"]["info"]["run_id"]

    def ask(number: int) -> list[float]:
        times = []
        with requests.Session() as session:
            session.auth = login
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                start = time.monotonic()
                metric = {"run_id": run_id, "key": "m", "value": number, "timestamp": len(times)}
                answers = (
                    session.get(f"{api}/registered-models/get", params={"name": NAME}, timeout=60),
                    session.post(f"{api}/runs/log-metric", json=metric, timeout=60),
                )
                for answer in answers:
                    answer.raise_for_status()
                times.append((time.monotonic() - start) / len(answers))
        return times

    with ThreadPoolExecutor(people) as pool:
        times = sorted(chain.from_iterable(pool.map(ask, range(people))))
    count = 2 * len(times)
    slowest = times[int(0.99 * len(times))]
    return (
        f"{people} people asking: {count / SECONDS:.0f} requests per second, half of them within "
        f"{1000 * times[len(times) // 2]:.0f} ms, 99 % within {1000 * slowest:.0f} ms (mean of two)"
    )


if __name__ == "__main__":
    main()
