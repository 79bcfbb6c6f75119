"""What is measured: discrimination, calibration, and what the model is worth in money."""

import numpy as np
import pandas as pd

from churn.modeling.bootstrap import MAIN_METRICS, WeightedRanking


def point_metrics(y: np.ndarray, p: np.ndarray, threshold: float, costs) -> dict[str, float]:
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
    money = campaign_value(y, contacted, costs)
    return {
        **WeightedRanking(y, p).metrics(np.ones(len(y))),
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


def campaign_value(y: np.ndarray, contacted: np.ndarray, costs) -> float:
    """Expected money from contacting these customers: a contact costs, and with chance `save_chance` keeps one who
    would have left."""
    return float(gain_per_customer(y, contacted, costs).sum())


def gain_per_customer(y: np.ndarray, contacted: np.ndarray, costs) -> np.ndarray:
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
    table = pd.DataFrame({"bin": which, "probability": p, "churn_rate": y}).groupby(
        "bin", as_index=False
    )
    return table.agg(
        probability=("probability", "mean"),
        churn_rate=("churn_rate", "mean"),
        customers=("bin", "size"),
    )


def calibration_error(y: np.ndarray, p: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width (Naeini et al., AAAI 2015)."""
    bins = calibration_bins(y, p)
    return float((abs(bins.probability - bins.churn_rate) * bins.customers).sum() / len(y))


COMPARED_METRICS = (*MAIN_METRICS, "value_per_customer")  # what a person compares
