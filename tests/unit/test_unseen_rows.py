"""Production is compared on the test rows that it was not trained on, and on no others."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from churn.data.contract import Column, Contract
from churn.data.customer_split import assign_splits
from churn.data.time_split import cut_periods
from churn.errors import UserError
from churn.files import read_yaml
from churn.params import Params, validate_params
from churn.tracking.unseen_rows import find_unseen_rows
from conftest import ROOT

CUSTOMERS = 4000
MONTHS = pd.date_range("2025-01-31", periods=10, freq="ME")
SHARES = {"split.valid": 0.2, "split.test": 0.2}


def contract(time: str | None) -> Contract:
    columns = {
        "id": Column("id", "str", "text", False),
        "month": Column("month", "datetime64[ns]", "time", False),
        "left": Column("left", "str", "text", False, ("no", "yes")),
    }
    return Contract(None, "id", "left", "yes", columns, "", time=time)


def table(months: pd.DatetimeIndex, first: int = 0) -> pd.DataFrame:
    """One row per customer and month; every fourth churns."""
    ids = [f"C{number:05d}" for number in range(first, first + CUSTOMERS)]
    rows = pd.MultiIndex.from_product([months, ids], names=["month", "id"]).to_frame(index=False)
    return rows.assign(left=np.where(np.arange(len(rows)) % 4 == 0, "yes", "no"))


def parameters(**changed: object) -> Params:
    tree = read_yaml(ROOT / "params.yaml")
    # only experiments
    tree["sweep"]["folds"] = 1
    # end
    own = {"data.id": "id", "data.time": "month", "split.by": "customer", "split.gap": 0}
    without = {"evaluate.backtest": None, "gate.min_backtest_auc": None}
    for name, value in {"seed": 42, **without, **own, **SHARES, **changed}.items():
        *section, leaf = name.split(".")
        (tree[section[0]] if section else tree)[leaf] = value
    return validate_params(tree, "params.yaml")


def split(rows: pd.DataFrame, params: Params) -> np.ndarray:
    """The split of each row of a table, as preprocess makes it."""
    shares = params.split
    if shares.by == "customer":
        return assign_splits(rows["id"], params.seed, shares.valid, shares.test)
    periods = np.unique(rows["month"])
    return cut_periods(periods, shares.valid, shares.test, shares.gap).assign(
        rows["month"].to_numpy()
    )


def version(rows: pd.DataFrame, params: Params) -> SimpleNamespace:
    """A registered version whose model was trained on a table."""
    seen = rows[np.isin(split(rows, params), ["train", "valid"])]
    tags = {"params": json.dumps(params.flat()), "trained_until": str(seen["month"].max())}
    return SimpleNamespace(version="7", tags=tags, run_id=None)


ONCE, ALL, EARLIER = MONTHS[:1], MONTHS, MONTHS[:8]


@pytest.mark.parametrize(
    ("months", "before", "today"),
    [
        (ALL, {}, {"seed": 43}),
        (ALL, {}, {"split.test": 0.3}),
        (ALL, {}, {"split.valid": 0.3}),
        (ALL, {"split.by": "time"}, {"split.by": "customer"}),
        (ALL, {"split.by": "customer"}, {"split.by": "time"}),
        (ALL, {"split.by": "time"}, {"split.by": "time", "split.test": 0.4}),
        (ALL, {"split.by": "time"}, {"split.by": "time", "split.gap": 1}),
        (EARLIER, {"split.by": "time"}, {"split.by": "time"}),
        (EARLIER, {"seed": 1}, {"split.by": "time"}),
        (EARLIER, {"seed": 1}, {"seed": 2}),
    ],
)
def test_rows_that_production_was_trained_on_are_left_out(months, before, today):
    """Against the rows themselves that its split gave it: by id and month."""
    before, today = parameters(**before), parameters(**today)
    old, new = table(months), table(ALL)
    trained = old[np.isin(split(old, before), ["train", "valid"])]
    test = new[split(new, today) == "test"]

    key = ["id", "month"]
    is_seen = pd.MultiIndex.from_frame(test[key]).isin(pd.MultiIndex.from_frame(trained[key]))
    try:
        unseen = find_unseen_rows(version(old, before), test, contract("month"), today)
    except UserError as error:  # each row of the test split was trained on
        assert is_seen.all(), str(error)
        assert str(error).startswith(f"0 of {len(test):,} test rows (0 of them churned) are too")
        return
    assert not (unseen.is_unseen & is_seen).any(), "a row that production was trained on"
    if months is ALL:
        assert (unseen.is_unseen == ~is_seen).all(), "a row is left out for nothing"
    if is_seen.any():
        expected = f"on {unseen.is_unseen.sum():,} of {len(test):,} test rows: version 7 was"
        assert unseen.note.startswith(expected)


def test_the_note_says_what_was_changed():
    params = parameters(**{"seed": 43, "split.test": 0.3})
    rows = table(ONCE)
    test = rows[split(rows, params) == "test"]
    unseen = find_unseen_rows(version(rows, parameters()), test, contract("month"), params)
    assert 0.15 < unseen.is_unseen.mean() < 0.25
    assert unseen.note.endswith(
        "version 7 was trained on the others (seed 42 then, 43 now, split.test 0.2 then, 0.3 now)"
    )


def test_alike_splits_leave_nothing_out_and_say_nothing():
    """The same table, one with more customers, and one that was split by an earlier release."""
    params = parameters(**{"data.time": None})
    recorded = {name: params.flat()[name] for name in ("seed", *SHARES)}
    earlier = SimpleNamespace(version="7", tags={"params": json.dumps(recorded)}, run_id=None)
    for production in (version(table(ONCE), params), earlier):
        for rows in (table(ONCE), table(ONCE, first=500)):
            test = rows[split(rows, params) == "test"]
            unseen = find_unseen_rows(production, test, contract(None), params)
            assert unseen.is_unseen.all() and unseen.note == ""


def test_few_rows_are_not_compared():
    params = parameters(**{"seed": 43})
    rows = table(ONCE)[:900]
    test = rows[split(rows, params) == "test"]
    with pytest.raises(UserError) as refused:
        find_unseen_rows(version(rows, parameters()), test, contract("month"), params)
    message = str(refused.value)
    assert "too few to compare with production, where 100 are needed and 20 of each" in message
    assert "version 7 was trained on the others (seed 42 then, 43 now)" in message


@pytest.mark.parametrize(
    ("before", "tags"),
    [
        ({"split.by": "time"}, {"trained_until": None}),
        ({"split.by": "time"}, {"trained_until": "2024"}),
        ({"split.by": "time", "data.time": "week"}, {}),
        ({}, {"params": "{}", "trained_until": None}),
        ({"data.id": "number"}, {"trained_until": None}),
    ],
    ids=["no period recorded", "a number then", "another period", "nothing recorded", "another id"],
)
def test_what_cannot_be_told_is_not_compared(before, tags):
    rows = table(ALL)
    production = version(rows, parameters(**before))
    for name, value in tags.items():
        production.tags.pop(name)
        production.tags |= {name: value} if value else {}
    params = parameters(**{"split.by": "time"})
    test = rows[split(rows, params) == "test"]
    with pytest.raises(UserError, match="version 7 does not say which of these test rows it was"):
        find_unseen_rows(production, test, contract("month"), params)
