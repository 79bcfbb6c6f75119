"""Which version is in production, since when, by whom and why: moves between aliases, and their
history.

The history lives in the registry itself, a tag of the registered model for each move, so that it is
where the models are and no file can be lost. A move is several writes; the first says what will be
done and the last that it is done, so a move that was cut off between them can be finished by
whoever comes next. While one person's move is in hand, nobody else's begins. No stage of the
pipeline imports this.
"""

import json
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pandas as pd

from churn.data.contract import Contract
from churn.errors import UserError
from churn.modeling.bootstrap import Resampling, paired_differences
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import COMPARED_METRICS, gain_per_customer, point_metrics
from churn.tracking import logged_model, registry

MOVE, PENDING = (
    "promotion.",
    "promotion_pending",
)  # tags of the registered model, followed by the time of the move
PATIENCE = 10  # seconds; a move takes one or two, so one that is in hand for longer was cut off


@dataclass(frozen=True)
class Move:
    """One change of production: `old` and `new` are version numbers, `old` is None for the first;
    `metrics` are the new version's test metrics as they were measured when it was trained.
    """

    when: str
    kind: str  # promote or rollback
    by: str
    why: str
    old: str | None
    new: str
    metrics: dict[str, float]

    def __str__(self) -> str:
        return f"{self.kind} of version {self.new} by {self.by} ({self.why})"


