"""Change which version is in production, and keep the history of these changes.

The history is kept in the registry, one tag of the registered model per change, so that it is where
the models are and no file can be lost. A change is several writes. The first notes what will be
done and the last that it is done, so that a change which was interrupted can be finished by whoever
comes next. While one person's change is under way, nobody else's begins; of several that begin at
the same moment one is made. No stage of the pipeline imports this module.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from churn.errors import UserError
from churn.tracking import registered_versions, registry
from churn.tracking.write_conflicts import retry_write

if TYPE_CHECKING:
    from mlflow import MlflowClient

# Names of the tags of the registered model, followed by the time of the change.
DONE, PENDING = "promotion.", "promotion_pending"
WAIT_SECONDS = 10  # a change takes one or two seconds; one that takes longer was interrupted
TURN_SECONDS = 5  # until those who began at the same moment have given way


@dataclass(frozen=True)
class Move:
    """One change of production. The history stores its fields by name."""

    when: str  # in UTC, of `now`
    kind: str  # promote or rollback
    by: str
    why: str
    old: str | None  # the version before; None for the first
    new: str
    metrics: dict[str, float]  # of the new version, as it was registered

    def __str__(self) -> str:
        return f"{self.kind} of version {self.new} by {self.by} ({self.why})"


def now() -> str:
    """The time in UTC to the microsecond, in a form that sorts as text."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def history(name: str) -> list[Move]:
    """Every change of a model's production, the oldest first."""
    return list(_moves(name, DONE).values())


def pending(name: str) -> dict[str, Move]:
    """The changes that were begun and are not finished, by their tag, the oldest first."""
    return _moves(name, PENDING)


def previous(moves: list[Move], production: str | None) -> str | None:
    """The version to which a rollback goes back; None if nothing came before.

    Versions form a stack: a promotion pushes one, a rollback pops it. A version that no change
    explains, since somebody set the alias by hand, is pushed as well.

    Args:
        moves: the history, the oldest first.
        production: the version in production.
    """
    stack: list[str | None] = [None]
    for move in moves:
        _push(stack, move.old)
        if move.kind == "rollback":
            stack.pop()
            _push(stack, move.new)
        else:
            stack.append(move.new)
    _push(stack, production)
    return stack[-2] if len(stack) > 1 else None


def _push(stack: list[str | None], version: str | None) -> None:
    """Push a version, unless it is the top of the stack already."""
    if stack[-1] != version:
        stack.append(version)


def make_move(name: str, move: Move) -> None:
    """Change production as a person has just decided: note it, do it, note that it is done.

    Raises:
        UserError: the registry is no longer as it was when the person decided, another change is
            under way, or the person may not make this one. Nothing was changed.
    """
    check_permission(name)
    client = _client()
    tag = f"{PENDING}.{move.when}.{secrets.token_hex(4)}"
    client.set_registered_model_tag(name, tag, json.dumps(asdict(move)))
    try:
        _wait_for_turn(name, tag)
        _check_unchanged(name, move)
    except BaseException:
        client.delete_registered_model_tag(name, tag)
        raise
    _carry_out(name, move, tag)


def _wait_for_turn(name: str, tag: str) -> None:
    """Return when no other change is under way or about to begin.

    Each process looks for others only after it has noted its own change, so of two at the same
    moment at least one sees the other. The first by its tag stays until the others have gone;
    every other one gives way.

    Raises:
        UserError: this change gives way, or another is still there after TURN_SECONDS.
    """
    deadline = time.monotonic() + TURN_SECONDS
    while True:
        noted = pending(name)
        others = [move for other_tag, move in noted.items() if other_tag != tag]
        if not others:
            return
        if tag != next(iter(noted)) or time.monotonic() > deadline:
            raise UserError(
                f"another change is under way: {others[0]}; look at --status, and try again"
            )
        time.sleep(0.1)


