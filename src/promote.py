"""Move the model in `staging` to `production`, take production back, and show who did what and why.

    python src/promote.py --reason "higher value on the test rows"     staging becomes production
    python src/promote.py --rollback --reason "complaints"             the version before becomes
    production again
    python src/promote.py --stage deeper                               a version or an experiment
    becomes staging
    python src/promote.py --history                                    every promotion and rollback
    python src/promote.py --status                                     workspace, staging,
    production and previous

Promotion shows how the candidate compares with production on today's test rows and asks; `--yes`
answers in advance, `--dry-run` changes nothing. A command that was cut off is finished by the next
one.
"""

import argparse
import subprocess
import sys

import pandas as pd

from churn import paths
from churn.console import run_command
from churn.data.contract import load_project_contract
from churn.errors import UserError
from churn.files import md5
from churn.modeling.metrics import COMPARED_METRICS
from churn.operations import promotion, status
from churn.params import Params, load_params
from churn.tracking import evaluation_record, logged_model, registry, runs, store
from churn.tracking.store_errors import explain_store_error


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Move the model in `staging` to `production`, or take it back."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--rollback", action="store_true", help="production goes back to the version before"
    )
    what.add_argument(
        "--stage", metavar="VERSION", help="put a version, or an experiment's, into staging"
    )
    what.add_argument("--history", action="store_true", help="show every promotion and rollback")
    what.add_argument(
        "--status", action="store_true", help="show workspace, staging, production and previous"
    )
    parser.add_argument("--reason", help="why; kept in the history")
    parser.add_argument("--by", help="who (default: git's user name)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what would be done, and change nothing"
    )
    return parser.parse_args()


def candidate(name: str, require_reproduced: bool):
    """The version in staging, fit to be promoted.

    Raises:
        UserError: there is none, it is in production, the gate did not pass it, it was judged on
            other test rows than today's, or nobody has rebuilt it identically where that is
            required.
    """
    version = registry.version_with_alias(name, "staging")
    if version is None:
        raise UserError(
            f"no version of {name} is in staging; `dvc repro` puts one there that passes the gate"
        )
    what, tags = f"{name} version {version.version}", version.tags
    production = registry.version_with_alias(name, "production")
    if production and production.version == version.version:
        raise UserError(f"{what} is in production already")
    if tags.get("gate") != "passed":
        raise UserError(
            f"{what} did not pass the gate ({tags.get('gate_reason', 'it was never judged')})"
        )
    if require_reproduced and tags.get("reproduced") != "identical":
        raise UserError(
            f"{what} was {'rebuilt, and ' + tags['reproduced'] if 'reproduced' in tags else 'never rebuilt'}; "
            f"gate.require_reproduced asks for an identical rebuild: `python src/reproduce.py {version.version}`"
        )
    if not paths.SPLITS["test"].exists():
        raise UserError(
            f"{paths.SPLITS['test']} is missing; `dvc pull` or `dvc repro` brings today's test rows"
        )
    today = md5(paths.SPLITS["test"])
    if tags.get("test_md5") != today and not passed_on(version, today):
        raise UserError(
            f"{what} was judged on other test rows (md5 {tags.get('test_md5')}) than today's ({today}); `dvc repro` "
            "judges a model on today's, or check out the data that it was judged on"
        )
    return version


def passed_on(version, test_md5: str) -> bool:
    """Whether a later evaluation of a version passed the gate on other test rows than those of its
    registration.
    """
    found = runs.find_run(
        model_version=f"{version.name}/{version.version}", test_md5=test_md5, gate="passed"
    )
    return found is not None and found.info.run_id != version.run_id


def to_stage(name: str, wanted: str) -> str:
    """Put a version into staging that passed the gate; what was done, in words.

    Args:
        wanted: a version number, or the name of a DVC experiment.

    Raises:
        UserError: there is no such version, or the gate did not pass it.
    """
    found = (
        registry.version_by_number(name, wanted)
        if wanted.isdecimal()
        else of_experiment(name, wanted)
    )
    if found is None:
        raise UserError(
            f"{name} has no version {wanted}, and no experiment of this name was registered as one"
        )
    what = f"{name} version {found.version} (model {found.tags['model_md5'][:8]})"
    if found.tags.get("gate") != "passed":
        raise UserError(
            f"{what} did not pass the gate ({found.tags.get('gate_reason', 'it was never judged')})"
        )
    before = registry.version_with_alias(name, "staging")
    place = registry.set_staging(name, found.version)
    instead = (
        f" in place of version {before.version}"
        if before and before.version != found.version
        else ""
    )
    return f"{what} is {place}{instead if place == 'staging' else ' already'}."


