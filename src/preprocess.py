"""Validate the raw table against its contract and split it by customer.

    python src/preprocess.py    (as a stage: dvc repro preprocess)

Reads data/raw.parquet and data/schema.yaml; writes data/prepared/{train,valid,test}.parquet; logs a
run to MLflow. A table that breaks its contract is refused with every violation in one message, and
nothing is written.
"""

from collections import Counter
from pathlib import Path

from churn import paths
from churn.console import run_command
from churn.data.contract import Contract, load_project_contract
from churn.data.parquet import open_table
from churn.data.split import write_splits
from churn.data.validation import Findings
from churn.files import md5
from churn.params import load_params, seed_global_generators
from churn.tracking import launching_run, leftovers, lineage, run_log, runs
from churn.tracking.store_errors import explain_store_error


def log(counts: dict[str, Counter], findings: Findings, rules: Contract) -> None:
    """Note in the active run, and print, how many customers each split and each label has."""
    import mlflow

    labels = findings.describe(rules)
    mlflow.set_tag("labels", labels[:5000])
    print(labels)
    numbers = {"unlabelled": findings.unlabelled(rules)}
    for name, count in counts.items():
        rate = count["churned"] / count["rows"]
        numbers |= {f"{name}.{what}": number for what, number in count.items()} | {
            f"{name}.churn_rate": rate
        }
        print(f"{name:>5}: {count['rows']:,} customers, {rate:.1%} churned")
    run_log.log_metrics(numbers)


def main() -> None:
    p = load_params()
    seed_global_generators(p.seed)
    rules = load_project_contract(p)
    tags = lineage.stage_tags("preprocess")
    launching_run.note_stage_executed("preprocess")
    with runs.open_run("preprocess", tags):
        import mlflow

        with leftovers.scratch_folder(Path("data"), ".prepared-") as folder:
            counts, findings = write_splits(open_table(paths.RAW), rules, p, folder)
            lineage.check_inputs_unchanged(tags)
            for path in paths.SPLITS.values():
                path.parent.mkdir(exist_ok=True)
                (folder / path.name).replace(path)
        mlflow.log_params(p.flat())
        run_log.log_dataset(paths.RAW, md5(paths.RAW), "raw", "preprocessing")
        log(counts, findings, rules)


if __name__ == "__main__":
    run_command(main, explain_store_error)
