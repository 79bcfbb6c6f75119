"""Score a table of customers with a registered model.

    python src/score.py customers.parquet scores.parquet
    python src/score.py s3://crm/customers.csv scores.parquet --alias staging --explain
    python src/score.py customers.parquet scores.parquet --budget 1000 --holdout 0.1 --campaign may

Reads Parquet or CSV, a local path or any fsspec URL, in batches; writes the id, the period of the
row (data.time, if the table has that column), the churn probability, the decision at the model's
threshold, the expected value of a contact and the action: contact, control or no contact. With
--explain also the three features that move each customer's score most. --budget or --budget-money
keeps the most valuable of those at or above the threshold; --holdout leaves a share of them alone,
so that monitor.py can measure what contacting achieved.

Rows that break the model's contract go to scores.rejected.parquet with their reasons: scored +
rejected = read. Both files appear whole or not at all, and the same input gives the same bytes.
Logs a run to MLflow.

Exit code 3: more than --max-rejected (a share) of the rows were rejected.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from typing import TYPE_CHECKING

from churn.console import progress, run_command
from churn.data import output, urls
from churn.data.customer_table import CustomerTable, file_md5
from churn.errors import UserError, amount
from churn.operations.campaign import CONTACT, CONTROL, Campaign, affordable_contacts
from churn.operations.scorer import load_scorer
from churn.operations.scoring import ScoreCounts, Scorer, score_table
from churn.operations.version_costs import costs_of_version
from churn.params import Costs, load_params
from churn.tracking import environment, git_state, registered_versions, runs, store
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TOO_MANY_REJECTED = 3  # exit code
CAMPAIGN_OPTIONS = ("budget", "budget_money", "holdout", "campaign")


def main() -> None:
    options = parse_arguments()
    check_options(options)
    params = load_params()
    rejected_path = urls.beside(options.scores, ".rejected.parquet")
    check_paths(options.customers, options.scores, rejected_path)

    store.connect()
    version = registered_versions.require_alias(params.registry.model, options.alias)
    costs = costs_of_version(version, params.evaluate.costs)
    campaign = campaign_of(options, costs)
    model, contract = load_scorer(version)
    scorer = Scorer(model, contract, options.explain, costs, campaign)
    wanted = [*contract.key, *(column.name for column in contract.features)]
    table = CustomerTable(options.customers, contract, wanted)

    lineage = lineage_of(version, options.customers) | campaign_options(options)
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

    noun = "customer" if len(table.key) == 1 else "row"
    print_counts(counts, version, model.threshold, noun)
    print_actions(counts)
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
    limits = parser.add_mutually_exclusive_group()
    limits.add_argument("--budget", type=whole_number, help="select this many customers at most")
    limits.add_argument(
        "--budget-money", type=number, help="select as many as this pays for, at evaluate.costs"
    )
    parser.add_argument(
        "--holdout", type=number, help="share of the selected to leave alone, as a control group"
    )
    parser.add_argument(
        "--campaign", help="a name; a customer is in its control group each month or never"
    )
    return parser.parse_args()


def whole_number(text: str) -> int | None:
    """The number that an option gives; none for an empty text, as MLproject passes it on."""
    return int(text) if text else None


def number(text: str) -> float | None:
    """As `whole_number`."""
    return float(text) if text else None


def check_options(options: argparse.Namespace) -> None:
    """Refuse shares that are none, a budget for nobody, and a control group without a campaign."""
    if not 0 <= options.max_rejected <= 1:
        raise UserError(f"--max-rejected {options.max_rejected:g} is no share from 0 to 1")
    if options.budget is not None and options.budget < 1:
        raise UserError(f"--budget {options.budget} selects nobody; give 1 or more")
    money = options.budget_money
    if money is not None and not 0 < money < math.inf:
        raise UserError(f"--budget-money {money:g} is no amount to spend; give more than 0")
    holdout = options.holdout
    if holdout is not None and not 0 < holdout < 1:
        raise UserError(
            f"--holdout {holdout:g} is not between 0 and 1; 0.1 leaves one in ten alone"
        )
    check_campaign_name(options)


def check_campaign_name(options: argparse.Namespace) -> None:
    """Refuse a campaign's name that is missing, blank or of no use."""
    if options.campaign and not options.campaign.strip():
        raise UserError(f"--campaign {options.campaign!r} is blank; give the campaign a name")
    has_limit = options.budget is not None or options.budget_money is not None
    if options.holdout is not None and not options.campaign:
        raise UserError("--holdout needs --campaign NAME, which decides who is left alone")
    if options.campaign and options.holdout is None and not has_limit:
        raise UserError(
            "--campaign does nothing alone; add --holdout for a control group, or --budget"
        )


def campaign_of(options: argparse.Namespace, costs: Costs) -> Campaign:
    """The campaign that the options describe."""
    budget = options.budget
    if options.budget_money is not None:
        budget = affordable_contacts(options.budget_money, costs)
    return Campaign(budget, options.holdout or 0.0, options.campaign or "")


def campaign_options(options: argparse.Namespace) -> dict[str, str]:
    """The options of the campaign that were given, as text."""
    given = {}
    for name in CAMPAIGN_OPTIONS:
        value = getattr(options, name)
        if value not in (None, ""):
            given[name] = str(value)
    return given


def check_paths(customers: str, scores: str, rejected: str) -> None:
    """Refuse to overwrite the table of customers, and files that could not be written later."""
    _, customers_path = urls.locate(customers)
    for path in (scores, rejected):
        if urls.locate(path)[1] == customers_path:
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
    mlflow.log_params({name: getattr(options, name) for name in names} | campaign_options(options))
    mlflow.log_metrics({**counts.as_metrics(), "rows_per_second": counts.read / seconds})
    mlflow.set_tag("scores_md5", file_md5(options.scores))


def print_counts(counts: ScoreCounts, version: ModelVersion, threshold: float, noun: str) -> None:
    """Say how many customers were scored by which version, and what the scores are like.

    Args:
        noun: what is counted: a customer, or a row where a customer may have several.
    """
    print(
        f"{amount(counts.read, noun)} read, {counts.scored:,} scored by {version.name} version "
        f"{version.version}, {counts.rejected:,} rejected"
    )
    if counts.scored:
        mean, share = counts.probability / counts.scored, counts.above_threshold / counts.scored
        above = f"{share:.1%} at or above the threshold {threshold:.4f}"
        print(f"mean churn probability {mean:.4f}; {above}")


def print_actions(counts: ScoreCounts) -> None:
    """Say how many customers are to be contacted and how many not, with their expected values."""
    contacted, control = counts.actions[CONTACT], counts.actions[CONTROL]
    text = f"{contacted:,} to contact, expected value {counts.values[CONTACT]:,.2f}"
    if control:
        text += f"; {control:,} in the control group, expected value {counts.values[CONTROL]:,.2f}"
    print(text)


if __name__ == "__main__":
    run_command(main, explain_store_error)
