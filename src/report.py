"""Say what the workspace holds and where it stands: metrics, gate, version, staging, production.

    python src/report.py
    python src/report.py --markdown --against main    the model against a git revision's

It also makes what is missing. A stage that DVC took from its cache ran no code and logged nothing,
and a store may be new: whatever run, version or first `staging` is missing for the model in the
workspace is made from DVC's files. An alias that exists is never moved: looking at an old commit
must not roll staging back. Under `mlflow run` the launching run gets parameters, metrics and
dvc.lock.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

import pandas as pd

from churn import paths
from churn.console import run_command, text_table
from churn.data.project_contract import load_project_contract
from churn.errors import UserError
from churn.files import read_metrics
from churn.modeling import backtest, segments, single_columns
from churn.modeling.booster import load_booster, predict_probabilities
from churn.modeling.metrics_table import metrics_table
from churn.params import Params, load_params
from churn.tracking import (
    dvc_lock,
    evaluation_record,
    git_state,
    held_runs,
    launching_run,
    lineage,
    markdown_report,
    pictures,
    registration,
    registry,
    revision,
    runs,
    workspace_check,
)
from churn.tracking.diagnosis import way_back_from_experiment
from churn.tracking.evaluation_record import Evaluation
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

TRY_A_CHANGE = (
    "`make ui` shows the runs, `make plots` the plots; `dvc exp run -S train.max_depth=6` tries a "
    "change."
)
NOT_REGISTERED = (
    "nothing was registered. Better parameters may pass; if this table gives no more, set the "
    "thresholds under `gate:` in params.yaml to what is worth having, and `dvc repro`."
)
# only experiments
NOT_REGISTERED += " `python src/sweep.py --apply` searches for better parameters."
# end


def main() -> None:
    options = parse_arguments()
    params = load_params()
    parameters = params.flat()
    check_experiment()
    workspace_check.check_workspace(parameters)
    results = read_metrics(paths.METRICS)
    base = revision.read_revision(options.against) if options.markdown else None

    # Make what is missing, then look again.
    model_identity = registry.workspace_identity(results["threshold"])
    stage_tags = lineage.stage_tags("evaluate")
    inputs = dvc_lock.stage_inputs("evaluate")
    evaluation_tags = evaluation_record.evaluation_identity(parameters, inputs)
    held_runs.close_abandoned()
    record = evaluation_record.find_record(params, model_identity, evaluation_tags, stage_tags)
    if record is None:
        make_record(params, results, stage_tags)
        record = runs.find_run(**evaluation_tags)
    version = registry.find_version(params.registry.model, model_identity)

    run_id = launching_run.launching_run_id()
    if run_id:
        fill_launching_run(run_id, parameters, results, record)
    if base:
        print(against_revision(base, params, results, record, version))
    else:
        print_report(params, results, record, version)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Say what the workspace holds and where it stands; make what is missing."
    )
    parser.add_argument(
        "--markdown", action="store_true", help="compare with a git revision, for a pull request"
    )
    parser.add_argument(
        "--against", metavar="REVISION", default="main", help="which (default: %(default)s)"
    )
    return parser.parse_args()


def print_report(
    params: Params, results: dict[str, float], record: Run, version: ModelVersion | None
) -> None:
    """Print metrics, gate, and the versions of workspace, staging and production."""
    versions = {"workspace": version}
    for alias in ("staging", "production"):
        versions[alias] = registry.version_with_alias(params.registry.model, alias)
    print(metrics_table(results))
    for rows in more_tables().values():
        print(f"\n{text_table(rows)}")
    suspicion = single_columns.read_suspicion(params.evaluate.suspicious_auc)
    if suspicion:
        print(f"\nwarning     {suspicion}")
    print(f"\ngate        {record.data.tags['gate_reason']}")
    print(version_lines(params.registry.model, versions) + left_out_line(params.split.gap))
    advice = TRY_A_CHANGE if version else NOT_REGISTERED
    print(f"\nNext: {advice}")


def more_tables() -> dict[str, list[dict[str, str]]]:
    """The tables of the evaluation that not every project asks for, by title."""
    tables = {}
    by_period = backtest.read_backtest()
    if by_period is not None:
        tables["Backtest"] = backtest.readable_rows(by_period)
    by_segment = segments.read_segments()
    if by_segment is not None:
        tables["Segments"] = segments.readable_rows(by_segment)
    return tables


def against_revision(
    base: revision.Revision,
    params: Params,
    results: dict[str, float],
    record: Run,
    version: ModelVersion | None,
) -> str:
    """The model of the workspace against that of a git revision, as Markdown."""
    what_changed = ""
    # only forensics
    from churn.forensics.summary import summarize_differences  # for this report alone

    what_changed = summarize_differences(base.commit, record.info.run_id)
    # end
    registered = f"{version.name} version {version.version}" if version else "not registered"
    report = markdown_report.Report(
        results=results,
        parameters=revision.file_parameters(),
        gate=record.data.tags["gate_reason"],
        version=registered,
        changed_outputs=revision.uncommitted_outputs(),
        warning=single_columns.read_suspicion(params.evaluate.suspicious_auc),
        tables=more_tables(),
        what_changed=what_changed,
    )
    comparison = revision.compare_models(base, load_project_contract(params), params)
    return markdown_report.render(report, base, comparison)


def check_experiment() -> None:
    """Refuse to take what a killed experiment left for the workspace of its branch.

    Raises:
        UserError: with the commands that lead back.
    """
    if git_state.unfinished_experiment():
        raise UserError(
            "a `dvc exp run` was killed here, or still runs: git is on no branch, and the files "
            f"are the experiment's. `{way_back_from_experiment()}` leads back; what you had "
            "changed elsewhere stays (docs/experiments.md)"
        )


def make_record(params: Params, results: dict[str, float], stage_tags: dict[str, str]) -> None:
    """Make what is missing of the evaluation's record, the version and a first `staging`."""
    contract = load_project_contract(params)
    test = pd.read_parquet(paths.SPLITS["test"])
    evaluation = Evaluation(
        params,
        contract,
        dvc_lock.data_tags(),
        stage_tags,
        results,
        test,
        predict_probabilities(load_booster(paths.MODEL), test, contract),
    )
    with pictures.drawing() as finish_drawing:
        version = registration.record_evaluation(evaluation, finish_drawing).version
    if version and registry.has_no_stage(version.name):
        registry.set_staging(version.name, version.version)