def now() -> str:
    """The time in UTC to the microsecond, in a form that sorts as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def history(name: str) -> list[Move]:
    """Every move that was made, the oldest first."""
    tags = _client().get_registered_model(name).tags
    return [Move(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(MOVE)]


def pending(name: str) -> dict[str, Move]:
    """The moves that were begun and are not finished, by their tag, the oldest first."""
    tags = _client().get_registered_model(name).tags
    return {key: Move(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(PENDING)}


def previous(moves: list[Move], production: str | None) -> str | None:
    """The version that a rollback brings back: a promotion lays a version on a pile, a rollback
    takes it off again.

    A production version that no move explains, since somebody set the alias by hand, lies on the
    pile as well.
    """
    pile: list[str | None] = [None]
    for move in moves:
        if pile[-1] != move.old:
            pile.append(move.old)
        if move.kind == "promote":
            pile.append(move.new)
        else:
            pile.pop()
            if pile[-1] != move.new:
                pile.append(move.new)
    if pile[-1] != production:
        pile.append(production)
    return pile[-2] if len(pile) > 1 else None


def comparison(
    version, production, test: pd.DataFrame, rules: Contract, evaluate, seed: int
) -> str:
    """A table of the main metrics and the money of two versions on the same test rows: a paired
    bootstrap gives each difference its 95 % interval. `production` may be None.

    Args:
        evaluate: the `evaluate` section of params.yaml.
    """
    y, costs = encode_labels(test, rules), evaluate.costs
    ours = logged_model.score_rows(version, logged_model.load_predictor(version), test)
    measured = point_metrics(
        y, ours["churn_probability"].to_numpy(), float(version.tags["threshold"]), costs
    )
    column = f"staging {version.version}"
    head = f"{f'{len(test):,} test customers':<22} {column:>12}"
    try:
        theirs = (
            logged_model.score_rows(production, logged_model.load_predictor(production), test)
            if production
            else None
        )
        reason = "nothing is in production yet, so there is nothing to compare with"
    except UserError as error:
        theirs, reason = None, f"no comparison with production: {error}"
    if theirs is None:
        return "\n".join(
            [
                head,
                *(f"{name:<22} {measured[name]:>12.4f}" for name in COMPARED_METRICS),
                "",
                reason,
            ]
        )

    p_ours, p_theirs = (scores["churn_probability"].to_numpy() for scores in (ours, theirs))
    gains = tuple(
        gain_per_customer(y, scores["churn"].to_numpy(), costs) for scores in (ours, theirs)
    )
    gaps = paired_differences(y, p_ours, p_theirs, Resampling(evaluate.bootstrap, seed), gains)
    other = point_metrics(y, p_theirs, float(production.tags["threshold"]), costs)
    lines = [f"{head} {f'production {production.version}':>14} {'difference':>12}   95 % interval"]
    for name in COMPARED_METRICS:
        gap, low, high = gaps[name]
        lines.append(
            f"{name:<22} {measured[name]:>12.4f} {other[name]:>14.4f} {gap:>+12.4f}   {low:+.4f} to {high:+.4f}"
        )
    return "\n".join(lines)


def make_move(name: str, move: Move) -> None:
    """Change production as a person has just decided: note the intention, do it, note that it is
    done.

    Raises:
        UserError: the registry is not as it was when the person decided, another move is in hand,
            or the person may not make this one. Nothing was changed.
    """
    _check_rights(name, move)
    tag = f"{PENDING}.{move.when}.{secrets.token_hex(4)}"
    _client().set_registered_model_tag(name, tag, json.dumps(asdict(move)))
    # whoever writes an intention looks for others only then, so of two at once at least one sees
    # the other
    try:
        if others := [str(other) for key, other in pending(name).items() if key != tag]:
            raise UserError(
                f"a {others[0]} is in hand at this moment; look at --status, and try again"
            )
        _check_unchanged(name, move)
    except BaseException:
        _client().delete_registered_model_tag(name, tag)
        raise
    _carry_out(name, move, tag)


def _check_rights(name: str, move: Move) -> None:
    # On a server that knows who may do what, taking an alias away needs the most. Nobody has this
    # one, so nothing is taken away: only the server's permission is asked for, before anything is
    # changed.
    import mlflow

    staging = registry.version_with_alias(name, "staging")
    if staging is None or str(staging.version) != move.new:
        return
    try:
        _client().delete_registered_model_alias(name, "none")
    except mlflow.MlflowException as error:
        raise UserError(
            f"the server does not let you take {name}'s alias `staging` away, which this does ({error}); ask for the "
            "permission MANAGE, or somebody who has it. Nothing was changed"
        ) from None


def _check_unchanged(name: str, move: Move) -> None:
    production, staging = (
        registry.version_with_alias(name, place) for place in ("production", "staging")
    )
    current = str(production.version) if production else None
    if current != move.old:
        raise UserError(
            f"production has been changed since you were asked: it is version {current or 'none'}, and was "
            f"{move.old or 'none'}. Nothing was changed; look at --history, and decide again"
        )
    if move.kind == "promote" and (staging is None or str(staging.version) != move.new):
        raise UserError(
            f"staging has been changed since you were asked: it is version {staging.version if staging else 'none'}, "
            f"and was {move.new}. Nothing was changed; look at --status, and decide again"
        )
    if move.kind == "rollback" and previous(history(name), current) != move.new:
        raise UserError(
            "production has been changed and changed back since you were asked; look at --history"
        )
    if registry.version_by_number(name, move.new) is None:
        raise UserError(
            f"{name} version {move.new} has been deleted since you were asked; nothing was changed"
        )


def finish_interrupted_moves(name: str) -> list[str]:
    """Finish the moves that were cut off, or drop those that came to nothing since production is a
    third version.

    A move that is in hand in another process is waited for.

    Returns:
        What was done, in words.
    """
    deadline = time.monotonic() + PATIENCE
    seen = pending(name)
    if seen and PATIENCE:
        print(
            f"waiting for a {next(iter(seen.values()))}, {PATIENCE} seconds at most ...",
            file=sys.stderr,
            flush=True,
        )
    while any(tag in pending(name) for tag in seen) and time.monotonic() < deadline:
        time.sleep(0.5)
    return [_finish(name, move, tag) for tag, move in pending(name).items() if tag in seen]


def _finish(name: str, move: Move, tag: str) -> str:
    production = registry.version_with_alias(name, "production")
    current = str(production.version) if production else None
    if current not in (move.old, move.new) or registry.version_by_number(name, move.new) is None:
        _client().delete_registered_model_tag(name, tag)
        registry.update_stage_tags(name)
        why = (
            f"production is version {current or 'none'}"
            if current != move.old
            else "that version has been deleted"
        )
        return f"dropped an interrupted {move}: {why} by now"
    _carry_out(name, move, tag)
    return f"finished an interrupted {move}"


def _carry_out(name: str, move: Move, tag: str) -> None:
    # Each write may be the last before a crash, and each may be done again: production always names
    # a version, and the history gets its entry before the intention goes.
    client = _client()
    client.set_registered_model_alias(name, "production", move.new)
    staging = registry.version_with_alias(name, "staging")
    if staging and str(staging.version) == move.new:
        client.delete_registered_model_alias(name, "staging")
    for key, value in (
        ("promoted_at", move.when),
        ("promoted_by", move.by),
        ("promoted_because", move.why),
    ):
        registry.retry_write(client.set_model_version_tag, name, move.new, key, value)
    client.set_registered_model_tag(name, MOVE + move.when, json.dumps(asdict(move)))
    registry.update_stage_tags(name)
    client.delete_registered_model_tag(name, tag)


def _client():
    import mlflow

    return mlflow.MlflowClient()
