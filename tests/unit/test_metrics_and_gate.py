"""The measures equal scikit-learn's, the threshold is the best there is, and the gate decides as it
says.
"""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as sk

from churn.modeling import gate, plot_data
from churn.modeling.bootstrap import (
    Resampling,
    WeightedRanking,
    bootstrap_intervals,
    bootstrap_weights,
    paired_differences,
)
from churn.modeling.metrics import best_threshold, campaign_value, point_metrics
from churn.params import Costs, load_params
from conftest import ROOT

COSTS = Costs(saved_customer=500.0, contact=40.0, save_chance=0.3)
LIMITS = load_params(ROOT / "params.yaml").gate.model_copy(
    update={
        "min_roc_auc": 0.8,
        "max_calibration_error": 0.08,
        "max_auc_drop": 0.02,
        "min_gain_over_baseline": None,
        "min_backtest_auc": None,
        "max_segment_auc_drop": None,
        "min_segment_rows": 200,
        "refuse_leakage": False,
    }
)


def sample(rows: int, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    p = draw.beta(1, 3, rows)
    p = np.round(p, 1) if ties else p
    return (draw.random(rows) < p).astype(float), p


@pytest.mark.parametrize("ties", [False, True])
def test_weighted_metrics_equal_scikit_learn(ties):
    """The bootstrap's metrics are scikit-learn's with the resample as sample weights, tied scores
    included.
    """
    y, p = sample(500, ties=ties)
    ranking = WeightedRanking(y, p)
    for weights in bootstrap_weights(y, Resampling(5, seed=1)):
        ours = ranking.metrics(weights)
        assert ours["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p, sample_weight=weights))
        assert ours["average_precision"] == pytest.approx(
            sk.average_precision_score(y, p, sample_weight=weights)
        )
        assert ours["log_loss"] == pytest.approx(sk.log_loss(y, p, sample_weight=weights))
        assert ours["brier"] == pytest.approx(sk.brier_score_loss(y, p, sample_weight=weights))


@pytest.mark.parametrize("ties", [False, True])
def test_point_metrics_and_curves_equal_scikit_learn(ties):
    """Precision, recall and f1 at the threshold; the points of the ROC and precision-recall
    curves.
    """
    y, p = sample(400, ties=ties)
    found = point_metrics(y, p, 0.3, COSTS)
    expected = sk.precision_recall_fscore_support(y, p >= 0.3, average="binary")[:3]
    assert (found["precision"], found["recall"], found["f1"]) == pytest.approx(expected)
    tables = plot_data.plot_tables(y, p, 0.3, pd.DataFrame({"a": p, "bias": 1.0}))
    false, true, _ = sk.roc_curve(y, p, drop_intermediate=False)
    assert np.allclose(tables["roc"].to_numpy(), np.column_stack([false, true, false]))
    precision, recall, _ = sk.precision_recall_curve(y, p)
    assert np.allclose(
        tables["precision_recall"].to_numpy()[::-1],
        np.column_stack([recall, precision])[-len(tables["precision_recall"]) - 1 : -1],
    )


def test_intervals_cover_the_truth():
    """95 % intervals of the ROC AUC hold the population's value in 90 % to 99 % of 200 samples."""
    y, p = sample(200_000, seed=99)
    truth = sk.roc_auc_score(y, p)
    held = 0
    for seed in range(200):
        ys, ps = sample(400, seed)
        found = bootstrap_intervals(ys, ps, Resampling(200, seed))
        held += found["roc_auc_low"] <= truth <= found["roc_auc_high"]
    assert 180 <= held <= 198


def test_threshold_is_the_best_of_all():
    """No other threshold earns more on the same rows; when no contact can pay, nobody is
    contacted.
    """
    for seed in range(20):
        y, p = sample(200, seed, ties=bool(seed % 2))
        best = best_threshold(y, p, COSTS)
        earned = campaign_value(y, p >= best, COSTS)
        assert earned == max(campaign_value(y, p >= t, COSTS) for t in [*np.unique(p), 1.1])
    assert best_threshold(y, p, COSTS.model_copy(update={"contact": 1000.0})) == 1.0


def test_measures_of_a_known_case():
    """Ten customers by hand: two contacted, one of them a churner; money, top decile,
    calibration.
    """
    y = np.array([1, 0, 1, 0, 0, 0, 0, 0, 0, 0.0])
    p = np.array([0.9, 0.8, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])
    found = point_metrics(y, p, 0.5, COSTS)
    assert found["value"] == 1 * 0.3 * 500 - 2 * 40
    assert (found["precision"], found["recall"]) == (0.5, 0.5)
    assert (found["lift_top_decile"], found["recall_top_decile"]) == (1 / 0.2, 0.5)
    # bins: [0.1) x6 -> 0.1 vs 0; 0.2 vs 0; 0.3 vs 1; 0.8 vs 0; 0.9 vs 1
    assert found["calibration_error"] == pytest.approx((6 * 0.1 + 0.2 + 0.7 + 0.8 + 0.1) / 10)


def test_plot_tables_hold_what_they_show():
    """Curves end where they must; the confusion counts add up; contributions are sorted."""
    y, p = sample(3000)
    contributions = pd.DataFrame({"a": p, "b": -2 * p, "bias": 1.0})
    tables = plot_data.plot_tables(y, p, 0.5, contributions)
    assert tables["confusion"]["customers"].sum() == 3000
    assert max(map(len, tables.values())) <= plot_data.POINTS
    assert tables["roc"].iloc[[0, -1]].to_numpy().tolist() == [[0, 0, 0], [1, 1, 1]]
    assert tables["gain"].iloc[[0, -1]].to_numpy().tolist() == [[0, 0, 0], [1, 1, 1]]
    assert tables["importance"]["feature"].tolist() == ["b", "a"]


@pytest.mark.parametrize(
    ("results", "difference", "reasons"),
    [
        ({"roc_auc": 0.85, "calibration_error": 0.03}, None, []),
        ({"roc_auc": 0.79, "calibration_error": 0.03}, None, ["roc_auc 0.7900 is below"]),
        (
            {"roc_auc": 0.79, "calibration_error": 0.09},
            None,
            ["roc_auc", "calibration_error 0.0900 is above"],
        ),
        ({"roc_auc": 0.85, "calibration_error": 0.03}, (0.001, -0.01, 0.01), []),
        (
            {"roc_auc": 0.85, "calibration_error": 0.03},
            (-0.015, -0.03, 0.0),
            ["may be worse than production"],
        ),
        (
            {"roc_auc": 0.85, "calibration_error": 0.03},
            (0.01, -0.03, 0.05),
            ["may be worse than production"],
        ),
    ],
)
def test_gate(results, difference, reasons):
    """Every missed threshold is a reason; "not worse than production" is decided by the interval,
    not the point.
    """
    decision = gate.decide(results, LIMITS, gate.Comparison(difference, "no production model"))
    assert decision.passed == (not reasons)
    assert len(decision.failures) == len(reasons)
    assert all(reason in failure for reason, failure in zip(reasons, decision.failures))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({}, ""),
        ({"min_gain_over_baseline": -0.01}, ""),
        ({"min_gain_over_baseline": 0.0}, "less than gate.min_gain_over_baseline 0"),
        ({"refuse_leakage": True}, "2 columns may know the future"),
    ],
)
def test_baseline_and_leakage_are_asked_for_on_request(limits, reason):
    """By default neither decides; the gain is that which is certain, not the measured one."""
    results = {
        "roc_auc": 0.85,
        "calibration_error": 0.03,
        "gain_over_baseline": 0.006,
        "gain_over_baseline_low": -0.001,
        "suspicious_columns": 2,
    }
    failures = gate.missed_thresholds(results, LIMITS.model_copy(update=limits))
    assert len(failures) == bool(reason)
    assert reason in "".join(failures)


