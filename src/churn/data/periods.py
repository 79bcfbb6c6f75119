"""What keeps values from being dates of data.time, and what to do."""

import datetime
import re

import pyarrow as pa

from churn.data.arrow import kind_of, unconvertible_rows
from churn.errors import amount, short

MONTH_ALONE = re.compile(r"\d{4}([-/.]?\d{1,2}|[- ]?[QWqw]\d{1,2})")
YEARS = "the years 1678 to 2261"
DAY = re.compile(r"\d{4,}-\d\d-\d\d")
WITH_ZONE = re.compile(r"\d{4}-\d\d-\d\d.+(Z|[+-]\d\d:?\d\d)")
MOST_SHOWN = 3  # rows in one message


def no_period_reason(values: pa.Array) -> str:
    """Why these values are no dates, and what to do.

    Args:
        values: some that cannot be converted to timestamps; texts or dates.
    """
    texts = as_texts(values)
    if all(MONTH_ALONE.fullmatch(text.strip()) for text in texts):
        return (
            "no date such as 2026-11-30; write a month as its last day, or the column as whole "
            "numbers such as 202611"
        )
    if all(WITH_ZONE.fullmatch(text.strip()) for text in texts):
        return "no date such as 2026-11-30, since it has a time zone; write the day alone"
    if kind_of(values.type) != "text" or all(is_far_away(text) for text in texts):
        return f"no day of {YEARS}; leave out such rows, whose date stands for something else"
    return f"no date such as 2026-11-30, of {YEARS}"


def is_far_away(text: str) -> bool:
    """Whether a text is a day of the calendar, or one of a year beyond 9999."""
    if not DAY.fullmatch(text.strip()):
        return False
    try:
        datetime.date.fromisoformat(text.strip())
    except ValueError:  # 2026-02-30, or a year of five digits
        return len(text.strip()) > len("9999-12-31")
    return True


def unreadable_periods(values: pa.ChunkedArray) -> str:
    """Which values of a column are no dates, and what to do; "" if each one is."""
    rows = unconvertible_rows(values, pa.timestamp("ns"))
    if not rows:
        return ""
    found = values.take(pa.array(rows))
    reason = no_period_reason(found)
    cells = []
    for row, text in list(zip(rows, as_texts(found), strict=True))[:MOST_SHOWN]:
        cells.append(f"row {row + 1}: {short(text)}")
    if len(rows) > MOST_SHOWN:
        cells.append("...")
    return f"{amount(len(rows), 'row')} with {reason} ({', '.join(cells)})"


def as_texts(values: pa.Array) -> list[str]:
    """Values as a message shows them."""
    return [str(text) for text in values.cast(pa.string()).to_pylist()]
