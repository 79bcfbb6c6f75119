"""Signal handling for long-running commands: Ctrl-C, and a scheduler's SIGTERM and SIGHUP."""

import contextlib
import signal
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: what is open is closed, what is
    temporary removed.
    """

    def stop(number: int, frame: object) -> None:
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
def delayed_interrupt() -> Iterator[Callable[..., None]]:
    """Delay KeyboardInterrupt until the next checkpoint, or until the end of the `with`.

    In the middle of a write to SQLite, Ctrl-C would leave the file locked for the rest of this
    process. A second Ctrl-C does not wait.

    Yields:
        The checkpoint: a function that raises a KeyboardInterrupt that has been delayed. It takes,
        and ignores, any arguments, so that it can be a callback.
    """
    interrupted = False

    def check_interrupt(*_: object) -> None:
        if interrupted:
            raise KeyboardInterrupt

    def note_interrupt(*_: object) -> None:
        nonlocal interrupted
        check_interrupt()
        interrupted = True

    before = signal.signal(signal.SIGINT, note_interrupt)
    try:
        yield check_interrupt
        check_interrupt()
    finally:
        signal.signal(signal.SIGINT, before)
