"""Rebuild a model from what its lineage says, and prove that it is the same.

    python src/reproduce.py models:/ChurnXGB@production
    python src/reproduce.py 3          (a version; also an alias, a run id, a DVC experiment, a git
    revision)

Takes the code of the recorded commit with its logged patch, the data by md5, the parameters and the
locked packages into a temporary clone, runs the pipeline there from the start, and compares md5 by
md5 and metrics digit by digit. What differs is named with what is to blame. A registered version
gets the result as tags (`reproduced`, `reproduced_at`, `reproduced_on`); nothing else changes:
workspace, DVC cache and registry stay as they are.

Exit code 5: the rebuilt model is another one. Exit code 1: it cannot be rebuilt here, and why.
"""

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path

from churn import paths
from churn.console import run_command
from churn.files import md5
from churn.forensics import locked_environment, workspace
from churn.forensics.recipe import Recipe, resolve_recipe
from churn.forensics.verdict import (
    Rebuilt,
    Verdict,
    compare_causes,
    compare_chain,
    find_verdict,
    verdict_table,
)
from churn.operations import promotion
from churn.tracking.store_errors import explain_store_error

DIFFERS = 5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rebuild a model from its lineage and compare.")
    parser.add_argument(
        "model",
        help="models:/NAME@ALIAS, a version, an alias, a run id, an experiment, a git revision",
    )
    return parser.parse_args()


def progress(line: str) -> None:
    """Say which stage DVC has begun."""
    if line.startswith("Running stage"):
        print(f"running {line.split(chr(39))[1]}", file=sys.stderr, flush=True)


def rebuild(recipe: Recipe, folder: Path, bin: Path) -> Rebuilt:
    """Run the pipeline of a checkout, and look at what it read and made."""
    read = {path: md5(folder / path) for path in recipe.deps if (folder / path).exists()}
    read |= {
        str(paths.SCHEMA): md5(folder / paths.SCHEMA),
        str(paths.RAW): md5(folder / paths.RAW),
    }
    made = workspace.pipeline(folder, bin, progress)
    return Rebuilt(
        deps=read,
        data_md5=read[str(paths.RAW)],
        lock_md5=md5(folder / "requirements.txt"),
        machine=machine(folder, bin),
        **made,
    )


def machine(folder: Path, bin: Path) -> dict[str, str]:
    """lineage.environment() of another environment, as this project's code sees it."""
    code = "import json; from churn.tracking import environment; print(json.dumps(environment.environment_tags()))"
    env = {"PYTHONPATH": str(Path(__file__).resolve().parent), "PATH": str(bin)}
    seen = subprocess.run(
        [bin / "python", "-c", code],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(seen.stdout)


def write_back(recipe: Recipe, verdict: Verdict, machine: dict[str, str]) -> None:
    """Tag the registered version with the result, when and where."""
    import mlflow

    here = f"{platform.node()}: {machine['platform']}, {machine['processor']}, Python {machine['python']}"
    result = {"reproduced": verdict.tag, "reproduced_at": promotion.now(), "reproduced_on": here}
    for key, value in result.items():
        mlflow.MlflowClient().set_model_version_tag(recipe.model, recipe.version, key, value)


def main() -> None:
    started, what = time.monotonic(), arguments().model
    recipe = resolve_recipe(what)
    with workspace.checkout(recipe) as folder:
        bin = locked_environment.environment_for(folder)
        rebuilt = rebuild(recipe, folder, bin)

        def again() -> Rebuilt:
            print(
                "it differs; a second rebuild shows whether chance is at work",
                file=sys.stderr,
                flush=True,
            )
            return rebuild(recipe, folder, bin)

        verdict = find_verdict(recipe, rebuilt, again)
    print(f"{recipe.label}, rebuilt in {time.monotonic() - started:.0f} s\n")
    print(verdict_table(compare_causes(recipe, rebuilt) + compare_chain(recipe, rebuilt)))
    print(f"\n{verdict}")
    if not recipe.metrics:
        print("its run is gone, so no metric is recorded that could be compared", file=sys.stderr)
    if recipe.version:
        write_back(recipe, verdict, rebuilt.machine)
    sys.exit(0 if verdict.identical else DIFFERS)


if __name__ == "__main__":
    run_command(main, explain_store_error)
