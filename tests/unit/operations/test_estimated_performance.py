"""Performance from the scores alone: right when other customers come, wrong when churn changes."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from churn.modeling.bootstrap import Resampling, WeightedRanking
from churn.modeling.metrics import gain_per_customer, point_metrics
from churn.operations import estimated_performance
from churn.operations.estimated_performance import (
    ASSUMPTION,
    GROUPS,
    estimate_performance,
    estimate_report,
)
from churn.params import Costs

COSTS = Costs(saved_customer=500.0, contact=40.0, save_chance=0.3)
RESAMPLING = Resampling(300, 0)
THRESHOLD = 0.27


def churn_probabilities(features: np.ndarray) -> np.ndarray:
    """What a calibrated model knows of customers; shape (rows,)."""
    return 1 / (1 + np.exp(1.0 - features))


def drawn_labels(probabilities: np.ndarray, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.random(len(probabilities)) < probabilities).astype(float)


def customers(seed: int, mean: float, spread: float, rows: int = 3000) -> np.ndarray:
    """Probabilities of customers whose one feature has this distribution."""
    return churn_probabilities(np.random.default_rng(seed).normal(mean, spread, rows))


def is_covered(name: str, estimated: dict[str, float], measured: dict[str, float]) -> bool:
    low, high = estimated[f"estimated_{name}_low"], estimated[f"estimated_{name}_high"]
    return low <= measured[name] <= high


@pytest.mark.parametrize(("mean", "spread"), [(0.0, 1.5), (-1.0, 0.7), (1.0, 2.5)])
def test_other_customers_are_estimated_rightly(mean, spread):
    """Covariate shift: over 40 batches the interval holds the measured ROC AUC and the value."""
    covered = []
    for seed in range(100, 140):
        probabilities = customers(seed, mean, spread, rows=1000)
        resampling = Resampling(200, seed)
        estimated = estimate_performance(probabilities, THRESHOLD, COSTS, resampling)
        labels = drawn_labels(probabilities, seed + 1000)
        measured = point_metrics(labels, probabilities, THRESHOLD, COSTS)
        names = ("roc_auc", "value_per_customer")
        covered.append([is_covered(name, estimated, measured) for name in names])
    assert (np.mean(covered, axis=0) >= 0.9).all()


def test_the_estimate_follows_the_customers():
    """Customers who are more alike are harder to rank: the estimate says so."""
    alike = estimate_performance(customers(0, 0.0, 0.5), THRESHOLD, COSTS, RESAMPLING)
    unlike = estimate_performance(customers(0, 0.0, 2.0), THRESHOLD, COSTS, RESAMPLING)
    assert alike["estimated_roc_auc_high"] < unlike["estimated_roc_auc_low"] - 0.1


def test_a_changed_meaning_is_not_noticed():
    """Customers leave for another reason now: the estimate stays, and the measured is elsewhere."""
    features = np.random.default_rng(0).normal(0.0, 1.5, 3000)
    probabilities = churn_probabilities(features)
    estimated = estimate_performance(probabilities, THRESHOLD, COSTS, RESAMPLING)
    labels = drawn_labels(churn_probabilities(-features), 1)
    measured = point_metrics(labels, probabilities, THRESHOLD, COSTS)
    assert estimated["estimated_roc_auc"] > 0.75 and measured["roc_auc"] < 0.3
    assert not is_covered("roc_auc", estimated, measured)
    assert not is_covered("value_per_customer", estimated, measured)


def test_expected_values_by_hand():
    """Every customer twice, once as a churner with the weight p and once as one who stayed."""
    probabilities = customers(3, 0.0, 1.5, rows=500)
    estimated = estimate_performance(probabilities, THRESHOLD, COSTS, RESAMPLING)
    labels = np.repeat([1.0, 0.0], 500)
    weights = np.concatenate([probabilities, 1 - probabilities])
    expected = roc_auc_score(labels, np.tile(probabilities, 2), sample_weight=weights)
    assert estimated["estimated_roc_auc"] == pytest.approx(expected)
    gains = (probabilities * 0.3 * 500 - 40)[probabilities >= THRESHOLD]
    assert estimated["estimated_value_per_customer"] == pytest.approx(gains.sum() / 500)


def test_groups_change_no_interval():
    """A table with more customers than groups: as if each customer were drawn alone."""
    probabilities = customers(4, 0.0, 1.5, rows=3 * GROUPS)
    estimated = estimate_performance(probabilities, THRESHOLD, COSTS, RESAMPLING)
    random = np.random.default_rng(0)
    aucs, values = [], []
    for _ in range(300):
        drawn = random.choice(probabilities, len(probabilities))
        labels = (random.random(len(drawn)) < drawn).astype(float)
        aucs.append(roc_auc_score(labels, drawn))
        values.append(gain_per_customer(labels, drawn >= THRESHOLD, COSTS).mean())
    for name, alone, tolerance in (("roc_auc", aucs, 0.003), ("value_per_customer", values, 0.6)):
        low, high = np.quantile(alone, [0.025, 0.975])
        assert estimated[f"estimated_{name}_low"] == pytest.approx(low, abs=tolerance)
        assert estimated[f"estimated_{name}_high"] == pytest.approx(high, abs=tolerance)


def test_a_large_table_is_resampled_as_few_groups(monkeypatch):
    """The time of an interval does not grow with the table."""
    ranked = []

    class Noted(WeightedRanking):
        def __init__(self, labels, probabilities):
            ranked.append(len(probabilities))
            super().__init__(labels, probabilities)

    monkeypatch.setattr(estimated_performance, "WeightedRanking", Noted)
    probabilities = customers(5, 0.0, 1.5, rows=1_000_000)
    estimate_performance(probabilities, THRESHOLD, COSTS, Resampling(3, 0))
    everybody, *resamples = ranked
    assert everybody == 1_000_000 and len(resamples) == 3
    assert max(resamples) <= GROUPS + 1  # one more for the highest probability


@pytest.mark.parametrize("probabilities", [[0.5], [1e-9, 1e-9], [0.2, 0.2, 0.2], [0.0, 1.0]])
def test_few_customers(probabilities):
    """One customer, no churner in any resample, all alike, certainties: no error, no warning."""
    with np.errstate(all="raise"):
        estimated = estimate_performance(np.array(probabilities), THRESHOLD, COSTS, RESAMPLING)
    assert "estimated_roc_auc" in estimated


def test_the_report_says_what_it_assumes():
    estimated = estimate_performance(customers(6, 0.0, 1.5), THRESHOLD, COSTS, RESAMPLING)
    report = estimate_report(estimated, {"roc_auc": 0.9}, {})
    assert report.endswith(ASSUMPTION) and "labelled customers" not in report
    assert "0.9000" in report and f"{estimated['estimated_roc_auc']:.4f}" in report
    both = estimate_report(estimated, {}, {"roc_auc": 0.8123, "value_per_customer": 1.0})
    assert "labelled customers" in both and "0.8123" in both
