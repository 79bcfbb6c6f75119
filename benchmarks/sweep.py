"""Time the search against a bare Optuna loop, and DVC's queue here against the textbook project's.

    python benchmarks/sweep.py [--trials 50] [--experiments 4] [--rounds 3]

search: `python src/sweep.py` until its last trial ends; its closing comparison (50 fits) and plots
are listed apart. bare loop: bare_sweep.py, the same trials without database and MLflow; as most
people write it, and lean. queue: `dvc exp run --queue` and then `python src/sweep.py --queue`; for
the textbook `dvc exp run --run-all`.
"""

import argparse
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from datetime import datetime
from pathlib import Path

import optuna
from run import ENV, HERE, ROOT, call, project
from tqdm import tqdm


def search(folder: Path) -> tuple[float, float]:
    """Seconds from the start of `python src/sweep.py` to the end of its last trial, and from
    there to its own.
    """
    (folder / "sweep.db").unlink(missing_ok=True)
    start = datetime.now()
    wall = call(folder, sys.executable, "src/sweep.py")
    database = f"sqlite:///{folder}/sweep.db"
    (name,) = optuna.get_all_study_names(database)
    trials = optuna.load_study(study_name=name, storage=database).trials
    trials_end = (max(trial.datetime_complete for trial in trials) - start).total_seconds()
    return trials_end, wall - trials_end


def queue(folder: Path, experiments: int, *work_off: str) -> float:
    """Seconds an experiment: queue some that were never run, and work them off."""
    rates = ",".join(
        f"{0.04 + number / 100 + time.time() % 1000 / 1e6:.6f}" for number in range(experiments)
    )
    wall = call(folder, "dvc", "exp", "run", "--queue", "-S", f"train.learning_rate={rates}")
    return (wall + call(folder, *work_off)) / experiments


def measure(base: Path, trials: int, experiments: int, rounds: int) -> dict[str, list[float]]:
    """Wall seconds of every case; of a queue, an experiment."""
    ours, textbook = base / "ours", base / "textbook"
    for folder, source in ((ours, ROOT), (textbook, HERE / "textbook")):
        folder.mkdir()
        project(folder, source)
    text = (ours / "params.yaml").read_text()
    (ours / "params.yaml").write_text(re.sub(r"trials: \d+", f"trials: {trials}", text))
    shutil.copy2(ROOT / "data/raw.parquet", ours / "data/raw.parquet")
    shutil.copy2(ROOT / "data/raw.parquet", textbook / "raw.parquet")
    call(textbook, "dvc", "add", "-q", "raw.parquet")  # a queued experiment sees tracked files only
    for folder in (ours, textbook):
        call(folder, "dvc", "repro", "-q")
        call(folder, "git", "add", "-A")
        call(folder, "git", "commit", "-qm", "reproduced")
    # As src/churn/__init__.py: without it, the comparators are slower on a busy machine.
    ENV["GOMP_SPINCOUNT"] = "1000"
    times = defaultdict(list)
    for _ in tqdm(range(rounds), unit="round", disable=not sys.stderr.isatty()):
        bare = (sys.executable, str(HERE / "bare_sweep.py"), str(trials))
        times["bare loop"].append(call(ours, *bare))
        times["bare loop, lean"].append(call(ours, *bare, "lean"))
        until_last_trial, closing = search(ours)
        times["sweep.py, trials"].append(until_last_trial)
        times["sweep.py, closing comparison and plots"].append(closing)
    for jobs in ("1", "2"):
        case = f"queue, {jobs} at a time, an experiment"
        times[f"{case}: sweep.py"] = [
            queue(ours, experiments, sys.executable, "src/sweep.py", "--queue", "--jobs", jobs)
        ]
        times[f"{case}: textbook"] = [
            queue(textbook, experiments, "dvc", "exp", "run", "--run-all", "-j", jobs)
        ]
    one = ("dvc", "exp", "run", "-S", "train.learning_rate=0.0777")
    times["dvc exp run, alone"] = [call(ours, *one)]
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Time the search and the queue against their comparators."
    )
    parser.add_argument("--trials", type=int, default=50, help="trials of a search (default 50)")
    parser.add_argument(
        "--experiments", type=int, default=4, help="experiments in a queue (default 4)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="searches of each kind (default 3)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        times = measure(Path(base), given.trials, given.experiments, given.rounds)
    median = {name: statistics.median(walls) for name, walls in times.items()}
    for name, walls in times.items():
        print(f"{name:<45} {median[name]:>8.2f} s   ({', '.join(f'{wall:.2f}' for wall in walls)})")
    ours, trial = median["sweep.py, trials"], median["sweep.py, trials"] / given.trials
    print(f"\nsweep.py / bare loop {ours / median['bare loop']:>15.2f}   (goal: at most 1.15)")
    print(f"sweep.py / bare loop, lean {ours / median['bare loop, lean']:>9.2f}")
    queued = median["queue, 2 at a time, an experiment: textbook"]
    print(
        f"textbook's queue, 2 at a time / sweep.py {queued / trial:>9.1f} (an experiment / a trial)"
    )


if __name__ == "__main__":
    main()
