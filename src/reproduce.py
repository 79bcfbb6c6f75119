"""Rebuild a model from its recorded lineage, and prove that it is the same.

    python src/reproduce.py models:/ChurnXGB@production
    python src/reproduce.py 3    (a version; also an alias, run id, DVC experiment or git revision)

Takes the code of the recorded commit with its logged patch, the data by md5, the parameters and the
locked packages into a temporary clone, runs the pipeline there from the start, and compares md5 by
md5 and metrics digit by digit. A difference is shown with its cause. A registered version gets the
result as tags (`reproduced`, `reproduced_at`, `reproduced_on`); nothing else changes: workspace,
DVC cache and registry stay as they are.

Exit code 5: the rebuilt model is another one. Exit code 1: it cannot be rebuilt here, and why.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from churn import paths
from churn.console import run_command
from churn.files import md5
from churn.forensics import locked_environment, workspace
from churn.forensics.recipe import Recipe
from churn.forensics.resolve import resolve_recipe
from churn.forensics.verdict import (
    Rebuilt,
    Verdict,
    compare_causes,
    compare_chain,
    find_verdict,
    verdict_table,
)
from churn.tracking.store_errors import explain_store_error

DIFFERS = 5  # exit code
PRINT_MACHINE = (
    "import json; from churn.tracking import environment; "
    "print(json.dumps(environment.environment_tags()))"
)


def main() -> None:
    start = time.monotonic()
    recipe = resolve_recipe(parse_arguments().model)
    with workspace.checkout(recipe) as folder:
        environment = locked_environment.environment_for(folder)
        rebuilt = rebuild(recipe, folder, environment)

        def rebuild_again() -> Rebuilt:
            note = "it differs; a second rebuild shows whether chance is at work"
            print(note, file=sys.stderr, flush=True)
            return rebuild(recipe, folder, environment)

        verdict = find_verdict(recipe, rebuilt, rebuild_again)

    print(f"{recipe.label}, rebuilt in {time.monotonic() - start:.0f} s\n")
    print(verdict_table(compare_causes(recipe, rebuilt) + compare_chain(recipe, rebuilt)))
    print(f"\n{verdict}")
    if not recipe.metrics:
        print("its run is gone, so no metric is recorded that could be compared", file=sys.stderr)
    if recipe.version:
        tag_version(recipe, verdict, rebuilt.machine)
    if not verdict.identical:
        sys.exit(DIFFERS)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rebuild a model from its lineage and compare.")
    parser.add_argument(
        "model",
        help="models:/NAME@ALIAS, a version, an alias, a run id, an experiment, a git revision",
    )
    return parser.parse_args()


def rebuild(recipe: Recipe, folder: Path, environment: Path) -> Rebuilt:
    """Run the pipeline of a checkout, and note what it read and made."""
    raw, schema = str(paths.RAW), str(paths.SCHEMA)
    deps = {}
    for path in {*recipe.deps, raw, schema}:
        if (folder / path).exists():
            deps[path] = md5(folder / path)
    outcome = workspace.run_pipeline(folder, environment, print_stage)
    return Rebuilt(
        deps=deps,
        data_md5=deps[raw],
        lock_md5=md5(folder / "requirements.txt"),
        machine=read_machine(folder, environment),
        outs=outcome["outs"],
        metrics=outcome["metrics"],
    )


def print_stage(line: str) -> None:
    """Print which stage DVC has begun."""
    if line.startswith("Running stage"):
        stage = line.split("'")[1]
        print(f"running {stage}", file=sys.stderr, flush=True)


def read_machine(folder: Path, environment: Path) -> dict[str, str]:
    """The tags of tracking.environment for another environment, by this project's code."""
    result = subprocess.run(
        [environment / "python", "-c", PRINT_MACHINE],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).resolve().parent), "PATH": str(environment)},
        capture_output=True,
        text=True,
        check=True,
    )
    tags: dict[str, str] = json.loads(result.stdout)
    return tags


def tag_version(recipe: Recipe, verdict: Verdict, machine: dict[str, str]) -> None:
    """Tag the registered version with the result, when and where."""
    import mlflow

    parts = (machine["platform"], machine["processor"], f"Python {machine['python']}")
    tags = {
        "reproduced": verdict.tag,
        "reproduced_at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "reproduced_on": f"{platform.node()}: {', '.join(parts)}",
    }
    client = mlflow.MlflowClient()
    for key, value in tags.items():
        client.set_model_version_tag(recipe.model, recipe.version, key, value)


if __name__ == "__main__":
    run_command(main, explain_store_error)