def finish_interrupted_moves(name: str) -> list[str]:
    """Finish the changes that were interrupted.

    One that is under way in another process is waited for. One that came to nothing, since
    production is a third version by now, is dropped.

    Returns:
        What was done, one sentence per change.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    seen = pending(name)
    if seen and WAIT_SECONDS:
        first = next(iter(seen.values()))
        print(f"waiting for a {first}, {WAIT_SECONDS} seconds at most ...", file=sys.stderr)
    while seen.keys() & pending(name).keys() and time.monotonic() < deadline:
        time.sleep(0.5)

    sentences = []
    for tag, move in pending(name).items():
        if tag in seen:
            sentences.append(_finish(name, move, tag))
    return sentences


def _finish(name: str, move: Move, tag: str) -> str:
    current = _version_in_production(name)
    reason = ""
    if current not in (move.old, move.new):
        reason = f"production is version {current or 'none'}"
    elif registered_versions.version_by_number(name, move.new) is None:
        reason = "that version has been deleted"
    if reason:
        _client().delete_registered_model_tag(name, tag)
        registry.update_stage_tags(name)
        return f"dropped an interrupted {move}: {reason} by now"
    _carry_out(name, move, tag)
    return f"finished an interrupted {move}"


def _carry_out(name: str, move: Move, tag: str) -> None:
    """Write a change. Any write may be the last before a crash, and each may be repeated.

    Production always names a version, and the history gets its entry before the note of the
    pending change goes.
    """
    client = _client()
    client.set_registered_model_alias(name, "production", move.new)
    staging = registry.version_with_alias(name, "staging")
    if staging and str(staging.version) == move.new:
        client.delete_registered_model_alias(name, "staging")
    version_tags = {
        "promoted_at": move.when,
        "promoted_by": move.by,
        "promoted_because": move.why,
    }
    for key, value in version_tags.items():
        retry_write(client.set_model_version_tag, name, move.new, key, value)
    client.set_registered_model_tag(name, DONE + move.when, json.dumps(asdict(move)))
    registry.update_stage_tags(name)
    client.delete_registered_model_tag(name, tag)


def check_permission(name: str) -> None:
    """Ask a server with permissions, before anything is changed, whether this person may do it.

    Taking an alias away needs the highest permission, MANAGE, which is what approvers have. No
    version has the alias that is deleted here, so nothing is taken away.

    Raises:
        UserError: the server says no.
    """
    import mlflow

    try:
        _client().delete_registered_model_alias(name, "none")
    except mlflow.MlflowException as error:
        if error.error_code != "PERMISSION_DENIED":
            raise
        raise UserError(
            f"the server does not let you change what of {name} is in production, which takes the "
            "permission MANAGE; ask an approver. Nothing was changed"
        ) from None


def _check_unchanged(name: str, move: Move) -> None:
    """Refuse a change if the registry is no longer as it was when the person decided."""
    current = _version_in_production(name)
    if current != move.old:
        raise UserError(
            f"production has been changed since you were asked: it is version {current or 'none'}, "
            f"and was {move.old or 'none'}. Nothing was changed; look at --history, and decide "
            "again"
        )
    if move.kind == "promote":
        staging = registry.version_with_alias(name, "staging")
        staged = str(staging.version) if staging else "none"
        if staged != move.new:
            raise UserError(
                f"staging has been changed since you were asked: it is version {staged}, and was "
                f"{move.new}. Nothing was changed; look at --status, and decide again"
            )
    if move.kind == "rollback" and previous(history(name), current) != move.new:
        raise UserError(
            "production has been changed and changed back since you were asked; look at --history"
        )
    if registered_versions.version_by_number(name, move.new) is None:
        raise UserError(
            f"{name} version {move.new} has been deleted since you were asked; nothing was changed"
        )


def _version_in_production(name: str) -> str | None:
    version = registry.version_with_alias(name, "production")
    return str(version.version) if version else None


def _moves(name: str, prefix: str) -> dict[str, Move]:
    tags = _client().get_registered_model(name).tags
    names = sorted(tag for tag in tags if tag.startswith(prefix))  # after the prefix comes the time
    return {tag: Move(**json.loads(tags[tag])) for tag in names}


def _client() -> MlflowClient:
    import mlflow

    return mlflow.MlflowClient()
