"""Errors of the user, which end a command with one clear message and no traceback."""

LONGEST_VALUE = 100  # characters
LONGEST_LINE, LINE_END = 2000, 500  # characters
MOST_LINES, LAST_LINES = 100, 5


class UserError(Exception):
    """A mistake that the user can mend: the message says what is wrong, where, and what to do.

    The message fits on a screen or two (`bounded`).
    """

    def __init__(self, message: str) -> None:
        super().__init__(bounded(message))


def short(value: object) -> str:
    """A value as a message shows it: its repr, cut where it is long."""
    text = repr(value)
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[:LONGEST_VALUE]}... ({len(text):,} characters)"


def amount(count: int, noun: str) -> str:
    """A number of things as a message names it: "1 row", "1,200 rows"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def bounded(message: str) -> str:
    """Cut a message to a screen or two, whatever a table has in it.

    Long lines are cut in the middle, and of many lines the first and the last are kept.
    """
    lines = message.split("\n")
    if len(lines) > MOST_LINES:
        left_out = f"  ... and {len(lines) - MOST_LINES:,} more lines ..."
        lines = [*lines[: MOST_LINES - LAST_LINES], left_out, *lines[-LAST_LINES:]]

    for number, line in enumerate(lines):
        if len(line) > LONGEST_LINE:
            left_out = f" ... {len(line) - LONGEST_LINE:,} more characters ... "
            lines[number] = line[: LONGEST_LINE - LINE_END] + left_out + line[-LINE_END:]
    return "\n".join(lines)
