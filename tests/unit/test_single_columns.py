"""A column that knows the future is found, whatever its form; an ordinary one is not."""

import numpy as np
import pandas as pd
import pytest

from churn.data.contract import Column, Contract
from churn.modeling import single_columns

DRAW = np.random.default_rng(5)
ROWS = 3_000
LEFT = DRAW.random(ROWS) < 0.3
FUTURE = {
    "null unless the customer left": np.where(LEFT, DRAW.normal(size=ROWS), np.nan),
    "null only if the customer left": np.where(LEFT, np.nan, DRAW.normal(size=ROWS)),
    "values in the middle": np.where(LEFT, 50, DRAW.choice([0, 100], ROWS)) + DRAW.random(ROWS),
    "a flag with a few errors": (LEFT ^ (DRAW.random(ROWS) < 0.02)).astype(float),
    "a category": np.where(LEFT, "notice", DRAW.choice(["app", "phone"], ROWS)),
}
HARMLESS = {
    "a number that helps": LEFT + DRAW.normal(size=ROWS),
    "noise": DRAW.normal(size=ROWS),
    "as many values as customers": np.arange(ROWS, dtype=float),
    "one value": np.zeros(ROWS),
    "nothing but nulls": np.full(ROWS, np.nan),
    "a category for each customer": np.array([f"c{number}" for number in range(ROWS)]),
}


def separation(values: np.ndarray) -> float:
    """The ROC AUC of a column alone, learned on two thirds of the customers."""
    return measured(values)["roc_auc"]


def measured(values: np.ndarray, dtype: str = "float64") -> pd.Series:
    column = Column("x", dtype, "number", True)
    if values.dtype.kind == "U":
        column = Column("x", "str", "text", True, tuple(sorted(set(values))))
    columns = {
        "x": column,
        "left": Column("left", "str", "text", False, ("no", "yes")),
    }
    contract = Contract(None, "id", "left", "yes", columns, "")
    rows = pd.DataFrame({"x": values, "left": np.where(LEFT, "yes", "no")})
    table = single_columns.separation_table(rows[:2000], rows[2000:], contract)
    assert table["feature"].tolist() == ["x"]
    return table.iloc[0]


@pytest.mark.parametrize("values", FUTURE.values(), ids=FUTURE.keys())
def test_the_future_is_found(values):
    assert separation(values) > 0.95


def test_nulls_are_a_group_of_their_own():
    """Not one with the lowest values: a column that is null for churners alone tells everything."""
    assert separation(FUTURE["null only if the customer left"]) == 1


@pytest.mark.parametrize("values", HARMLESS.values(), ids=HARMLESS.keys())
def test_an_ordinary_column_is_not(values):
    assert separation(values) < 0.85


def test_it_is_said_by_name_and_figure():
    names, auc = ["final_bill", "tenure", "number"], [0.9994, 0.75, 0.51]
    table = pd.DataFrame({"feature": names, "roc_auc": auc, "like_an_id": [0, 0, 1]})
    text = single_columns.describe_suspicion(table, 0.95)
    assert "final_bill (0.999)" in text and "tenure" not in text
    assert "another value for nearly each customer: number; an id says nothing" in text
    assert single_columns.count_suspicious(table, 0.95) == 2
    assert single_columns.describe_suspicion(table[1:2], 0.95) == ""


def test_a_number_that_differs_between_customers_is_like_an_id():
    """A whole number: an amount of money differs too."""
    numbers = np.arange(ROWS, dtype=float)
    assert measured(numbers, "int64")["like_an_id"] == 1
    assert measured(numbers // 2, "int64")["like_an_id"] == 0
    assert measured(numbers)["like_an_id"] == 0
