"""Derived features are functions of single rows, and faults of their names are one message."""

import numpy as np
import pandas as pd
import pytest

from churn.data import features
from churn.data.contract import Column, Contract, with_derived
from churn.errors import UserError
from churn.modeling.encoding import encode_features

DERIVED = features.Feature("twice x", ("x",), lambda rows: 2 * rows["x"])
CONTRACT = Contract(
    path=None,
    id="id",
    target="left",
    positive="yes",
    columns={
        "id": Column("id", "str", "text", False),
        "x": Column("x", "float64", "number", True),
        "plan": Column("plan", "str", "text", True, ("a", "b")),
        "left": Column("left", "str", "text", False, ("no", "yes")),
    },
    text="",
)


@pytest.fixture
def one_feature(monkeypatch):
    monkeypatch.setattr(features, "FEATURES", {"double": DERIVED})
    monkeypatch.setattr("churn.data.contract.FEATURES", {"double": DERIVED})


def test_a_derived_feature_follows_the_columns(one_feature):
    rows = pd.DataFrame({"x": [1.0, None], "plan": ["b", None]})
    contract = with_derived(CONTRACT, ["double"])
    encoded = encode_features(rows, contract)
    assert list(encoded) == ["x", "plan", "double"]
    assert np.array_equal(encoded["double"], [2.0, np.nan], equal_nan=True)
    assert [column.name for column in contract.features] == ["x", "plan"], "callers send raw rows"


def test_an_infinite_value_is_refused_with_its_row(one_feature, monkeypatch):
    infinite = features.Feature("", ("x",), lambda rows: 1 / rows["x"])
    monkeypatch.setattr(features, "FEATURES", {"double": infinite})
    with pytest.raises(UserError, match=r"feature double of .*features.py is infinite in row 2"):
        encode_features(
            pd.DataFrame({"x": [1.0, 0.0], "plan": "a"}), with_derived(CONTRACT, ["double"])
        )


def test_every_fault_of_the_names_is_in_one_message(monkeypatch):
    """Names that there are not, named twice, and columns that the contract lacks."""
    of_another_table = features.Feature("one", ("x", "y"), lambda rows: rows["x"])
    monkeypatch.setattr(features, "FEATURES", {"one": of_another_table})
    with pytest.raises(UserError) as refused:
        with_derived(CONTRACT, ["chargé", "one", "one"])
    message = str(refused.value)
    assert message.startswith("params.yaml:\n")
    assert "'chargé', which src/churn/data/features.py does not have (it has one)" in message
    assert message.count("feature one needs y, no feature of the contract") == 1
    assert "features names 'one' twice" in message


def test_a_name_of_a_column_is_taken(monkeypatch):
    monkeypatch.setitem(features.FEATURES, "plan", DERIVED)
    with pytest.raises(UserError, match="feature plan has the name of a column: plan; rename it"):
        with_derived(CONTRACT, ["plan"])
