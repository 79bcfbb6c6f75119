"""Ctrl-C that is delayed until a write has ended."""

import signal

import pytest

from churn.signals import delayed_interrupt


def test_an_interrupt_waits_for_the_next_checkpoint():
    """One Ctrl-C ends the work at the next checkpoint, or at the end; a second one at once.

    Afterwards the handler is the one of before.
    """
    before, reached = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), delayed_interrupt() as check_interrupt:
        check_interrupt()
        signal.raise_signal(signal.SIGINT)
        reached.append("the write")
        check_interrupt()
        reached.append("beyond")
    with pytest.raises(KeyboardInterrupt), delayed_interrupt():
        signal.raise_signal(signal.SIGINT)
        reached.append("the end")
    with pytest.raises(KeyboardInterrupt), delayed_interrupt():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        reached.append("beyond")
    assert reached == ["the write", "the end"] and signal.getsignal(signal.SIGINT) == before
