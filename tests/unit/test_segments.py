"""Each group of customers is measured as if it were alone, and small groups are not."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import precision_score, recall_score, roc_auc_score

from churn.data.contract import Column, Contract
from churn.modeling import segments
from churn.modeling.bootstrap import Resampling

CONTRACT = Contract(
    path=None,
    id="id",
    target="left",
    positive="yes",
    columns={
        "plan": Column("plan", "str", "text", True, ("a", "b")),
        "age": Column("age", "float64", "number", False),
        "senior": Column("senior", "bool", "flag", False),
        "left": Column("left", "str", "text", False, ("no", "yes")),
    },
    text="",
)
ROWS = 2_000
DRAW = np.random.default_rng(3)
LABELS = DRAW.random(ROWS) < 0.3
PROBABILITIES = np.clip(0.3 * LABELS + DRAW.random(ROWS) * 0.6, 0, 1)
TEST = pd.DataFrame(
    {
        "plan": np.where(DRAW.random(ROWS) < 0.01, None, DRAW.choice(["a", "b"], ROWS)),
        "age": DRAW.integers(18, 90, ROWS).astype(float),
        "senior": DRAW.random(ROWS) < 0.5,
        "left": np.where(LABELS, "yes", "no"),
    }
)


def table(*columns: str) -> pd.DataFrame:
    resampling = Resampling(100, 0)
    return segments.segment_table(
        TEST, CONTRACT, list(columns), PROBABILITIES, 0.4, resampling
    ).set_index("segment")


def test_a_segment_is_measured_as_if_it_were_alone():
    """With scikit-learn's metrics of its rows; the interval holds the ROC AUC."""
    row = table("plan").loc["a"]
    is_in = (TEST["plan"] == "a").to_numpy()
    labels, probabilities = LABELS[is_in], PROBABILITIES[is_in]
    assert row["customers"] == is_in.sum()
    assert row["churn_rate"] == pytest.approx(labels.mean())
    assert row["contact_rate"] == pytest.approx((probabilities >= 0.4).mean())
    assert row["precision"] == pytest.approx(precision_score(labels, probabilities >= 0.4))
    assert row["recall"] == pytest.approx(recall_score(labels, probabilities >= 0.4))
    assert row["roc_auc"] == pytest.approx(roc_auc_score(labels, probabilities))
    assert row["roc_auc_low"] < row["roc_auc"] < row["roc_auc_high"]


def test_every_customer_is_in_one_segment_of_a_column():
    """Also nulls, the quarters of a number, and a flag."""
    for column, names in (("plan", 3), ("age", 4), ("senior", 2)):
        found = table(column)
        assert len(found) == names
        assert found["customers"].sum() == ROWS
    assert list(table("senior").index) == ["0", "1"]


def test_a_small_segment_has_no_roc_auc():
    """It is named as too small, and its rates are given."""
    row = table("plan").loc["null"]
    assert row["customers"] < 100 and np.isnan(row["roc_auc"])
    shown = segments.readable_rows(table("plan").reset_index())
    assert [row["95 % interval"] == "too small" for row in shown] == [False, False, True]


def test_a_model_is_compared_with_another_by_segment():
    """Worse for one plan alone: the interval of that plan says so, those of the others do not."""
    other = PROBABILITIES.copy()
    is_b = (TEST["plan"] == "b").to_numpy()
    other[is_b] = DRAW.permutation(other[is_b])
    differences = segments.segment_differences(
        TEST, CONTRACT, ["plan", "senior"], (other, PROBABILITIES), Resampling(200, 0)
    ).set_index(["column", "segment"])
    assert ("plan", "null") not in differences.index, "too small"
    assert differences.loc[("plan", "a"), ["difference", "low", "high"]].tolist() == [0, 0, 0]
    worse = differences.loc[("plan", "b")]
    assert worse["customers"] == is_b.sum() and worse["low"] < worse["difference"] < worse["high"]
    assert worse["high"] < 0
    is_senior = TEST["senior"].to_numpy()
    expected = roc_auc_score(LABELS[is_senior], other[is_senior])
    expected -= roc_auc_score(LABELS[is_senior], PROBABILITIES[is_senior])
    assert differences.loc[("senior", "1"), "difference"] == pytest.approx(expected)
