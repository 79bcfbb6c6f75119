"""Time this pipeline against two comparators, in turn, and print the medians and ratios as a table.

    python benchmarks/run.py [--rounds 5]

bare: one script, no DVC, no MLflow. textbook: the usual three-script DVC + MLflow project. empty: a
DVC project of three stages that do nothing. Each round runs every case once, so that a machine that
slows down slows all of them.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from tqdm import tqdm

HERE = Path(__file__).parent
ROOT = HERE.parent
ENV = {
    **os.environ,
    "PATH": f"{Path(sys.prefix, 'bin')}:{os.environ['PATH']}",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "DVC_ROOT"):
    ENV.pop(name, None)


def call(folder: Path, *command: str) -> float:
    """Run a command in a folder; its wall time in seconds."""
    start = time.perf_counter()
    result = subprocess.run(command, cwd=folder, env=ENV, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{result.stdout}\n{result.stderr}")
    return wall


def project(folder: Path, source: Path) -> Path:
    """A git and DVC repository with the files that git tracks below `source`."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=source, capture_output=True, text=True, check=True
    ).stdout
    for name in filter(None, names.split("\0")):
        if (source / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, folder / name)
    call(folder, "git", "init", "-q")
    call(folder, "git", "config", "user.name", "benchmark")
    call(folder, "git", "config", "user.email", "benchmark@example.com")
    if not (folder / ".dvc").exists():
        call(folder, "dvc", "init", "-q")
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-q", "-m", "benchmark")
    return folder


def cold(folder: Path) -> float:
    """`dvc repro --force` with a new MLflow store."""
    for path in (folder / "mlruns", folder / "mlartifacts"):
        shutil.rmtree(path, ignore_errors=True)
    (folder / "mlflow.db").unlink(missing_ok=True)
    return call(folder, "dvc", "repro", "--force")


def measure(base: Path, rounds: int) -> dict[str, list[float]]:
    """Wall seconds of every case, a list of `rounds` each."""
    ours, textbook, empty = (base / name for name in ("ours", "textbook", "empty"))
    for folder, source in ((ours, ROOT), (textbook, HERE / "textbook"), (empty, HERE / "empty")):
        folder.mkdir()
        project(folder, source)
    raw = ROOT / "data/raw.parquet"
    shutil.copy2(raw, ours / "data/raw.parquet")
    shutil.copy2(raw, textbook / "raw.parquet")
    call(empty, "dvc", "repro")
    times: dict[str, list[float]] = {}
    with tqdm(total=8 * rounds, unit="run", disable=not sys.stderr.isatty()) as bar:
        for number in range(rounds + 1):  # the first warms the disk's caches and is not counted
            cases = {
                "bare": partial(
                    call, base, sys.executable, str(HERE / "bare.py"), str(raw), str(base / "bare")
                )
            }
            for name, folder in (("ours", ours), ("textbook", textbook)):
                experiment = (
                    "dvc",
                    "exp",
                    "run",
                    "-S",
                    f"train.learning_rate={0.04 + number / 1000:.3f}",
                )
                cases[f"{name} cold"] = partial(cold, folder)
                cases[f"{name} experiment"] = partial(call, folder, *experiment)
                cases[f"{name} no-op"] = partial(call, folder, "dvc", "repro")
            cases["empty no-op"] = partial(call, empty, "dvc", "repro")
            for name, run in cases.items():
                wall = run()
                if number:
                    times.setdefault(name, []).append(wall)
                    bar.update()
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the pipeline against its comparators.")
    parser.add_argument(
        "--rounds", type=int, default=5, help="counted runs of each case (default 5)"
    )
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as base:
        times = measure(Path(base), rounds)
    median = {name: statistics.median(walls) for name, walls in times.items()}
    print(f"{'case':<22} {'median':>8} {'min':>8} {'max':>8}   seconds, {rounds} runs")
    for name, walls in times.items():
        print(f"{name:<22} {median[name]:>8.2f} {min(walls):>8.2f} {max(walls):>8.2f}")
    print()
    for name, ours, other, limit in (
        ("cold / textbook", "ours cold", "textbook cold", 0.75),
        ("experiment / textbook", "ours experiment", "textbook experiment", 0.75),
        ("no-op / empty project", "ours no-op", "empty no-op", 1.3),
        ("cold / bare", "ours cold", "bare", None),
    ):
        goal = f"   (goal: at most {limit:g})" if limit else ""
        print(f"{name:<22} {median[ours] / median[other]:>8.2f}{goal}")


if __name__ == "__main__":
    main()
