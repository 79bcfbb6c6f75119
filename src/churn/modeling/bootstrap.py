"""Confidence intervals of metrics, and of the differences between two models, by bootstrap.

Labels are 1.0 for a customer who churned and 0.0 for one who stayed; probabilities are those of
churn. Both have the shape (rows,). A resample is a vector of weights: how often each row was drawn.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

# The metrics that have an interval.
MAIN_METRICS = ("roc_auc", "average_precision", "log_loss", "brier")
INTERVAL = (0.025, 0.975)  # quantiles of the resamples: a 95 % interval
SMALLEST_PROBABILITY = 1e-15  # the logarithm of 0 is infinite


@dataclass(frozen=True)
class Resampling:
    """How a bootstrap draws: the number of resamples, and the seed."""

    count: int
    seed: int


def riskiest_first(probabilities: np.ndarray) -> np.ndarray:
    """The order of the rows by falling probability; shape (rows,)."""
    return np.argsort(-probabilities, kind="stable")


class WeightedRanking:
    """The main metrics of fixed probabilities under any row weights.

    The rows are sorted once. scikit-learn's metrics with `sample_weight`, which give the same to
    1e-16 (a test compares them), sort again for each resample and take about 100 times as long.
    """

    def __init__(self, labels: np.ndarray, probabilities: np.ndarray) -> None:
        self.labels = labels
        self.order = riskiest_first(probabilities)

        # Rows with equal probabilities are one point of a curve: the position of the last of them.
        is_last = np.append(np.diff(probabilities[self.order]) != 0, True)
        self.points = np.flatnonzero(is_last)

        clipped = np.clip(probabilities, SMALLEST_PROBABILITY, 1 - SMALLEST_PROBABILITY)
        self.log_losses = -(labels * np.log(clipped) + (1 - labels) * np.log(1 - clipped))
        self.squared_errors = (probabilities - labels) ** 2

    def metrics(self, weights: np.ndarray) -> dict[str, float]:
        """The main metrics with these weights, shape (rows,)."""
        # Churners and customers at or above each distinct probability, from the highest down.
        churners = np.cumsum((weights * self.labels)[self.order])[self.points]
        customers = np.cumsum(weights[self.order])[self.points]
        stayers = customers - churners
        new_churners = np.diff(churners, prepend=0)
        new_stayers = np.diff(stayers, prepend=0)

        # The first customers may have no weight at all in a resample.
        precision = np.zeros(len(churners))
        np.divide(churners, customers, out=precision, where=customers > 0)

        # The area under the ROC curve by the trapezoidal rule: ties count half.
        area = (new_stayers * (churners - new_churners / 2)).sum()
        total = weights.sum()
        return {
            "roc_auc": float(area / (stayers[-1] * churners[-1])),
            "average_precision": float((new_churners * precision).sum() / churners[-1]),
            "log_loss": float(weights @ self.log_losses / total),
            "brier": float(weights @ self.squared_errors / total),
        }


def bootstrap_weights(labels: np.ndarray, resampling: Resampling) -> Iterator[np.ndarray]:
    """Draw the weights of a stratified bootstrap, one vector of the shape (rows,) per resample.

    Each class keeps its size, so that no resample lacks one.
    """
    generator = np.random.default_rng(resampling.seed)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    for _ in range(resampling.count):
        weights = np.zeros(len(labels))
        for rows in classes:
            drawn = generator.integers(len(rows), size=len(rows))
            weights[rows] = np.bincount(drawn, minlength=len(rows))
        yield weights


def bootstrap_intervals(
    labels: np.ndarray, probabilities: np.ndarray, resampling: Resampling
) -> dict[str, float]:
    """95 % percentile intervals of the main metrics, as <metric>_low and <metric>_high.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.
    """
    ranking = WeightedRanking(labels, probabilities)
    weights = bootstrap_weights(labels, resampling)
    low, high = _interval(pd.DataFrame(map(ranking.metrics, weights)))
    intervals = {}
    for name in MAIN_METRICS:
        intervals[f"{name}_low"] = float(low[name])
        intervals[f"{name}_high"] = float(high[name])
    return intervals


def paired_differences(
    labels: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray,
    resampling: Resampling,
    gains: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, tuple[float, float, float]]:
    """Each main metric of `ours` minus that of `theirs`, with its 95 % paired bootstrap interval.

    Both models are measured on the same rows in each resample, so that what is difficult about a
    resample is difficult for both.

    Args:
        ours: probabilities of the first model.
        theirs: probabilities of the second model.
        gains: money from each customer by the decisions of the first and of the second model
            (metrics.gain_per_customer).

    Returns:
        (difference, low, high) by metric; with `gains` also of value_per_customer.
    """
    our_ranking, their_ranking = WeightedRanking(labels, ours), WeightedRanking(labels, theirs)

    def difference(weights: np.ndarray) -> dict[str, float]:
        our_metrics, their_metrics = our_ranking.metrics(weights), their_ranking.metrics(weights)
        differences = {name: our_metrics[name] - their_metrics[name] for name in MAIN_METRICS}
        if gains is not None:
            money = weights @ (gains[0] - gains[1]) / weights.sum()
            differences["value_per_customer"] = float(money)
        return differences

    on_all_rows = difference(np.ones(len(labels)))
    low, high = _interval(pd.DataFrame(map(difference, bootstrap_weights(labels, resampling))))
    return {
        name: (value, float(low[name]), float(high[name])) for name, value in on_all_rows.items()
    }


def _interval(resamples: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The ends of the 95 % interval of each column, over one row per resample."""
    low, high = INTERVAL
    return resamples.quantile(low), resamples.quantile(high)