def fill_launching_run(
    run_id: str, parameters: dict[str, object], results: dict[str, float], record: Run
) -> None:
    """Log the outcome into the run that launched the pipeline, also if every stage was cached."""
    executed = launching_run.executed_stages(run_id)
    cached = "false" if executed else "true"
    tags = {
        "model_run": record.info.run_id,
        "gate": record.data.tags["gate"],
        "executed": ", ".join(executed) or "nothing",
        "cached": cached,
    }
    launching_run.log_pipeline_run(run_id, parameters, results, tags)


def version_lines(name: str, versions: dict[str, ModelVersion | None]) -> str:
    """One line per stage: the version in it, and its model."""
    lines = []
    for stage, version in versions.items():
        text = "no version"
        if version:
            text = f"{name} version {version.version}, model {version.tags['model_md5'][:8]}"
        lines.append(f"{stage:<11} {text}")
    return "\n".join(lines)


def left_out_line(gap: int) -> str:
    """How many rows of the table are in no split.

    They have no label (`data.unlabelled: drop`), or lie in a gap (`split.gap`).
    """
    import pyarrow.parquet as pq

    total = pq.read_metadata(paths.RAW).num_rows
    kept = sum(pq.read_metadata(path).num_rows for path in paths.SPLITS.values())
    if kept == total:
        return ""
    reason = "they lie in a gap (split.gap), or have no label" if gap else "they have no label"
    return f"\nleft out    {total - kept:,} of {total:,} rows: {reason}"


if __name__ == "__main__":
    run_command(main, explain_store_error)
