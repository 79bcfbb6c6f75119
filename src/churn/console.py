"""What every command does: run, show progress, print tables and end with one clear message."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

from tabulate import tabulate
from tqdm import tqdm

from churn.errors import UserError, bounded
from churn.files import explain_dvc_error, explain_full_disk


def run_command(main: Callable[[], None], *explainers: Callable[[Exception], str]) -> None:
    """Run a command.

    A mistake of the user, a store that fails and a process that failed become one message on stderr
    and exit code 1; Ctrl-C becomes exit code 130.

    Args:
        explainers: each gives the message for an exception of the library that it knows, "" for any
            other.
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
        output = error.stderr or "its message is above"
        reason = output.decode() if isinstance(output, bytes) else output
        sys.exit(f"error: {shlex.join(map(str, error.cmd))} failed: {bounded(reason)}")
    except Exception as error:
        for explain in (*explainers, explain_dvc_error, explain_full_disk):
            message = explain(error)
            if message:
                sys.exit(f"error: {bounded(message)}")
        raise


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal; anything but y ends the command.

    Raises:
        UserError: the answer was no, or there is nobody to ask.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UserError("this is no terminal to ask on; add --yes to answer in advance")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("nothing was changed")


def progress(total: int | None, unit: str, line_every: int, done: int = 0) -> Callable[..., None]:
    """Show how far long work has come, on stderr: a bar on a terminal, lines in a log.

    Args:
        total: how many units there are; None if nobody knows.
        unit: the name of one, in the singular.
        line_every: in a log, one line each time that this many more units are done.
        done: how many were done before.

    Returns:
        A function to call with the number of units done so far, and with a text that says what was
        reached.
    """
    terminal = sys.stderr.isatty()
    bar = tqdm(
        total=total, initial=done, unit=unit, unit_scale=True, disable=not terminal, leave=False
    )
    lines = done // line_every

    def show(done: int, text: str = "") -> None:
        nonlocal lines
        bar.set_postfix_str(text, refresh=False)
        bar.update(done - bar.n)
        if not terminal and done // line_every > lines:
            lines = done // line_every
            position = f"{done:,}" if total is None else f"{done:,} of {total:,}"
            print(f"{position} {unit}s  {text}".rstrip(), file=sys.stderr, flush=True)

    return show


def text_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows as an aligned text table: numbers to the right, texts to the left, "-" for what is
    missing.

    Args:
        rows: one mapping per row, {column: value}; a row may lack columns that others have.
    """
    names: dict[str, str] = {}
    for row in rows:
        names.update(dict.fromkeys(row, "right"))
    for row in rows:
        for name in names:
            if not isinstance(row.get(name), int | float | None):
                names[name] = "left"
    cells = []
    for row in rows:
        cells.append([_cell(row.get(name)) for name in names])
    alignment = list(names.values())
    return tabulate(cells, list(names), tablefmt="plain", colalign=alignment, disable_numparse=True)


def _cell(value: object) -> str:
    if value is None or value != value:  # NaN
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
