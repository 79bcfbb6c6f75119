"""Each command on SQLite and on the services of a team, in turn: seconds and CPU seconds.

    python benchmarks/server.py [--rounds 3]

PostgreSQL, the bucket and MLflow's server run on this machine (`make install-team`). What a command
costs the services is measured apart from what it costs whoever runs it.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / part) for part in ("src", "tests", "deploy")]

from processes import family  # noqa: E402
from service_settings import SERVICES  # noqa: E402

from churn.console import text_table  # noqa: E402
from conftest import BIN, Project  # noqa: E402
from team_services import Services  # noqa: E402

# In this order: each works on what those before it have left.
COMMANDS = (
    "dvc repro --force",
    "python src/report.py",
    "python src/promote.py --reason first --yes",
    "python src/promote.py --status",
    "python src/score.py customers.parquet scores.parquet",
    "python src/monitor.py customers.parquet scores.parquet",
    "python src/reproduce.py models:/ChurnXGB@production",
    "dvc exp run -n deeper -S train.max_depth=3",
    "python src/why.py models:/ChurnXGB@production deeper",
    "mlflow run . --env-manager local -P max_depth=5",
    "python src/sweep.py",
)
UNDO = "git checkout --quiet . && dvc checkout --quiet --force dvc.yaml"
TRIALS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    options = parser.parse_args()

    measured: dict[str, list[list[float]]] = {command: [] for command in COMMANDS}
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory() as folder:
            services = Services(Path(folder, "services"))
            try:
                services.up()
                alone, shared = make_clones(Path(folder), services)
                for command in COMMANDS:
                    here = cost(command, alone, {}, services)
                    there = cost(command, shared, services.env, services)
                    measured[command].append([*here[:2], *there])
                    if command.startswith("dvc repro"):  # what UNDO leads back to
                        alone.commit("a model")
                        shared.commit("a model")
                    print(f"round {number + 1}: {command}: {measured[command][-1]}", flush=True)
            finally:
                services.remove()
    print(table(measured))


def make_clones(folder: Path, services: Services) -> tuple[Project, Project]:
    """A tiny project with a store of its own, and one that uses the services."""
    alone, shared = Project.clone(folder / "alone", tiny=True), services.clone(folder / "shared")
    for project in (alone, shared):
        project.set(**{"sweep.trials": TRIALS})
        project.commit("few trials")
        table = pd.read_parquet(project.folder / "data/raw.parquet").drop(columns="churn")
        table.to_parquet(project.folder / "customers.parquet")
    return alone, shared


def cost(
    command: str, project: Project, settings: dict[str, str], services: Services
) -> tuple[float, float, float]:
    """Seconds, CPU seconds of the command, and CPU seconds of the services meanwhile."""
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", **settings}
    start, before, served = time.monotonic(), own_cpu(), services_cpu(services)
    result = subprocess.run(
        command.split(), cwd=project.folder, env=env, capture_output=True, text=True
    )
    measured = (
        time.monotonic() - start,
        own_cpu() - before,
        services_cpu(services) - served,
    )
    if result.returncode:
        sys.exit(f"{command} ended with {result.returncode}:\n{result.stdout}{result.stderr}")
    if command.startswith("dvc exp") or command.startswith("mlflow"):
        subprocess.run(UNDO, shell=True, cwd=project.folder, env=env, check=True)
    return measured


def own_cpu() -> float:
    """CPU seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def services_cpu(services: Services) -> float:
    """CPU seconds of the services, with those of their processes that have ended."""
    total = 0.0
    for name in SERVICES:
        for process in family(services.folder, name)[:1]:
            total += sum(process.cpu_times()[:4])
        for process in family(services.folder, name)[1:]:
            total += sum(process.cpu_times()[:2])
    return total


def table(measured: dict[str, list[list[float]]]) -> str:
    """Medians of the rounds."""
    rows = []
    for command, rounds in measured.items():
        here, cpu, there, client, served = (statistics.median(v) for v in zip(*rounds, strict=True))
        rows.append(
            {
                "command": command,
                "SQLite, s": f"{here:.1f}",
                "CPU s": f"{cpu:.1f}",
                "services, s": f"{there:.1f}",
                "CPU s of the command + of the services": f"{client:.1f} + {served:.1f}",
            }
        )
    return text_table(rows)


if __name__ == "__main__":
    main()
