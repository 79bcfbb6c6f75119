"""Say what is different between two models and, with --attribute, how much of a metric's change
each difference made.

    python src/why.py models:/ChurnXGB@production models:/ChurnXGB@staging --attribute

A and B are versions, aliases, MLflow runs, DVC experiments or git revisions. Without --attribute
nothing is run: a table of code, data, parameters, randomness and environment. With it, every
combination of A's and B's is run by the pipeline's own stages in temporary checkouts and scored by
them; the contributions (Shapley values) add up to the change exactly. Beside each stands its noise,
from reruns of the same combinations with other seeds.

The answer is printed, drawn (why.png) and logged to MLflow. Results are kept in .dvc/tmp/why: the
second time is free.
"""

import argparse
import json
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from churn.console import run_command
from churn.errors import UserError
from churn.forensics import counterfactual, difference, explanation, workspace
from churn.forensics.comparison import Comparison
from churn.forensics.recipe import resolve_recipe
from churn.tracking import runs
from churn.tracking.store_errors import explain_store_error


def arguments() -> argparse.Namespace:
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


def say(text: str) -> None:
    """Progress, where it does not get into the answer: stderr."""
    print(text, file=sys.stderr, flush=True)


def progress(comparison: Comparison) -> tqdm:
    """Say how long it will take, and show it: a bar on a terminal, a line every ten runs in a log."""
    least, most = comparison.runs(1), comparison.runs(comparison.most_steps())
    runs = f"{least}" if least == most else f"{least} to {most}"
    more = ", by how many changed columns matter" if least < most else ""
    say(
        f"axes that differ: {len(comparison.axes)}; about {runs} runs of the pipeline{more}, with "
        f"{len(comparison.seeds)} other seeds; what was run before is not run again"
    )
    bar = tqdm(total=least, unit="run", disable=not sys.stderr.isatty(), leave=False)

    def after_run() -> None:
        count = len(comparison.pipelines.asked)
        bar.total = max(bar.total, count)
        bar.update()
        seconds = comparison.pipelines.seconds
        if len(seconds) == 2 and count == 2:  # both models themselves
            each = sum(seconds) / 2
            left = [f"{max(0, total - count) * each:.0f}" for total in (least, most)]
            say(f"{each:.1f} s a run: about {' to '.join(dict.fromkeys(left))} s more")
        if bar.disable and count % 10 == 0:
            say(f"{count} combinations, {len(comparison.pipelines.seconds)} of them run now")

    comparison.pipelines.after_run = after_run
    return bar


def unlike_recorded(comparison: Comparison, ends: tuple[float, float]) -> list[str]:
    """Loud words where a rerun does not give the figure that was recorded."""
    words = []
    for name, side, again in (("A", comparison.a, ends[0]), ("B", comparison.b, ends[1])):
        recorded = side.recipe.metrics.get(comparison.metric)
        if recorded is None:
            words.append(
                f"WARNING: {name} has no recorded {comparison.metric}; the rerun gave {again:.6f}"
            )
        elif abs(recorded - again) > 1e-6:
            words.append(
                f"WARNING: {name} was recorded with {comparison.metric} {recorded:.6f}, and its rerun here gives "
                f"{again:.6f}: what follows explains the reruns. `python src/reproduce.py {side.recipe.name}` says "
                "what is different"
            )
    return words


def attribute(comparison: Comparison, folder: Path) -> dict:
    """Run what is needed; the answer as plain data and as text."""
    with progress(comparison):
        figures, counts = comparison.two_by_two(folder)  # first: it keeps the splits of A and of B
        comparison.split_data(folder)
        ends, causes, noise = comparison.ends(), comparison.causes(), comparison.noise()
    warnings = [*unlike_recorded(comparison, ends), *comparison.pipelines.unknown()]
    told = explanation.sentence(comparison.metric, ends, noise, causes)
    tables = [
        explanation.causes_table(causes, ends, len(comparison.seeds)),
        explanation.squares(figures, counts),
    ]
    return {
        "sentence": told,
        "metric": comparison.metric,
        "a": ends[0],
        "b": ends[1],
        "noise": noise,
        "causes": [asdict(cause) for cause in causes],
        "two_by_two": {"figures": figures, "customers": counts},
        "warnings": warnings,
        "seeds": comparison.seeds,
        "combinations": len(comparison.pipelines.asked),
        "run_now": len(comparison.pipelines.seconds),
        "text": "\n\n".join([told, *(["\n".join(warnings)] if warnings else []), *tables]),
    }


def log(answer: dict, a: difference.Side, b: difference.Side, text: str, picture: Path) -> None:
    """One run in MLflow. It has no tag `stage` and no md5 of a model: nothing takes it for a
    model's run.
    """
    with runs.open_run(
        "why", {"why": answer["sentence"], "why.a": a.recipe.label, "why.b": b.recipe.label}
    ):
        import mlflow

        mlflow.log_metrics(
            {f"{answer['metric']}.a": answer["a"], f"{answer['metric']}.b": answer["b"]}
        )
        mlflow.log_text(text, "why.txt")
        mlflow.log_dict({key: value for key, value in answer.items() if key != "text"}, "why.json")
        mlflow.log_artifact(str(picture))


def main() -> None:
    options = arguments()
    recipes = resolve_recipe(options.a), resolve_recipe(options.b)
    with ExitStack() as stack:
        a, b = (
            difference.side(one, stack.enter_context(workspace.checkout(one))) for one in recipes
        )
        difference.check(a, b)
        head = "\n".join(
            f"{name}  {side.recipe.label}, commit {side.recipe.commit[:8]}"
            for name, side in zip("AB", (a, b), strict=True)
        )
        text = f"{head}\n\n{explanation.differences(a, b)}"
        answer = {
            "differs": {
                axis: [difference.md5s(side)[axis] for side in (a, b)]
                for axis in difference.axes(a, b)
            }
        }
        if options.attribute:
            comparison = Comparison(
                counterfactual.Pipelines(a, b, counterfactual.workers(stack)),
                options.metric,
                options.seeds,
            )
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            answer |= attribute(comparison, folder)
            text = f"{answer.pop('text')}\n\n{text}"
            explanation.waterfall(
                options.metric, comparison.ends(), comparison.causes(), options.output
            )
            log(answer, a, b, text, options.output)
            say(
                f"{answer['combinations']} combinations, {answer['run_now']} of them run now; {options.output}"
            )
    print(json.dumps(answer, indent=2) if options.json else text)


if __name__ == "__main__":
    run_command(main, explain_store_error)
