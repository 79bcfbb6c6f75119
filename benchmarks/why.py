"""Plant causes in commits of this project, alone and in pairs, and see what src/why.py finds, in how many runs.

    python benchmarks/why.py [--pairs] [--seeds 5]

Prints a Markdown table: what was planted, what was found, by how much the metric changed, runs and seconds.
"""

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]

from conftest import Project  # noqa: E402
from planted import CAUSES, explain, plant, project_with_causes  # noqa: E402

from churn import counterfactual, workspace  # noqa: E402


def row(answer: dict, causes: tuple, seconds: float, before: int) -> str:
    """One line of the table: what was planted, what was found first, and the sentence."""
    found = [c for c in answer["causes"] if not c["within_noise"]]
    ranked = answer["causes"][: len(answer["causes"])]
    share = sum(
        c["contribution"] for c in ranked if any(c["what"].find(n) >= 0 for cause in causes for n in cause.named)
    )
    change = answer["b"] - answer["a"]
    return (
        f"{change:+.4f} ± {answer['noise']:.4f} | {'; '.join(c['what'] for c in found) or 'noise'} | "
        f"{share / change if change else 1:.0%} | {answer['run_now']} of {answer['combinations']} | {seconds:.0f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What src/why.py finds of planted causes.")
    parser.add_argument("--pairs", action="store_true", help="every pair as well")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="the small model of the tests")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as base, ExitStack() as stack:
        folder = Path(base, "project")
        folder.mkdir()
        project = project_with_causes(folder, options.tiny)
        os.chdir(folder)
        os.environ["MLFLOW_TRACKING_URI"] = project.uri
        run = stack.enter_context(workspace.worker(Path(sys.executable).parent))
        workers = counterfactual.workers(stack)
        planted = [(name,) for name in CAUSES]
        planted += list(itertools.combinations(CAUSES, 2)) if options.pairs else []
        print(
            "| planted | metric | change | found | its share | runs | seconds |\n| --- | --- | --- | --- | --- | --- | --- |"
        )
        for names in planted:
            causes = tuple(CAUSES[name] for name in names)
            metrics = {cause.metric for cause in causes}
            for metric in sorted(metrics, reverse=True):
                branch = plant(project, "planted", run, *causes)
                start = time.monotonic()
                answer = explain("main", branch, workers, metric, options.seeds)
                line = row(answer, causes, time.monotonic() - start, 0)
                print(f"| {' + '.join(names)} | {metric} | {line}", flush=True)


if __name__ == "__main__":
    main()
