"""Drift measures follow their definitions, and every value of a column has its bin."""

import numpy as np
import pandas as pd
import pytest

from churn.data.contract import Column
from churn.data.drift import fit_bins, measure_drift


def test_index_and_distance_against_their_definitions():
    """PSI by hand, and the Jensen-Shannon distance from 0 (equal) to 1 (nothing in common)."""
    training = np.array([5000, 3000, 2000, 0, 0])
    batch = np.array([2000, 3000, 5000, 0, 0])
    drift = measure_drift(training, batch)
    assert drift.psi == pytest.approx(2 * 0.3 * np.log(5 / 2), rel=1e-3)

    unchanged = measure_drift(training, training * 2)
    assert unchanged.psi == pytest.approx(0, abs=1e-6)

    disjoint = measure_drift(np.array([9000, 0, 0]), np.array([0, 9000, 0]))
    assert disjoint.js_distance == pytest.approx(1, abs=0.02)


def test_bins_of_a_text():
    """Each category has a bin, and so have unknown values and nulls."""
    column = Column("x", "str", "text", True, ("a", "b"))
    bins = fit_bins(pd.Series(["a"]), column)
    assert bins.count(pd.Series(["b", "?", None, "b"])).tolist() == [0, 2, 1, 1]


def test_bins_of_a_number():
    """Few values have a bin each, many share ten; nulls have a bin of their own."""
    few = fit_bins(pd.Series([0.0, 1.0, 0.0, np.nan]))
    assert few.count(pd.Series([0.0, 1.0, 1.0, np.nan])).tolist() == [1, 2, 0, 1]
    assert len(few.labels) == 4

    numbers = pd.Series(np.arange(1000.0))
    many = fit_bins(numbers)
    assert many.count(numbers).tolist() == [100] * 10 + [0, 0]
    assert len(many.labels) == 12
