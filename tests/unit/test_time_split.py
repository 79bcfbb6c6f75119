"""A split by time trains on the past and tests on the latest periods, and a backtest does so for
each of the last ones.
"""

import numpy as np
import pandas as pd
import pytest

from churn.data.time_split import cut_periods, describe_periods, rolling_origins
from churn.errors import UserError

MONTHS = np.arange(24)


def test_the_latest_periods_are_the_test_split():
    """In order, each period once, and as many left out as the gap says."""
    cuts = cut_periods(MONTHS, valid_share=0.2, test_share=0.1, gap=2)
    assert cuts.test.tolist() == [22, 23]
    assert cuts.valid.tolist() == [15, 16, 17, 18, 19]
    assert cuts.train.tolist() == list(range(13))
    splits = cuts.assign(np.array([0, 12, 13, 14, 15, 19, 20, 21, 22, 23]))
    assert splits.tolist() == ["train"] * 2 + [""] * 2 + ["valid"] * 2 + [""] * 2 + ["test"] * 2


def test_rows_of_any_order_get_the_split_of_their_period():
    cuts = cut_periods(MONTHS, 0.2, 0.2)
    rows = np.random.default_rng(1).permutation(np.repeat(MONTHS, 3))
    splits = cuts.assign(rows)
    assert rows[splits == "train"].max() < rows[splits == "valid"].min()
    assert rows[splits == "valid"].max() < rows[splits == "test"].min()


def test_small_shares_are_one_period():
    cuts = cut_periods(np.arange(3), 0.01, 0.01)
    assert [cuts.train.tolist(), cuts.valid.tolist(), cuts.test.tolist()] == [[0], [1], [2]]


@pytest.mark.parametrize(("periods", "gap"), [(2, 0), (4, 1), (1, 0)])
def test_too_few_periods_are_refused(periods, gap):
    with pytest.raises(UserError, match=f"^{periods} periods? of data.time cannot be split into 1"):
        cut_periods(np.arange(periods), 0.2, 0.2, gap)


def test_a_backtest_tests_each_of_the_last_periods_by_those_before():
    origins = list(rolling_origins(MONTHS, valid_share=0.2, gap=1, count=3))
    assert [cuts.test.tolist() for cuts in origins] == [[21], [22], [23]]
    for cuts in origins:
        assert cuts.valid.max() == cuts.test[0] - 2 and cuts.train.max() == cuts.valid[0] - 2
        assert cuts.train.tolist() == list(range(cuts.train.max() + 1)), "all of the past"


def test_more_origins_than_there_is_a_past_are_refused():
    with pytest.raises(UserError, match="cannot be split"):
        list(rolling_origins(np.arange(5), 0.2, 0, 4))
    with pytest.raises(UserError, match="evaluate.backtest is 5, and the splits have 5 periods"):
        list(rolling_origins(np.arange(5), 0.2, 0, 5))


def test_periods_in_words():
    days = pd.Series(pd.to_datetime(["2026-02-28", "2026-01-31"]))
    assert describe_periods(days) == "2 periods, 2026-01-31 to 2026-02-28"
    assert describe_periods(days[:1]) == "2026-02-28"
    assert describe_periods(pd.Series([202602, 202601])) == "2 periods, 202601 to 202602"
    hours = pd.Series(pd.to_datetime(["2026-02-28 12:00"]))
    assert describe_periods(hours) == "2026-02-28 12:00:00"
