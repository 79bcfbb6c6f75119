"""What ends a command from outside: Ctrl-C, and a scheduler's SIGTERM and SIGHUP."""

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: what is open is closed, what is
    temporary removed.
    """

    def stop(number, frame):
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # `nohup` asked for that
            signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def held_back() -> Iterator[Callable]:
    """Let Ctrl-C end the work only where the function is called that this gives (its arguments do
    not matter), or at the end. In the middle of a write to SQLite, it would leave the file locked
    for the rest of this process. A second Ctrl-C does not wait.
    """
    asked = False

    def note(*_) -> None:
        check()
        nonlocal asked
        asked = True

    def check(*_) -> None:
        if asked:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
        check()
    finally:
        signal.signal(signal.SIGINT, before)
