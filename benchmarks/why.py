"""Plant causes in commits of this project, alone and in pairs, and see what src/why.py finds, in
how many runs.

    python benchmarks/why.py [--pairs] [--seeds 5]

Prints a Markdown table: what was planted, what was found, by how much the metric changed, runs and
seconds.
"""

import argparse
import itertools
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "tests/forensics")]

from planted import CAUSES, Answer, explain, first_commit, plant, start  # noqa: E402

from conftest import Project  # noqa: E402


def row(answer: Answer, causes: tuple, seconds: float) -> str:
    """The right half of a line: what was found, and at what price."""
    real = [cause.what for cause in answer.causes if not cause.within_noise]
    found = "; ".join(real) or "all is noise"
    change = f"{answer.change:+.4f} ± {answer.noise:.4f}"
    runs = f"{answer.combinations}, {answer.run_now} new"
    return f"{change} | {found} | {answer.share(*causes):.0%} | {runs} | {seconds:.0f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description="What src/why.py finds of planted causes.")
    parser.add_argument("--pairs", action="store_true", help="every pair as well")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="the small model of the tests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base, ExitStack() as stack:
        folder = Path(base, "project")
        folder.mkdir()
        project = Project.clone(folder, options.tiny)
        project.out("dvc", "pull", "-q", "data/raw.parquet.dvc")
        first_commit(project)
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = project.uri
        os.environ["XDG_CACHE_HOME"] = base
        workers, run = start(stack)
        planted = [(name,) for name in CAUSES]
        if options.pairs:
            planted += itertools.combinations(CAUSES, 2)
        print(
            "| planted | metric | change | found | share of the planted | combinations | seconds |"
        )
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for names in planted:
            causes = tuple(CAUSES[name] for name in names)
            plant(project, "planted", run, *causes)
            for metric in sorted({cause.metric for cause in causes}):
                begin = time.monotonic()
                answer = explain("main", "planted", workers, metric, options.seeds)
                line = row(answer, causes, time.monotonic() - begin)
                print(f"| {' + '.join(names)} | {metric} | {line}", flush=True)


if __name__ == "__main__":
    main()
