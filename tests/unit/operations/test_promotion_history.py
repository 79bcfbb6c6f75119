"""A rollback goes back to the version below production on the stack of versions."""

from churn.operations.promotion import Move, previous


def move(kind: str, old: str | None, new: str) -> Move:
    """A change of production from one version to another."""
    return Move("2026-01-01T00:00:00", kind, "me", "a reason", old, new, {})


def test_nothing_comes_before_the_first_version():
    assert previous([], None) is None
    assert previous([move("promote", None, "1")], "1") is None


def test_a_rollback_takes_the_top_version_off_the_stack():
    promoted = [move("promote", None, "1"), move("promote", "1", "2"), move("promote", "2", "3")]
    assert previous(promoted, "3") == "2"
    assert previous([*promoted, move("rollback", "3", "2")], "2") == "1"


def test_an_alias_set_by_hand_is_pushed():
    assert previous([move("promote", None, "1")], "7") == "1"
