"""What is measured: discrimination, calibration, and what the model is worth in money."""

import numpy as np
import pandas as pd

MAIN = ("roc_auc", "average_precision", "log_loss", "brier")  # those with a bootstrap interval


def measure(y: np.ndarray, p: np.ndarray, threshold: float, costs) -> dict[str, float]:
    """Every point metric of probabilities `p` for labels `y` (0 or 1), both of shape (rows,).

    Args:
        threshold: customers with p >= threshold are contacted.
        costs: `evaluate.costs` of params.yaml, in money.

    Returns:
        roc_auc, average_precision, log_loss (nats), brier, calibration_error, lift_top_decile,
        recall_top_decile, threshold, precision, recall, f1, and value and value_per_customer in money.
    """
    contacted = p >= threshold
    hits = float(y[contacted].sum())
    top = np.argsort(-p, kind="stable")[: int(np.ceil(len(y) / 10))]
    money = value(y, contacted, costs)
    return {
        **Ranking(y, p).metrics(np.ones(len(y))),
        "calibration_error": calibration_error(y, p),
        "lift_top_decile": y[top].mean() / y.mean(),
        "recall_top_decile": y[top].sum() / y.sum(),
        "threshold": threshold,
        "precision": hits / max(contacted.sum(), 1),
        "recall": hits / y.sum(),
        "f1": 2 * hits / (contacted.sum() + y.sum()),
        "value": money,
        "value_per_customer": money / len(y),
    }


def value(y: np.ndarray, contacted: np.ndarray, costs) -> float:
    """Expected money from contacting these customers: a contact costs, and with chance `save_chance` keeps one who
    would have left."""
    return float(gains(y, contacted, costs).sum())


def gains(y: np.ndarray, contacted: np.ndarray, costs) -> np.ndarray:
    """Expected money from each customer when these are contacted, shape (rows,)."""
    return contacted * (y * costs.save_chance * costs.saved_customer - costs.contact)


def best_threshold(y: np.ndarray, p: np.ndarray, costs) -> float:
    """The threshold that maximises `value` on these rows (Elkan, "The Foundations of Cost-Sensitive Learning",
    IJCAI 2001, with the observed value in place of the expected one). 1.0, nobody is contacted, if no contact
    pays. Rounded down to six digits, so that it reads the same everywhere.
    """
    order = np.argsort(-p, kind="stable")
    gains = np.cumsum(y[order] * costs.save_chance * costs.saved_customer - costs.contact)
    last_of_ties = np.append(np.diff(p[order]) != 0, True)
    gains = np.where(last_of_ties, gains, -np.inf)
    best = int(np.argmax(gains))
    return 1.0 if gains[best] <= 0 else float(np.floor(p[order][best] * 1e6) / 1e6)


def calibration_bins(y: np.ndarray, p: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Mean probability, churn rate and number of customers in each non-empty bin of equal width."""
    which = np.minimum((p * bins).astype(int), bins - 1)
    table = pd.DataFrame({"bin": which, "probability": p, "churn_rate": y}).groupby("bin", as_index=False)
    return table.agg(probability=("probability", "mean"), churn_rate=("churn_rate", "mean"), customers=("bin", "size"))


def calibration_error(y: np.ndarray, p: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width (Naeini et al., AAAI 2015)."""
    bins = calibration_bins(y, p)
    return float((abs(bins.probability - bins.churn_rate) * bins.customers).sum() / len(y))


class Ranking:
    """Fixed probabilities of labelled rows, sorted once: curves and metrics under any row weights are then cheap.

    A bootstrap resample is a vector of whole weights, how often each row was drawn. The metrics are scikit-learn's
    with `sample_weight` (a test compares them), which would take a hundred times as long.
    """

    def __init__(self, y: np.ndarray, p: np.ndarray):
        self.y = y
        self.order = np.argsort(-p, kind="stable")
        self.ends = np.flatnonzero(np.append(np.diff(p[self.order]) != 0, True))  # last row of each tie
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


def resamples(y: np.ndarray, count: int, seed: int):
    """`count` weight vectors of a stratified bootstrap: each class keeps its size, so no resample lacks one."""
    draw = np.random.default_rng(seed)
    classes = [np.flatnonzero(y == label) for label in (0, 1)]
    for _ in range(count):
        weights = np.zeros(len(y))
        for rows in classes:
            weights[rows] = np.bincount(draw.integers(len(rows), size=len(rows)), minlength=len(rows))
        yield weights


def intervals(y: np.ndarray, p: np.ndarray, count: int, seed: int) -> dict[str, float]:
    """95 % percentile bootstrap intervals of the main metrics (Efron and Tibshirani 1993, chapter 13), as
    <metric>_low and <metric>_high."""
    ranking = Ranking(y, p)
    draws = pd.DataFrame(ranking.metrics(weights) for weights in resamples(y, count, seed))
    low, high = draws.quantile(0.025), draws.quantile(0.975)
    return {f"{name}_{end}": float(q[name]) for name in MAIN for end, q in (("low", low), ("high", high))}


def differences(
    y: np.ndarray, ours: np.ndarray, theirs: np.ndarray, count: int, seed: int, gains: tuple | None = None
) -> dict[str, tuple[float, float, float]]:
    """Each main metric of `ours` minus that of `theirs` on the same rows, with its 95 % paired bootstrap interval.

    Args:
        ours, theirs: probabilities, shape (rows,).
        gains: money earned on each customer by our and by their decisions (`gains`), each of shape (rows,).

    Returns:
        (difference, low, high) by metric; with `gains` also `value_per_customer`.
    """
    a, b = Ranking(y, ours), Ranking(y, theirs)
    money = gains[0] - gains[1] if gains else None

    def gap(weights: np.ndarray) -> dict[str, float]:
        minus = b.metrics(weights)
        gaps = {name: float(value - minus[name]) for name, value in a.metrics(weights).items()}
        return gaps if money is None else gaps | {"value_per_customer": float(weights @ money / weights.sum())}

    draws = pd.DataFrame(gap(weights) for weights in resamples(y, count, seed))
    low, high = draws.quantile(0.025), draws.quantile(0.975)
    return {name: (point, float(low[name]), float(high[name])) for name, point in gap(np.ones(len(y))).items()}