def of_experiment(name: str, experiment: str):
    """The version that the model of a DVC experiment was registered as, or None."""
    for stage in ("train", "evaluate"):
        run = runs.find_run(dvc_experiment=experiment, stage=stage)
        model, _, number = (run.data.tags.get("model_version", "") if run else "").partition("/")
        if model == name:
            return registry.version_by_number(name, number)
    return None


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; anything but y ends the command.

    Raises:
        UserError: the answer was no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("this is no terminal to ask on; add --yes to answer in advance")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("nothing was changed")


def promote(name: str, p: Params, reason: str, by: str, options: argparse.Namespace) -> None:
    """Show staging against production, ask, and make it production."""
    version, production = (
        candidate(name, p.gate.require_reproduced),
        registry.version_with_alias(name, "production"),
    )
    rules = load_project_contract(p)
    test = pd.read_parquet(paths.SPLITS["test"])
    print(promotion.comparison(version, production, test, rules, p.evaluate, p.seed) + "\n")
    print(status.recorded_otherwise(name, version), end="")
    move_to(name, "promote", production, version, reason, by, options)


def roll_back(name: str, p: Params, reason: str, by: str, options: argparse.Namespace) -> None:
    """Make the version that was in production before this one production again."""
    production = registry.version_with_alias(name, "production")
    if production is None:
        raise UserError(f"nothing of {name} is in production, so there is nothing to roll back")
    before = promotion.previous(promotion.history(name), str(production.version))
    if before is None:
        raise UserError(
            f"{name} version {production.version} is the first in production; nothing came before it"
        )
    version = registry.version_by_number(name, before)
    if version is None:
        raise UserError(
            f"{name} version {before}, which was in production before, has been deleted; promote another"
        )
    logged_model.check_version(version)
    move_to(name, "rollback", production, version, reason, by, options)


def move_to(
    name: str, kind: str, production, version, reason: str, by: str, options: argparse.Namespace
) -> None:
    """Ask, change production, and say what that means."""
    old, new = str(production.version) if production else None, str(version.version)
    instead = f" in place of version {old}" if old else ""
    what = f"{name} version {new} (model {version.tags['model_md5'][:8]})"
    if options.dry_run:
        print(f"dry run: {what} would be production{instead}; nothing was changed")
        return
    confirm(f"Make {what} production{instead}?", options.yes)
    measured = {
        metric: value
        for metric, value in evaluation_record.registered_metrics(version).items()
        if metric in COMPARED_METRICS
    }
    promotion.make_move(name, promotion.Move(promotion.now(), kind, by, reason, old, new, measured))
    print(f"{what} is production{f'; version {old} is archived' if old else ''}.")
    print("A server or a job that runs goes on with the version that it loaded: restart it.")


def main() -> None:
    options, p = arguments(), load_params()
    name = p.registry.model
    store.connect()
    if not registry.model_exists(name):
        raise UserError(f"the registry has no model {name}; `make repro` makes and registers one")
    if options.history or options.status or options.dry_run:
        for move in promotion.pending(name).values():
            print(
                f"a {move} is not finished; the next promotion or rollback finishes it",
                file=sys.stderr,
            )
    else:
        for line in promotion.finish_interrupted_moves(name):
            print(line, file=sys.stderr)
    if options.history or options.status:
        print(status.history(name) if options.history else status.status(name))
        return
    if options.stage:
        print(to_stage(name, options.stage))
        return
    reason = (options.reason or "").strip()
    if not reason:
        raise UserError('say why: --reason "..."; it is kept in the history')
    by = (options.by or git_user()).strip()
    if not by:
        raise UserError('git has no user.name; say who you are: --by "..."')
    (roll_back if options.rollback else promote)(name, p, reason, by, options)


def git_user() -> str:
    return subprocess.run(["git", "config", "user.name"], capture_output=True, text=True).stdout


if __name__ == "__main__":
    run_command(main, explain_store_error)
