"""What a user did wrong, said in one clear message and without a traceback."""

import gc
import os
import shlex
import subprocess
import sys
from collections.abc import Callable


LONGEST_VALUE, LONGEST_LINE, MOST_LINES = 100, 2000, 100


def short(value: object) -> str:
    """A value as a message shows it: its repr, cut where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}... ({len(text):,} characters)"


def bounded(message: str) -> str:
    """A message that fits on a screen or two, whatever a table has in it: its long lines cut, and of many lines the
    first and the last."""
    lines = message.split("\n")
    if len(lines) > MOST_LINES:
        left_out = len(lines) - MOST_LINES
        lines = [*lines[: MOST_LINES - 5], f"  ... and {left_out:,} more lines ...", *lines[-5:]]
    for number, line in enumerate(lines):
        if len(line) > LONGEST_LINE:
            more = len(line) - LONGEST_LINE
            lines[number] = f"{line[: LONGEST_LINE - 500]} ... {more:,} more characters ... {line[-500:]}"
    return "\n".join(lines)


class UserError(Exception):
    """A mistake that the user can mend: the message says what is wrong, where, and what to do. It is bounded."""

    def __init__(self, message: str) -> None:
        super().__init__(bounded(message))


def run(main: Callable[[], None]) -> None:
    """Run a verb. A UserError, trouble with the MLflow store and a process that failed become one message on stderr and
    exit code 1, Ctrl-C exit code 130."""
    # Importing MLflow makes a million objects that all stay; looking among them for garbage costs a tenth of a stage.
    gc.set_threshold(10_000, 50, 100)
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except subprocess.CalledProcessError as error:
        words = (error.stderr or b"").decode() if isinstance(error.stderr, bytes) else error.stderr
        sys.exit(f"error: {shlex.join(map(str, error.cmd))} failed: {bounded(words or 'its message stands above')}")
    except Exception as error:
        from churn import project_files, store

        message = store.explained(error) or project_files.explained(error)
        if not message:
            raise
        sys.exit(f"error: {bounded(message)}")
