"""What a user did wrong, said in one clear message and without a traceback."""

LONGEST_VALUE, LONGEST_LINE, MOST_LINES = 100, 2000, 100


def short(value: object) -> str:
    """A value as a message shows it: its repr, cut where it is long."""
    text = repr(value)
    return (
        text
        if len(text) <= LONGEST_VALUE
        else f"{text[:LONGEST_VALUE]}... ({len(text):,} characters)"
    )


def bounded(message: str) -> str:
    """A message that fits on a screen or two, whatever a table has in it: its long lines cut, and
    of many lines the first and the last.
    """
    lines = message.split("\n")
    if len(lines) > MOST_LINES:
        left_out = len(lines) - MOST_LINES
        lines = [*lines[: MOST_LINES - 5], f"  ... and {left_out:,} more lines ...", *lines[-5:]]
    for number, line in enumerate(lines):
        if len(line) > LONGEST_LINE:
            more = len(line) - LONGEST_LINE
            lines[number] = (
                f"{line[: LONGEST_LINE - 500]} ... {more:,} more characters ... {line[-500:]}"
            )
    return "\n".join(lines)


class UserError(Exception):
    """A mistake that the user can mend: the message says what is wrong, where, and what to do.

    It is bounded.
    """

    def __init__(self, message: str) -> None:
        super().__init__(bounded(message))
