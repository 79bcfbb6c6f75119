"""Point metrics of a classifier: discrimination, calibration, and its value in money.

Labels are 1.0 for a customer who churned and 0.0 for one who stayed; probabilities are those of
churn. Both have the shape (rows,). Confidence intervals are in bootstrap.py.
"""

import numpy as np
import pandas as pd
from sklearn import metrics as sklearn_metrics

from churn.modeling.bootstrap import MAIN_METRICS, riskiest_first
from churn.params import Costs

COMPARED_METRICS = (*MAIN_METRICS, "value_per_customer")  # what tables of several models show


def point_metrics(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, costs: Costs
) -> dict[str, float]:
    """Compute every metric of these customers.

    Args:
        threshold: customers with at least this probability are contacted.

    Returns:
        roc_auc, average_precision, log_loss (nats), brier, calibration_error, lift_top_decile,
        recall_top_decile, threshold, precision, recall, f1, and value and value_per_customer in
        the currency of `costs`.
    """
    contacted = probabilities >= threshold
    precision, recall, f1, _ = sklearn_metrics.precision_recall_fscore_support(
        labels, contacted, average="binary", zero_division=0
    )
    value = campaign_value(labels, contacted, costs)
    top_decile = labels[riskiest_first(probabilities)][: int(np.ceil(len(labels) / 10))]

    return {
        "roc_auc": sklearn_metrics.roc_auc_score(labels, probabilities),
        "average_precision": sklearn_metrics.average_precision_score(labels, probabilities),
        "log_loss": sklearn_metrics.log_loss(labels, probabilities),
        "brier": sklearn_metrics.brier_score_loss(labels, probabilities),
        "calibration_error": calibration_error(labels, probabilities),
        "lift_top_decile": top_decile.mean() / labels.mean(),
        "recall_top_decile": top_decile.sum() / labels.sum(),
        "threshold": threshold,
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "value": value,
        "value_per_customer": value / len(labels),
    }


def campaign_value(labels: np.ndarray, contacted: np.ndarray, costs: Costs) -> float:
    """Expected money from contacting these customers.

    A contact costs `costs.contact`, and with the probability `costs.save_chance` it keeps a
    customer who would have left.
    """
    return float(gain_per_customer(labels, contacted, costs).sum())


def gain_per_customer(labels: np.ndarray, contacted: np.ndarray, costs: Costs) -> np.ndarray:
    """Expected money from each customer, 0 from those who are not contacted; shape (rows,)."""
    saved = labels * costs.save_chance * costs.saved_customer
    return contacted * (saved - costs.contact)


def best_threshold(labels: np.ndarray, probabilities: np.ndarray, costs: Costs) -> float:
    """The decision threshold with the highest campaign value on these customers.

    Elkan, "The Foundations of Cost-Sensitive Learning", IJCAI 2001, with the observed value in
    place of the expected one.

    Returns:
        The threshold, rounded down to six digits so that it reads the same everywhere; 1.0, where
        nobody is contacted, if no contact pays.
    """
    order = riskiest_first(probabilities)
    everybody = np.ones(len(labels))
    values = np.cumsum(gain_per_customer(labels[order], everybody, costs))

    # Customers with equal probabilities are contacted together, so only the last of them counts.
    is_last = np.append(np.diff(probabilities[order]) != 0, True)
    values = np.where(is_last, values, -np.inf)

    best = int(np.argmax(values))
    if values[best] <= 0:
        return 1.0
    return float(np.floor(probabilities[order][best] * 1e6) / 1e6)


def calibration_bins(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """Mean probability, churn rate and number of customers of each non-empty bin of equal width.

    The means are those of scikit-learn's `calibration_curve`, which gives no numbers of customers.
    """
    numbers = np.minimum((probabilities * bins).astype(int), bins - 1)
    rows = pd.DataFrame({"bin": numbers, "probability": probabilities, "churn_rate": labels})
    return rows.groupby("bin", as_index=False).agg(
        probability=("probability", "mean"),
        churn_rate=("churn_rate", "mean"),
        customers=("bin", "size"),
    )


def calibration_error(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Expected calibration error over ten bins of equal width (Naeini et al., AAAI 2015)."""
    bins = calibration_bins(labels, probabilities)
    gaps = (bins.probability - bins.churn_rate).abs()
    return float((gaps * bins.customers).sum() / len(labels))
