"""Move the model in `staging` to `production`, take production back, and show who did what and why.

    python src/promote.py --reason "higher value"           staging becomes production
    python src/promote.py --rollback --reason "complaints"  the version before becomes it again
    python src/promote.py --stage deeper                    put a version or experiment into staging
    python src/promote.py --history                         every promotion and rollback
    python src/promote.py --status                          workspace, staging, production, previous

Promotion shows how the candidate compares with production on today's test rows and asks; `--yes`
answers in advance, `--dry-run` changes nothing. A command that was interrupted is finished by the
next one.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from churn import paths
from churn.console import confirm, run_command
from churn.data.project_contract import load_project_contract
from churn.errors import UserError
from churn.modeling.metrics import COMPARED_METRICS
from churn.operations import comparison, decider, eligibility, promotion, status
from churn.params import Params, load_params
from churn.tracking import (
    launching_run,
    logged_model,
    notification,
    registered_versions,
    registry,
    store,
)
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class PromotionRequest:
    """Who changes production, and why; how the command asks before it does."""

    by: str
    reason: str
    version: str  # the one that must be in staging; "" if any may be
    yes: bool
    dry_run: bool


def main() -> None:
    options = parse_arguments()
    params = load_params()
    name = params.registry.model
    store.connect()
    launching_run.name_launching_run()
    if not registry.model_exists(name):
        raise UserError(f"the registry has no model {name}; `make repro` makes and registers one")

    if options.history or options.status or options.dry_run:
        for move in promotion.pending(name).values():
            note = "the next promotion or rollback finishes it"
            print(f"a {move} is not finished; {note}", file=sys.stderr)
    else:
        for sentence in promotion.finish_interrupted_moves(name):
            print(sentence, file=sys.stderr)

    if options.history:
        print(status.history_table(name))
    elif options.status:
        print(status.status_table(name))
    elif options.stage:
        print(put_into_staging(name, options.stage))
    else:
        request = promotion_request(options)
        promotion.check_permission(name)
        move = roll_back(name, request) if options.rollback else promote(name, params, request)
        if move:
            notification.notify(params, "promotion", str(move))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Move the model in `staging` to `production`, or take it back."
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "--rollback", action="store_true", help="production goes back to the version before"
    )
    action.add_argument(
        "--stage", metavar="VERSION", help="put a version, or an experiment's, into staging"
    )
    action.add_argument("--history", action="store_true", help="show every promotion and rollback")
    action.add_argument(
        "--status", action="store_true", help="show workspace, staging, production and previous"
    )
    parser.add_argument("--reason", help="why; kept in the history")
    parser.add_argument(
        "--by", help="who (default: git's user name; a server with users says it itself)"
    )
    parser.add_argument("--version", default="", help="promote only if this one is in staging")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be done, and change nothing"
    )
    return parser.parse_args()


def promotion_request(options: argparse.Namespace) -> PromotionRequest:
    """Who decides, and why.

    Raises:
        UserError: one of them is not known.
    """
    reason = (options.reason or "").strip()
    if not reason:
        raise UserError('say why: --reason "..."; it is kept in the history')
    by = decider.decided_by((options.by or "").strip())
    if not by:
        raise UserError('git has no user.name; say who you are: --by "..."')
    return PromotionRequest(by, reason, options.version, options.yes, options.dry_run)


def promote(name: str, params: Params, request: PromotionRequest) -> promotion.Move | None:
    """Show staging against production, ask, and make it production."""
    version = eligibility.promotable_version(name)
    if request.version not in ("", str(version.version)):
        raise UserError(
            f"{name} version {version.version} is in staging by now, not {request.version}; "
            "nothing was changed"
        )
    # only forensics
    if params.gate.require_reproduced:
        eligibility.check_reproduced(version)
    # end
    production = registry.version_with_alias(name, "production")
    contract = load_project_contract(params)
    test = pd.read_parquet(paths.SPLITS["test"])
    print(comparison.comparison_table(version, production, test, contract, params) + "\n")
    print(status.changed_metrics_note(name, version), end="")
    return change_production("promote", production, version, request)


def roll_back(name: str, request: PromotionRequest) -> promotion.Move | None:
    """Ask, and make the previous production version production again.

    Raises:
        UserError: there is no such version any more, or it is not what was registered.
    """
    production = registry.version_with_alias(name, "production")
    if production is None:
        raise UserError(f"nothing of {name} is in production, so there is nothing to roll back")
    before = promotion.previous(promotion.history(name), str(production.version))
    if before is None:
        raise UserError(
            f"{name} version {production.version} is the first in production; nothing came before "
            "it"
        )
    version = registered_versions.version_by_number(name, before)
    if version is None:
        raise UserError(
            f"{name} version {before}, which was in production before, has been deleted; promote "
            "another"
        )
    logged_model.check_version(version)
    return change_production("rollback", production, version, request)


def change_production(
    kind: str, production: ModelVersion | None, version: ModelVersion, request: PromotionRequest
) -> promotion.Move | None:
    """Ask, change production, and say what that means.

    Args:
        kind: promote or rollback.
        production: the version that is in production now.
        version: the one that comes into production.

    Returns:
        What was done; None for a dry run.
    """
    name, description = version.name, describe(version)
    old = str(production.version) if production else None
    in_place_of = f" in place of version {old}" if old else ""
    if request.dry_run:
        print(f"dry run: {description} would be production{in_place_of}; nothing was changed")
        return None

    confirm(f"Make {description} production{in_place_of}?", request.yes)
    metrics = registered_versions.registered_metrics(version)
    compared = {metric: metrics[metric] for metric in COMPARED_METRICS if metric in metrics}
    move = promotion.Move(
        promotion.now(), kind, request.by, request.reason, old, str(version.version), compared
    )
    promotion.make_move(name, move)
    archived = f"; version {old} is archived" if old else ""
    print(f"{description} is production{archived}.")
    print("A server or a job that runs goes on with the version that it loaded: restart it.")
    return move


def put_into_staging(name: str, number_or_experiment: str) -> str:
    """Put a version into staging that passed the gate.

    Returns:
        What was done, in words.

    Raises:
        UserError: there is no such version, or the gate did not pass it.
    """
    if number_or_experiment.isdecimal():
        version = registered_versions.version_by_number(name, number_or_experiment)
    else:
        version = eligibility.version_of_experiment(name, number_or_experiment)
    if version is None:
        raise UserError(
            f"{name} has no version {number_or_experiment}, and no experiment of this name was "
            "registered as one"
        )

    description = describe(version)
    eligibility.check_gate(version, description)
    before = registry.version_with_alias(name, "staging")
    stage = registry.set_staging(name, version.version)
    if stage != "staging":
        return f"{description} is {stage} already."
    if before and before.version != version.version:
        return f"{description} is staging in place of version {before.version}."
    return f"{description} is staging."


def describe(version: ModelVersion) -> str:
    """A version with the beginning of its model's md5."""
    return f"{version.name} version {version.version} (model {version.tags['model_md5'][:8]})"


if __name__ == "__main__":
    run_command(main, explain_store_error)
