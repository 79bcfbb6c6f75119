"""Split a table by time: train on the past, validate on what came next, test on the latest.

A split by customer mixes the periods, so that a model is measured on months that it has seen with
other customers: prices, seasons and campaigns of the test months are known to it. In use it never
knows the next month. Hyndman and Athanasopoulos, "Forecasting: Principles and Practice", 3rd ed.,
section 5.10 (evaluation on a rolling forecasting origin).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from churn.errors import UserError, amount

MOST_ROWS_OF_A_MOMENT = 2  # on average: with more, a time of day is taken for a period


@dataclass(frozen=True)
class Cuts:
    """Where the periods are cut. A period that lies in none of the three splits is in a gap."""

    train: np.ndarray  # the periods of each split, in order, shape (periods,)
    valid: np.ndarray
    test: np.ndarray

    def assign(self, periods: np.ndarray) -> np.ndarray:
        """The split of each row, "" in a gap; shape (rows,)."""
        conditions = [np.isin(periods, part) for part in (self.train, self.valid, self.test)]
        return np.select(conditions, ["train", "valid", "test"], "")


def cut_periods(periods: np.ndarray, valid_share: float, test_share: float, gap: int = 0) -> Cuts:
    """Cut a table's periods: the latest are the test split, those before the validation split.

    Args:
        periods: the different periods, in order, shape (periods,).
        valid_share: of the periods, rounded to whole ones; at least one.
        test_share: of the periods, rounded to whole ones; at least one.
        gap: periods to leave out before the validation split, and before the test split. As many as
            it takes until a row's label is known.

    Raises:
        UserError: nothing is left to train on.
    """
    count = len(periods)
    test = max(1, round(test_share * count))
    valid = max(1, round(valid_share * count))
    return _cut(periods, valid, test, gap)


def rolling_origins(
    periods: np.ndarray, valid_share: float, gap: int, count: int
) -> Iterator[Cuts]:
    """The cuts of a backtest: each of the last `count` periods in turn is the test split.

    Args: as of `cut_periods`.

    Raises:
        UserError: nothing is left to train on before the first of them.
    """
    if count >= len(periods):
        raise UserError(
            f"evaluate.backtest is {count}, and the splits have {amount(len(periods), 'period')} "
            "of data.time; choose fewer"
        )
    for end in range(len(periods) - count + 1, len(periods) + 1):
        valid = max(1, round(valid_share * end))
        yield _cut(periods[:end], valid, 1, gap)


def _cut(periods: np.ndarray, valid: int, test: int, gap: int) -> Cuts:
    count = len(periods)
    valid_end = count - test - gap
    train_end = valid_end - valid - gap
    if train_end < 1:
        raise UserError(
            f"{amount(count, 'period')} of data.time cannot be split into {test} for the test "
            f"split, {valid} for validation, {gap} left out before each (split.gap), and "
            "at least 1 to train on"
        )
    return Cuts(periods[:train_end], periods[valid_end - valid : valid_end], periods[-test:])


def describe_periods(periods: pd.Series) -> str:
    """How many periods, and from which to which: "6 periods, 2026-01-31 to 2026-06-30".

    A period alone is "2026-01-31".
    """
    first, last, count = periods.min(), periods.max(), periods.nunique()
    if isinstance(first, pd.Timestamp):
        form = "%Y-%m-%d %H:%M:%S" if has_times_of_day(periods) else "%Y-%m-%d"
        first, last = first.strftime(form), last.strftime(form)
    return str(first) if count == 1 else f"{count:,} periods, {first} to {last}"


def has_times_of_day(periods: pd.Series) -> bool:
    """Whether some of these dates are no midnights."""
    if not pd.api.types.is_datetime64_any_dtype(periods):
        return False
    return bool((periods.dt.normalize() != periods).any())


def doubt_about_periods(periods: pd.Series) -> str:
    """A line that says that dates with times of day make a period of nearly each row; else "".

    Args:
        periods: of all rows.
    """
    rows, different = len(periods), periods.nunique()
    if not has_times_of_day(periods) or different * MOST_ROWS_OF_A_MOMENT < rows:
        return ""
    return (
        f"note: {periods.name} has times of day, and {different:,} different values in {rows:,} "
        "rows, each of which is a period; if a period is a day or a month, write that alone\n"
    )
