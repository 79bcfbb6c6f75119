"""Which version is in production, since when, by whom and why: moves between aliases, and their history.

The history lives in the registry itself, a tag of the registered model for each move, so that it is where the models
are and no file can be lost. A move is several writes; the first says what will be done and the last that it is done,
so a move that was cut off between them can be finished by whoever comes next. No stage of the pipeline imports this.
"""

import contextlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pandas as pd

from churn import metrics, model, registry
from churn.contract import Contract
from churn.errors import UserError

MOVE, PENDING = "promotion.", "promotion_pending"
SHOWN = (*metrics.MAIN, "value_per_customer")  # what a person compares


@dataclass(frozen=True)
class Move:
    """One change of production: `old` and `new` are version numbers, `old` is None for the first; `metrics` are the
    new version's test metrics as they were measured when it was trained."""

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


def pending(name: str) -> Move | None:
    """The move that was begun and not finished, or None."""
    written = _client().get_registered_model(name).tags.get(PENDING)
    return Move(**json.loads(written)) if written else None


def previous(moves: list[Move], production: str | None) -> str | None:
    """The version that a rollback brings back: a promotion lays a version on a pile, a rollback takes it off again.

    A production version that no move explains, since somebody set the alias by hand, lies on the pile as well.
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


def comparison(version, production, test: pd.DataFrame, rules: Contract, evaluate, seed: int) -> str:
    """A table of the main metrics and the money of two versions on the same test rows: a paired bootstrap gives each
    difference its 95 % interval. `production` may be None.

    Args:
        evaluate: the `evaluate` section of params.yaml.
    """
    y, costs = model.labels(test, rules), evaluate.costs
    ours = registry.scores(version, test)
    measured = metrics.measure(y, ours["churn_probability"].to_numpy(), float(version.tags["threshold"]), costs)
    column = f"staging {version.version}"
    head = f"{f'{len(test):,} test customers':<22} {column:>12}"
    try:
        theirs = registry.scores(production, test) if production else None
        reason = "nothing is in production yet, so there is nothing to compare with"
    except UserError as error:
        theirs, reason = None, f"no comparison with production: {error}"
    if theirs is None:
        return "\n".join([head, *(f"{name:<22} {measured[name]:>12.4f}" for name in SHOWN), "", reason])

    p_ours, p_theirs = (scores["churn_probability"].to_numpy() for scores in (ours, theirs))
    gains = tuple(metrics.gains(y, scores["churn"].to_numpy(), costs) for scores in (ours, theirs))
    gaps = metrics.differences(y, p_ours, p_theirs, evaluate.bootstrap, seed, gains)
    other = metrics.measure(y, p_theirs, float(production.tags["threshold"]), costs)
    lines = [f"{head} {f'production {production.version}':>14} {'difference':>12}   95 % interval"]
    for name in SHOWN:
        gap, low, high = gaps[name]
        lines.append(
            f"{name:<22} {measured[name]:>12.4f} {other[name]:>14.4f} {gap:>+12.4f}   {low:+.4f} to {high:+.4f}"
        )
    return "\n".join(lines)


def make(name: str, move: Move) -> None:
    """Change production: note the intention, do it, note that it is done."""
    _client().set_registered_model_tag(name, PENDING, json.dumps(asdict(move)))
    _carry_out(name, move)


def settle(name: str) -> str:
    """Finish a move that was cut off, or drop it if production has been set to a third version since.

    Returns:
        What was done, or "" if there was nothing to do.
    """
    move = pending(name)
    if move is None:
        return ""
    production = registry.alias(name, "production")
    if (str(production.version) if production else None) not in (move.old, move.new):
        _client().delete_registered_model_tag(name, PENDING)
        return f"dropped an interrupted {move}: production has been set to version {production.version} since"
    _carry_out(name, move)
    return f"finished an interrupted {move}"


def _carry_out(name: str, move: Move) -> None:
    # Each write may be the last before a crash, and each may be done again: production always names a version, and
    # the history gets its entry before the intention goes.
    import mlflow

    client = mlflow.MlflowClient()
    client.set_registered_model_alias(name, "production", move.new)
    staging = registry.alias(name, "staging")
    if staging and str(staging.version) == move.new:
        client.delete_registered_model_alias(name, "staging")
    registry.mark(name, move.new, "Production")
    for key, value in (("promoted_at", move.when), ("promoted_by", move.by), ("promoted_because", move.why)):
        client.set_model_version_tag(name, move.new, key, value)
    with contextlib.suppress(mlflow.MlflowException):  # it may have been deleted meanwhile
        if move.old:
            registry.mark(name, move.old, "Archived")
    client.set_registered_model_tag(name, MOVE + move.when, json.dumps(asdict(move)))
    client.delete_registered_model_tag(name, PENDING)


def _client():
    import mlflow

    return mlflow.MlflowClient()
