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
    # What this run is made of, noted before anything is read.
    params = load_params()
    seed_global_generators(params.seed)
    contract = load_table_contract(params)
    stage_tags = lineage.stage_tags("preprocess")

    launching_run.note_stage_executed("preprocess")
    with runs.open_run("preprocess", stage_tags):
        # The splits are moved into place when the whole table has been read.
        with leftovers.scratch_folder(Path("data"), ".prepared-") as folder:
            counts, findings = write_splits(open_table(paths.RAW), contract, params, folder)
            lineage.check_inputs_unchanged(stage_tags)
            for path in paths.SPLITS.values():
                path.parent.mkdir(exist_ok=True)
                (folder / path.name).replace(path)

        run_log.log_parameters(params.flat())
        run_log.log_dataset(paths.RAW, md5(paths.RAW), "raw", "preprocessing")
        log_counts(counts, findings, contract)


def log_counts(counts: SplitCounts, findings: Findings, contract: Contract) -> None:
    """Log into the active run, and print, how many customers each split and each label has."""
    import mlflow

    labels = findings.describe_labels(contract)
    mlflow.set_tag("labels", labels[:LONGEST_TAG])
    print(labels)

    metrics: dict[str, float] = {"unlabelled": findings.count_unlabelled(contract)}
    in_splits = sum(count["rows"] for count in counts.values())
    in_gap = findings.labels.total() - findings.count_unlabelled(contract) - in_splits
    if in_gap:
        print(f"{amount(in_gap, 'row')} in the gaps between the splits (split.gap)")
        metrics["gap.rows"] = in_gap

    periods = read_periods(contract)
    for split, count in counts.items():
        churn_rate = count["churned"] / count["rows"]
        metrics[f"{split}.churn_rate"] = churn_rate
        for name, number in count.items():
            metrics[f"{split}.{name}"] = number
        rows, when = amount(count["rows"], "customer"), ""
        if split in periods:
            metrics[f"{split}.periods"] = periods[split].nunique()
            rows, when = amount(count["rows"], "row"), f", {describe_periods(periods[split])}"
        print(f"{split:>5}: {rows}, {churn_rate:.1%} churned{when}")
    if periods:
        print(doubt_about_periods(pd.concat(periods.values())), end="")
    run_log.log_metrics(metrics)


def read_periods(contract: Contract) -> dict[str, pd.Series]:
    """The period of each row of each split; empty, if the table has no periods."""
    periods = {}
    if contract.time is not None:
        for split, path in paths.SPLITS.items():
            periods[split] = pd.read_parquet(path, columns=[contract.time])[contract.time]
    return periods


if __name__ == "__main__":
    run_command(main, explain_store_error)
