"""Say what is different between two models and how much of a metric's change each difference made.

    python src/why.py models:/ChurnXGB@production models:/ChurnXGB@staging --attribute

A and B are versions, aliases, MLflow runs, DVC experiments or git revisions. Without --attribute
nothing is run: a table of code, data, parameters, randomness and environment. With it, every
combination of A's and B's is run by the pipeline's own stages in temporary checkouts and measured
by them; the contributions (Shapley values) add up to the change exactly. Beside each is its noise,
from reruns of the same combinations with other seeds.

The answer is printed, drawn (why.png) and logged to MLflow. Results are kept in .dvc/tmp/why: the
second time is free.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from churn.console import progress, run_command
from churn.errors import UserError
from churn.forensics import counterfactual, difference, explanation, workspace
from churn.forensics.comparison import Comparison
from churn.forensics.resolve import resolve_recipe
from churn.forensics.snapshot import Snapshot, read_snapshot
from churn.forensics.waterfall import draw_waterfall
from churn.tracking import runs
from churn.tracking.store_errors import explain_store_error

TOLERANCE = 1e-6  # metrics are written with six digits


def main() -> None:
    options = parse_arguments()
    recipes = resolve_recipe(options.a), resolve_recipe(options.b)
    with ExitStack() as stack:
        a, b = (
            read_snapshot(recipe, stack.enter_context(workspace.checkout(recipe)))
            for recipe in recipes
        )
        difference.check_different(a, b)
        text = f"{title(a, b)}\n\n{explanation.differences_text(a, b)}"
        answer: dict[str, Any] = {"differs": md5s_of_different_axes(a, b)}

        if options.attribute:
            workers = counterfactual.start_workers(stack)
            runner = counterfactual.CombinationRunner(a, b, workers)
            comparison = Comparison(runner, options.metric, options.seeds)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            attribution, attribution_text = attribute(comparison, folder)
            answer |= attribution
            text = f"{attribution_text}\n\n{text}"
            draw_waterfall(
                options.metric, comparison.metric_of_both(), comparison.causes(), options.output
            )
            log_answer(answer, (a, b), text, options.output)
            count = f"{answer['combinations']} combinations, {answer['run_now']} of them run now"
            print_progress(f"{count}; {options.output}")
    if options.json:
        text = json.dumps(answer, indent=2)
    print(text)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="What changed between two models, and how much each change did."
    )
    parser.add_argument(
        "a",
        metavar="A",
        help="version, alias, models:/ URI, MLflow run, DVC experiment, git revision",
    )
    parser.add_argument("b", metavar="B", help="the same")
    parser.add_argument(
        "--attribute", action="store_true", help="run the combinations; minutes, not seconds"
    )
    parser.add_argument(
        "--metric", default="roc_auc", help="which of reports/metrics.json (default: roc_auc)"
    )
    parser.add_argument(
        "--seeds", type=int, default=5, help="reruns with other seeds, for the noise (default: 5)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("why.png"), help="the picture (default: why.png)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    options = parser.parse_args()
    if options.seeds < 1:
        raise UserError("--seeds must be at least 1: without reruns nobody knows what is noise")
    return options


def title(a: Snapshot, b: Snapshot) -> str:
    """What A and B are."""
    lines = []
    for name, snapshot in (("A", a), ("B", b)):
        lines.append(f"{name}  {snapshot.recipe.label}, commit {snapshot.recipe.commit[:8]}")
    return "\n".join(lines)


def md5s_of_different_axes(a: Snapshot, b: Snapshot) -> dict[str, list[str]]:
    """The md5s of A and B by axis, of the axes along which they differ."""
    ours, theirs = a.axis_md5s(), b.axis_md5s()
    return {axis: [ours[axis], theirs[axis]] for axis in difference.different_axes(a, b)}


def attribute(comparison: Comparison, folder: Path) -> tuple[dict[str, Any], str]:
    """Run what is needed, and attribute the change.

    Args:
        folder: for tables in between.

    Returns:
        The answer as plain data, and as text.
    """
    show_runs(comparison)
    # First: it keeps the splits of A and of B.
    test_splits = comparison.measure_by_test_split(folder)
    comparison.split_data(folder)
    both = comparison.metric_of_both()
    causes, noise = comparison.causes(), comparison.noise()

    warnings = [*rerun_warnings(comparison, both), *comparison.runner.warnings()]
    sentence = explanation.sentence(comparison.metric, both, noise, causes)
    blocks = [
        sentence,
        "\n".join(warnings),
        explanation.causes_table(causes, both, len(comparison.seeds)),
        explanation.models_by_test_split_text(test_splits),
    ]
    answer = {
        "sentence": sentence,
        "metric": comparison.metric,
        "a": both[0],
        "b": both[1],
        "noise": noise,
        "causes": [cause.as_json() for cause in causes],
        "two_by_two": {"figures": test_splits.metrics, "customers": test_splits.customers},
        "warnings": warnings,
        "seeds": comparison.seeds,
        "combinations": len(comparison.runner.requested),
        "run_now": len(comparison.runner.seconds),
    }
    return answer, "\n\n".join(block for block in blocks if block)


def show_runs(comparison: Comparison) -> None:
    """Say how many runs it takes, and show how far they have come."""
    runner = comparison.runner
    least = comparison.count_runs(1)
    most = comparison.count_runs(comparison.most_data_steps())
    estimate = f"{least} runs of the pipeline"
    if most > least:
        estimate = f"{least} to {most} runs of the pipeline, by how many changed columns matter"
    print_progress(
        f"axes that differ: {len(comparison.axes)}; about {estimate}, with "
        f"{len(comparison.seeds)} other seeds; what was run before is not run again"
    )
    show = progress(most, "run", line_every=10)

    def after_run() -> None:
        count, seconds = len(runner.requested), runner.seconds
        show(count, f"{len(seconds)} of them run now")
        if count == 2 and len(seconds) == 2:  # both models themselves
            each = sum(seconds) / 2
            remaining = [f"{max(0, total - count) * each:.0f}" for total in (least, most)]
            range_of_seconds = " to ".join(dict.fromkeys(remaining))
            print_progress(f"{each:.1f} s a run: about {range_of_seconds} s more")

    runner.after_run = after_run


def rerun_warnings(comparison: Comparison, both: tuple[float, float]) -> list[str]:
    """Warn when a rerun does not reproduce the recorded metric."""
    warnings = []
    metric = comparison.metric
    models = (("A", comparison.a, both[0]), ("B", comparison.b, both[1]))
    for name, snapshot, rerun in models:
        recorded = snapshot.recipe.metrics.get(metric)
        if recorded is None:
            warnings.append(f"WARNING: {name} has no recorded {metric}; the rerun gave {rerun:.6f}")
        elif abs(recorded - rerun) > TOLERANCE:
            warnings.append(
                f"WARNING: {name} was recorded with {metric} {recorded:.6f}, and its rerun here "
                f"gives {rerun:.6f}: what follows explains the reruns. `python src/reproduce.py "
                f"{snapshot.recipe.name}` says what is different"
            )
    return warnings


def log_answer(
    answer: dict[str, Any], models: tuple[Snapshot, Snapshot], text: str, picture: Path
) -> None:
    """Log the answer as a run in MLflow.

    It has no tag `stage` and no md5 of a model, so that nothing takes it for a model's run.
    """
    a, b = models
    tags = {"why": answer["sentence"], "why.a": a.recipe.label, "why.b": b.recipe.label}
    metric = answer["metric"]
    with runs.open_run("why", tags):
        import mlflow

        mlflow.log_metrics({f"{metric}.a": answer["a"], f"{metric}.b": answer["b"]})
        mlflow.log_text(text, "why.txt")
        mlflow.log_dict(answer, "why.json")
        mlflow.log_artifact(str(picture))


def print_progress(text: str) -> None:
    """Print to stderr, which keeps it out of the answer."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    run_command(main, explain_store_error)
