"""What every command does: run, show progress, print tables and end with one clear message."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable

from churn.errors import UserError, bounded
from churn.files import explain_dvc_error


def run_command(main: Callable[[], None], *explainers: Callable[[Exception], str]) -> None:
    """Run a command. A mistake of the user, a store that fails and a process that failed become one message on stderr
    and exit code 1; Ctrl-C becomes exit code 130.

    Args:
        explainers: each gives the message for an exception of the library that it knows, "" for any other.
    """
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
        for explain in (*explainers, explain_dvc_error):
            if message := explain(error):
                sys.exit(f"error: {bounded(message)}")
        raise