@pytest.mark.parametrize(
    ("limits", "customers", "interval", "passes"),
    [
        ({}, 500, (-0.10, -0.15, -0.05), True),
        ({"max_segment_auc_drop": 0.05}, 500, (-0.10, -0.15, -0.05), False),
        ({"max_segment_auc_drop": 0.05}, 199, (-0.10, -0.15, -0.05), True),
        ({"max_segment_auc_drop": 0.05}, 500, (-0.10, -0.21, 0.01), True),
        ({"max_segment_auc_drop": 0.05}, 500, (-0.04, -0.06, -0.02), True),
    ],
    ids=["not asked for", "much worse", "too few customers", "by chance", "a little worse"],
)
def test_a_segment_that_became_worse_is_refused_on_request(limits, customers, interval, passes):
    """If it is large enough, and loses more than allowed and than chance explains."""
    segment = {"column": "plan", "segment": "b", "customers": customers}
    segment |= dict(zip(("difference", "low", "high"), interval))
    decision = gate.decide(
        {"roc_auc": 0.85, "calibration_error": 0.03},
        LIMITS.model_copy(update=limits),
        gate.Comparison((0.0, -0.001, 0.001), "", pd.DataFrame([segment])),
    )
    assert decision.passed == passes
    if not passes:
        assert "gate.max_segment_auc_drop 0.05 for plan = b: roc_auc -0.1000" in str(decision)


def test_paired_bootstrap_sees_what_two_intervals_cannot():
    """On the same rows a slightly noisier model is told apart, where the models' own intervals
    overlap.
    """
    y, p = sample(2000)
    noisy = p + np.random.default_rng(1).normal(0, 0.12, len(p))
    point, low, high = paired_differences(y, noisy, p, Resampling(500, 0))["roc_auc"]
    assert low < point < high < 0
    a, b = (
        bootstrap_intervals(y, p, Resampling(300, 0)),
        bootstrap_intervals(y, np.clip(noisy, 0.01, 0.99), Resampling(300, 0)),
    )
    assert b["roc_auc_high"] > a["roc_auc_low"]


def test_value_of_contacting():
    """By hand: of ten customers, the two riskiest churn. Contacting them is worth most, contacting
    nobody nothing, and everybody what the costs say; the interval holds the value.
    """
    labels = np.array([1.0, 1.0] + [0.0] * 8)
    probabilities = np.linspace(0.9, 0.1, 10)
    table = plot_data.value_table(labels, probabilities, COSTS, Resampling(200, 0))
    at = dict(zip(table["customers"].round(2), table["value"]))
    saved = COSTS.save_chance * COSTS.saved_customer
    assert at[0.0] == 0
    assert at[0.2] == pytest.approx(2 * (saved - COSTS.contact) / 10)
    assert at[1.0] == pytest.approx((2 * saved - 10 * COSTS.contact) / 10)
    assert table["customers"][table["value"].idxmax()] == pytest.approx(0.2)
    assert (table["value_low"] <= table["value"] + 1e-9).all()
    assert (table["value"] <= table["value_high"] + 1e-9).all()
