"""What a user did wrong, said in one clear message and without a traceback."""

import gc
import os
import sys
from collections.abc import Callable


class UserError(Exception):
    """A mistake that the user can mend: the message says what is wrong, where, and what to do."""


def run(main: Callable[[], None]) -> None:
    """Run a verb; a UserError becomes one message on stderr and exit code 1, Ctrl-C exit code 130."""
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
