"""Score a table of customers with a registered model.

    python src/score.py customers.parquet scores.parquet
    python src/score.py s3://crm/customers.csv scores.parquet --alias staging --explain

Reads Parquet or CSV, a local path or any fsspec URL, in batches; writes the id, the churn
probability and the decision at the model's threshold, and with --explain the three features that
move each customer's score most. Rows that break the model's contract go to scores.rejected.parquet
with their
reasons: scored + rejected = read. Both files appear whole or not at all, and the same input gives
the same bytes. Logs a run to MLflow.

Exit code 3: more than --max-rejected (a share) of the rows were rejected.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from churn.console import progress, run_command
from churn.data import csv_table, output
from churn.data.customer_table import CustomerTable, file_md5
from churn.errors import UserError
from churn.operations.scoring import ScoreCounts, Scorer, score_table
from churn.params import load_params
from churn.tracking import environment, git_state, model_loading, registry, runs, store
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TOO_MANY_REJECTED = 3  # exit code


def main() -> None:
    options = parse_arguments()
    name = load_params().registry.model
    rejected_path = str(Path(options.scores).with_suffix(".rejected.parquet"))
    check_paths(options.customers, options.scores, rejected_path)

    store.connect()
    version = registry.require_alias(name, options.alias)
    model, contract = model_loading.load_scorer(version)
    scorer = Scorer(model, contract, options.explain)
    wanted = [contract.id, *(column.name for column in contract.features)]
    table = CustomerTable(options.customers, contract, wanted)

    lineage = lineage_of(version, options.customers)
    tags = {
        "stage": "score",
        **git_state.code_tags(),
        **environment.environment_tags(),
        **lineage,
    }
    with runs.open_run("score", tags):
        start = time.monotonic()
        with (
            output.atomic_output(options.scores) as scores,
            output.atomic_output(rejected_path) as rejected,
        ):
            show = progress(table.rows, "row", line_every=1_000_000)
            counts = score_table(table, scorer, (scores, rejected), lineage, show)
        log_scoring(options, counts, time.monotonic() - start)

    print_counts(counts, version, model.threshold)
    if counts.rejected:
        print(f"{rejected_path} says why each row was rejected")
    if counts.rejected > options.max_rejected * counts.read:
        share = counts.rejected / counts.read
        limit = f"--max-rejected {options.max_rejected:g}"
        print(f"error: {share:.2%} rejected, more than {limit}", file=sys.stderr)
        sys.exit(TOO_MANY_REJECTED)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Score a table of customers with a registered model."
    )
    parser.add_argument(
        "customers", help="Parquet or CSV; a path or a URL such as s3://bucket/customers.parquet"
    )
    parser.add_argument("scores", help="the Parquet file to write")
    parser.add_argument(
        "--alias", default="production", help="whose model scores (default: production)"
    )
    parser.add_argument(
        "--explain", action="store_true", help="add the three strongest reasons; far slower"
    )
    parser.add_argument(
        "--max-rejected", type=float, default=0.01, help="share of rejected rows (default: 0.01)"
    )
    return parser.parse_args()


def check_paths(customers: str, scores: str, rejected: str) -> None:
    """Refuse to overwrite the table of customers, and files that could not be written later."""
    _, customers_path = csv_table.locate(customers)
    for path in (scores, rejected):
        if csv_table.locate(path)[1] == customers_path:
            raise UserError(
                f"{customers} is the table of customers; write the scores to another file"
            )
    for path in (scores, rejected):
        output.check_writable(path)


def lineage_of(version: ModelVersion, customers: str) -> dict[str, str]:
    """What the scores are made of: the model, its contract and threshold, and the table."""
    return {
        "model": version.name,
        "model_version": str(version.version),
        "model_md5": version.tags["model_md5"],
        "schema_md5": version.tags["schema_md5"],
        "threshold": version.tags["threshold"],
        "input_md5": file_md5(customers),
    }


def log_scoring(options: argparse.Namespace, counts: ScoreCounts, seconds: float) -> None:
    """Log the parameters, the counts and the speed of this scoring into the active run."""
    import mlflow

    names = ("customers", "scores", "alias")
    mlflow.log_params({name: getattr(options, name) for name in names})
    mlflow.log_metrics({**counts.as_metrics(), "rows_per_second": counts.read / seconds})
    mlflow.set_tag("scores_md5", file_md5(options.scores))


def print_counts(counts: ScoreCounts, version: ModelVersion, threshold: float) -> None:
    """Say how many customers were scored by which version, and what the scores are like."""
    print(
        f"{counts.read:,} customers read, {counts.scored:,} scored by {version.name} version "
        f"{version.version}, {counts.rejected:,} rejected"
    )
    if counts.scored:
        mean, share = counts.probability / counts.scored, counts.contacted / counts.scored
        above = f"{share:.1%} at or above the threshold {threshold:.4f}"
        print(f"mean churn probability {mean:.4f}; {above}")


if __name__ == "__main__":
    run_command(main, explain_store_error)
