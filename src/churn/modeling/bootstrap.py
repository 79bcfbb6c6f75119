"""Bootstrap intervals of metrics, and paired differences between two models."""

import numpy as np
import pandas as pd

MAIN_METRICS = (
    "roc_auc",
    "average_precision",
    "log_loss",
    "brier",
)  # those with a bootstrap interval


class WeightedRanking:
    """Fixed probabilities of labelled rows, sorted once: curves and metrics under any row weights are then cheap.

    A bootstrap resample is a vector of whole weights, how often each row was drawn. The metrics are scikit-learn's
    with `sample_weight` (a test compares them), which would take a hundred times as long.
    """

    def __init__(self, y: np.ndarray, p: np.ndarray):
        self.y = y
        self.order = np.argsort(-p, kind="stable")
        self.ends = np.flatnonzero(
            np.append(np.diff(p[self.order]) != 0, True)
        )  # last row of each tie
        q = np.clip(p, 1e-15, 1 - 1e-15)
        self.log_loss = -(y * np.log(q) + (1 - y) * np.log(1 - q))
        self.brier = (p - y) ** 2

    def curve(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Churners and customers at or above each distinct probability, from the highest down."""
        hits = np.cumsum((weights * self.y)[self.order])[self.ends]
        return hits, np.cumsum(weights[self.order])[self.ends]

    def metrics(self, weights: np.ndarray) -> dict[str, float]:
        """The main metrics with these weights, shape (rows,)."""
        hits, customers = self.curve(weights)
        false = customers - hits
        new_hits, new_false = np.diff(hits, prepend=0), np.diff(false, prepend=0)
        precision = np.divide(hits, customers, out=np.zeros(len(hits)), where=customers > 0)
        return {
            "roc_auc": (new_false * (hits - new_hits / 2)).sum() / (false[-1] * hits[-1]),
            "average_precision": (new_hits * precision).sum() / hits[-1],
            "log_loss": weights @ self.log_loss / weights.sum(),
            "brier": weights @ self.brier / weights.sum(),
        }


def bootstrap_weights(y: np.ndarray, count: int, seed: int):
    """`count` weight vectors of a stratified bootstrap: each class keeps its size, so no resample lacks one."""
    draw = np.random.default_rng(seed)
    classes = [np.flatnonzero(y == label) for label in (0, 1)]
    for _ in range(count):
        weights = np.zeros(len(y))
        for rows in classes:
            weights[rows] = np.bincount(
                draw.integers(len(rows), size=len(rows)), minlength=len(rows)
            )
        yield weights


def bootstrap_intervals(y: np.ndarray, p: np.ndarray, count: int, seed: int) -> dict[str, float]:
    """95 % percentile bootstrap intervals of the main metrics (Efron and Tibshirani 1993, chapter 13), as
    <metric>_low and <metric>_high."""
    ranking = WeightedRanking(y, p)
    draws = pd.DataFrame(ranking.metrics(weights) for weights in bootstrap_weights(y, count, seed))
    low, high = draws.quantile(0.025), draws.quantile(0.975)
    return {
        f"{name}_{end}": float(q[name])
        for name in MAIN_METRICS
        for end, q in (("low", low), ("high", high))
    }


def paired_differences(
    y: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray,
    count: int,
    seed: int,
    gains: tuple | None = None,
) -> dict[str, tuple[float, float, float]]:
    """Each main metric of `ours` minus that of `theirs` on the same rows, with its 95 % paired bootstrap interval.

    Args:
        ours, theirs: probabilities, shape (rows,).
        gains: money earned on each customer by our and by their decisions (`gains`), each of shape (rows,).

    Returns:
        (difference, low, high) by metric; with `gains` also `value_per_customer`.
    """
    a, b = WeightedRanking(y, ours), WeightedRanking(y, theirs)
    money = gains[0] - gains[1] if gains else None

    def gap(weights: np.ndarray) -> dict[str, float]:
        minus = b.metrics(weights)
        gaps = {name: float(value - minus[name]) for name, value in a.metrics(weights).items()}
        return (
            gaps
            if money is None
            else gaps | {"value_per_customer": float(weights @ money / weights.sum())}
        )

    draws = pd.DataFrame(gap(weights) for weights in bootstrap_weights(y, count, seed))
    low, high = draws.quantile(0.025), draws.quantile(0.975)
    return {
        name: (point, float(low[name]), float(high[name]))
        for name, point in gap(np.ones(len(y))).items()
    }
