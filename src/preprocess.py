"""Validate the raw table against its contract and split it, by customer or by time.

    python src/preprocess.py    (as a stage: dvc repro preprocess)

Reads data/raw.parquet and data/schema.yaml; writes data/prepared/{train,valid,test}.parquet; logs a
run to MLflow. A table that breaks its contract is refused with every violation in one message, and
nothing is written.
"""

from pathlib import Path

import pandas as pd

from churn import paths
from churn.console import run_command
from churn.data.contract import Contract
from churn.data.parquet import open_table
from churn.data.project_contract import load_table_contract
from churn.data.split import SplitCounts, write_splits
from churn.data.time_split import describe_periods, doubt_about_periods
from churn.data.validation import Findings
from churn.errors import amount
from churn.files import md5
from churn.params import load_params, seed_global_generators
from churn.tracking import launching_run, leftovers, lineage, run_log, runs
from churn.tracking.store_errors import explain_store_error

LONGEST_TAG = 5000  # characters that MLflow takes


def main() -> None:
    leftovers.end_with_dvc()
    # What this run is made of, noted before contract and table are read.
    params = load_params()
    seed_global_generators(params.seed)
    stage_tags = lineage.stage_tags("preprocess")
    contract = load_table_contract(params)

    launching_run.note_stage_executed("preprocess")
    with runs.open_run("preprocess", stage_tags):
        # The splits are moved into place when the whole table has been read.
        with leftovers.scratch_folder(Path("data"), ".prepared-") as folder:
            counts, findings = write_splits(open_table(paths.RAW), contract, params, folder)
            lineage.check_inputs_unchanged(stage_tags, params.flat())
            for path in paths.SPLITS.values():
                path.parent.mkdir(exist_ok=True)
                (folder / path.name).replace(path)

        run_log.log_parameters(params.flat())
        run_log.log_dataset(paths.RAW, md5(paths.RAW), "raw", "preprocessing")
        periods = read_periods(contract)
        log_counts(counts, periods, findings, contract)
        print_counts(counts, periods, findings, contract)


def log_counts(
    counts: SplitCounts, periods: dict[str, pd.Series], findings: Findings, contract: Contract
) -> None:
    """Log into the active run how many rows each split and each label has."""
    import mlflow

    mlflow.set_tag("labels", findings.describe_labels(contract)[:LONGEST_TAG])
    metrics: dict[str, float] = {"unlabelled": findings.count_unlabelled(contract)}
    in_gap = rows_in_gap(counts, findings, contract)
    if in_gap:
        metrics["gap.rows"] = in_gap
    for split, count in counts.items():
        metrics[f"{split}.churn_rate"] = count["churned"] / count["rows"]
        for name, number in count.items():
            metrics[f"{split}.{name}"] = number
    for split, of_split in periods.items():
        metrics[f"{split}.periods"] = of_split.nunique()
    run_log.log_metrics(metrics)


def print_counts(
    counts: SplitCounts, periods: dict[str, pd.Series], findings: Findings, contract: Contract
) -> None:
    """Print how many rows each label and each split has, and of which periods."""
    print(findings.describe_labels(contract))
    in_gap = rows_in_gap(counts, findings, contract)
    if in_gap:
        print(f"{amount(in_gap, 'row')} in the gaps between the splits (split.gap)")
    for split, count in counts.items():
        rows = amount(count["rows"], contract.row_noun)
        line = f"{split:>5}: {rows}, {count['churned'] / count['rows']:.1%} churned"
        if split in periods:
            line += f", {describe_periods(periods[split])}"
        print(line)
    if periods:
        print(doubt_about_periods(pd.concat(periods.values())), end="")


def rows_in_gap(counts: SplitCounts, findings: Findings, contract: Contract) -> int:
    """How many labelled rows are in no split."""
    in_splits = sum(count["rows"] for count in counts.values())
    return findings.labels.total() - findings.count_unlabelled(contract) - in_splits


def read_periods(contract: Contract) -> dict[str, pd.Series]:
    """The period of each row of each split; empty, if the table has no periods."""
    periods = {}
    if contract.time is not None:
        for split, path in paths.SPLITS.items():
            periods[split] = pd.read_parquet(path, columns=[contract.time])[contract.time]
    return periods


if __name__ == "__main__":
    run_command(main, explain_store_error)
