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
    column = Column("x", "float64", "number", True)
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
    return table["roc_auc"][0]


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
    table = pd.DataFrame({"feature": ["final_bill", "tenure"], "roc_auc": [0.9994, 0.75]})
    found = single_columns.suspicious_columns(table, 0.95)
    text = single_columns.describe_suspicion(found, 0.95)
    assert "final_bill (0.999)" in text and "tenure" not in text
    assert single_columns.describe_suspicion({}, 0.95) == ""
