"""A production model that was split otherwise has seen test rows: it is not compared."""

import json
from types import SimpleNamespace

import pytest

from churn.tracking import registration


@pytest.mark.parametrize(
    ("before", "today", "is_compared"),
    [
        ("customer", "customer", True),
        ("time", "time", True),
        (None, "customer", True),  # of an earlier release
        ("customer", "time", False),
        ("time", "customer", False),
        (None, "time", False),
    ],
)
def test_only_models_that_were_split_alike_are_compared(before, today, is_compared):
    params = SimpleNamespace(split=SimpleNamespace(by=today))
    recorded = {} if before is None else {"split.by": before}
    version = SimpleNamespace(version="7", tags={"params": json.dumps(recorded)})
    reason = registration._seen_test_rows(SimpleNamespace(params=params), version)
    assert (reason == "") == is_compared
    if not is_compared:
        assert reason.startswith(
            f"version 7 was split by {before or 'customer'} and not by {today}"
        )
