"""Say what the workspace holds and where it stands: metrics, gate, version, staging, production.

    python src/report.py

Also the reconciler. A stage that DVC took from its cache ran no code and logged nothing, and a store may be new:
whatever run, version or first `staging` is missing for the model in the workspace is made from DVC's files. An
alias that exists is never moved: looking at an old commit must not roll staging back. Under `mlflow run` the
launching run gets parameters, metrics and dvc.lock, so that it is never empty.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd

from churn import paths
from churn.console import run_command
from churn.data.contract import Contract, load_project_contract
from churn.errors import UserError
from churn.files import md5, read_metrics
from churn.modeling import gate
from churn.modeling.booster import load_booster, predict_probabilities
from churn.params import Params, load_params
from churn.tracking import (
    dvc_lock,
    evaluation_record,
    git_state,
    launching_run,
    lineage,
    registration,
    registry,
    run_log,
    runs,
)
from churn.tracking.store_errors import explain_store_error


def check_workspace(leaves: dict[str, object]) -> None:
    """Refuse to report on files that dvc.lock does not describe: their origin is unknown."""
    locked = dvc_lock.read_lock()
    if not locked:
        raise UserError("there is no dvc.lock; run `dvc repro` first")
    stale = {}  # what differs: how; a file that several stages read is named once
    for entry in locked.values():
        for name, value in entry["params"].items():
            if leaves.get(name) != value:
                stale[name] = f"was {value!r}, now {leaves.get(name)!r}"
        for path, digest in (entry["deps"] | entry["outs"]).items():
            if digest.endswith(
                ".dir"
            ):  # DVC's sum over a folder, made with its outputs; `dvc status` checks it
                continue
            if not Path(path).exists() or md5(path) != digest:
                stale[path] = (
                    "is not the file that dvc.lock names" if Path(path).exists() else "is missing"
                )
    if stale:
        listed = "".join(f"\n  {what} {how}" for what, how in stale.items())
        raise UserError(f"the workspace is not what dvc.lock describes; run `dvc repro`:{listed}")


def check_experiment() -> None:
    """Refuse to take what a killed experiment left for the workspace of its branch.

    Raises:
        UserError: with the commands that lead back.
    """
    if git_state.unfinished_experiment():
        branch = git_state.previous_branch()
        raise UserError(
            "a `dvc exp run` was killed here, or still runs: git is on no branch, and the files are the experiment's. "
            f"`git checkout {branch} && git restore --staged --worktree params.yaml dvc.lock reports && dvc checkout` "
            "leads back; what you had changed elsewhere stays (docs/experiments.md)"
        )


def reconcile(
    p: Params, rules: Contract, results: dict[str, float], identity: dict[str, str]
) -> None:
    """Make what is missing of the evaluation's record and version, and a first `staging`, from DVC's files."""
    test = pd.read_parquet(paths.SPLITS["test"])
    origin, tags = dvc_lock.data_tags(), lineage.stage_tags("evaluate")
    production = registry.version_with_alias(p.registry.model, "production")
    identity = identity | evaluation_record.compared_with_tag(
        production, registry.workspace_identity(results["threshold"])
    )
    with (
        tempfile.TemporaryDirectory() as pictures,
        registration.evaluation_run(p, rules, origin, tags),
    ):
        subprocess.run([sys.executable, "src/draw.py", pictures], check=True)
        probability = predict_probabilities(load_booster(paths.MODEL), test, rules)
        customers = test.drop(columns=[rules.id, rules.target])
        logged = registration.verified_scoring_model(
            p, rules, results["threshold"], customers, probability
        )
        decision = gate.decide(
            results,
            p.gate,
            *registration.compare_with_production(p, rules, test, probability, production),
        )
        run_log.log_evaluation(results, Path(pictures))
        version = registration.record_and_register(p, logged, results, decision, identity)
        if version and registry.has_no_stage(version.name):
            registry.set_staging(version.name, version.version)


def fill_launcher(run_id: str, leaves: dict, results: dict[str, float], model_run) -> None:
    """Write into the run that launched the pipeline what came of it, also when every stage was cached."""
    executed = launching_run.executed_stages(run_id)
    cached = "false" if executed else "true"
    tags = {
        "model_run": model_run.info.run_id,
        "executed": ", ".join(executed) or "nothing",
        "cached": cached,
    }
    launching_run.log_pipeline_run(run_id, leaves, results, tags)


def summary(name: str, results: dict[str, float], model_run, versions: dict) -> str:
    """The report as text: metrics with intervals, the gate's decision, and how workspace and aliases relate."""
    lines = [f"{'test split':<20} {'value':>10}   95 % interval"]
    for metric, value in results.items():
        if not metric.endswith(("_low", "_high")):
            line = f"{metric:<20} {value:>10,.{2 if metric.startswith('value') else 4}f}"
            if f"{metric}_low" in results:
                line += f"   {results[f'{metric}_low']:.4f} to {results[f'{metric}_high']:.4f}"
            lines.append(line)
    lines += ["", f"gate        {model_run.data.tags['gate_reason']}"]
    for place, version in versions.items():
        text = (
            f"{name} version {version.version}, model {version.tags['model_md5'][:8]}"
            if version
            else "no version"
        )
        lines.append(f"{place:<11} {text}")
    return "\n".join(lines)


def left_out() -> str:
    """How many customers of the raw table are in no split, since they have no label (`data.unlabelled: drop`)."""
    import pyarrow.parquet as pq

    rows = [pq.read_metadata(path).num_rows for path in (paths.RAW, *paths.SPLITS.values())]
    count = rows[0] - sum(rows[1:])
    return (
        f"\nunlabelled  {count:,} of {rows[0]:,} customers were left out: they have no label"
        if count
        else ""
    )


def following(registered: bool) -> str:
    """What to do next."""
    if registered:
        return "`make ui` shows the runs, `make plots` the plots; `dvc exp run -S train.max_depth=6` tries a change."
    return (
        "nothing was registered. Better parameters may pass (`python src/sweep.py --apply`); if this table gives no "
        "more, set the thresholds under `gate:` in params.yaml to what is worth having, and `dvc repro`."
    )


def main() -> None:
    p = load_params()
    leaves = p.flat()
    check_experiment()
    check_workspace(leaves)
    rules = load_project_contract(p)
    results = read_metrics(paths.METRICS)
    results.pop("gate_thresholds", None)

    launcher = os.environ.get("MLFLOW_RUN_ID")
    identity = evaluation_record.evaluation_identity(leaves, dvc_lock.stage_inputs("evaluate"))
    made, state = registry.workspace_identity(results["threshold"]), lineage.stage_tags("evaluate")
    runs.close_abandoned()
    if registration.find_record(p, identity, made, state) is None:
        reconcile(p, rules, results, identity)
    model_run, version = runs.find_run(**identity), registry.find_version(p.registry.model, made)
    if launcher:
        fill_launcher(launcher, leaves, results, model_run)
    aliases = {
        alias: registry.version_with_alias(p.registry.model, alias)
        for alias in ("staging", "production")
    }
    print(
        summary(p.registry.model, results, model_run, {"workspace": version, **aliases})
        + left_out()
    )
    print(f"\nNext: {following(version is not None)}")


if __name__ == "__main__":
    run_command(main, explain_store_error)
