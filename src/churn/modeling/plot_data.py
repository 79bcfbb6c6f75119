"""The data behind every plot of the test split, as small tables that DVC tracks as CSV files."""

import numpy as np
import pandas as pd
from sklearn import metrics as sklearn_metrics

from churn.modeling.bootstrap import INTERVAL, Resampling, bootstrap_weights, riskiest_first
from churn.modeling.metrics import calibration_bins, gain_per_customer
from churn.params import Costs

POINTS = 500  # at most, of a curve: enough for the eye, small enough for a diff and a web page
OUTCOMES = ("churned", "stayed")
DECISIONS = ("contact", "no contact")


def plot_tables(
    labels: np.ndarray, probabilities: np.ndarray, threshold: float, contributions: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Make the tables of the plots that need no more than this, by the name of the plot.

    evaluate.py adds those of value, single columns, segments and backtest.

    Args:
        labels: 1.0 for a customer who churned, else 0.0; shape (rows,).
        probabilities: of churn, shape (rows,).
        threshold: customers with at least this probability are contacted.
        contributions: TreeSHAP values of the same rows, shape (rows, features + 1); the last column
            is the bias.
    """
    riskiest = contributions.iloc[int(np.argmax(probabilities))]
    return {
        "roc": roc_table(labels, probabilities),
        "precision_recall": precision_recall_table(labels, probabilities),
        "calibration": calibration_table(labels, probabilities),
        "gain": gain_table(labels, probabilities),
        "confusion": confusion_table(labels, probabilities >= threshold),
        "importance": importance_table(contributions),
        "explanation": explanation_table(riskiest),
    }


def roc_table(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """The ROC curve, and beside it the diagonal of a model that guesses."""
    false_positive_rate, true_positive_rate, _ = sklearn_metrics.roc_curve(
        labels, probabilities, drop_intermediate=False
    )
    curve = {
        "false_positive_rate": false_positive_rate,
        "true_positive_rate": true_positive_rate,
        "guessing": false_positive_rate,
    }
    return _thin_out(pd.DataFrame(curve))


def precision_recall_table(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Precision over recall, from the highest threshold down."""
    precision, recall, _ = sklearn_metrics.precision_recall_curve(labels, probabilities)
    # scikit-learn ends with a point of its own, recall 0 and precision 1, which no threshold has.
    curve = {"recall": recall[:-1][::-1], "precision": precision[:-1][::-1]}
    return _thin_out(pd.DataFrame(curve))


def calibration_table(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Churn rate over mean probability, and beside it the diagonal of a calibrated model."""
    bins = calibration_bins(labels, probabilities).drop(columns="bin")
    return bins.assign(calibrated=bins["probability"])


def gain_table(labels: np.ndarray, probabilities: np.ndarray) -> pd.DataFrame:
    """Share of all churners among the customers contacted first, the riskiest first."""
    order = riskiest_first(probabilities)
    churners_found = np.append(0, np.cumsum(labels[order]) / labels.sum())
    customers = np.linspace(0, 1, len(churners_found))
    curve = {"customers": customers, "churners_found": churners_found, "guessing": customers}
    return _thin_out(pd.DataFrame(curve))


def value_table(
    labels: np.ndarray, probabilities: np.ndarray, costs: Costs, resampling: Resampling
) -> pd.DataFrame:
    """The expected value per customer over the share of the customers contacted, the riskiest
    first, with a 95 % bootstrap interval.

    Returns:
        The columns customers (a share), value, value_low and value_high, in the currency of
        `costs`; one row for each percent.
    """
    order = riskiest_first(probabilities)
    gains = gain_per_customer(labels, np.ones(len(labels)), costs)[order]
    shares = np.linspace(0, 1, 101)

    def curve(weights: np.ndarray) -> np.ndarray:
        """The value at each share, where customers count as often as they were drawn."""
        customers = np.append(0, np.cumsum(weights)) / weights.sum()
        value = np.append(0, np.cumsum(weights * gains)) / weights.sum()
        return np.interp(shares, customers, value)

    resamples = [curve(weights[order]) for weights in bootstrap_weights(labels, resampling)]
    low, high = np.quantile(resamples, INTERVAL, axis=0)
    value = curve(np.ones(len(labels)))
    table = {"customers": shares, "value": value, "value_low": low, "value_high": high}
    return pd.DataFrame(table)


def confusion_table(labels: np.ndarray, contacted: np.ndarray) -> pd.DataFrame:
    """How many customers have each outcome and each decision, one row per combination."""
    rows = []
    for outcome, is_outcome in zip(OUTCOMES, (labels == 1, labels == 0), strict=True):
        for decision, is_decision in zip(DECISIONS, (contacted, ~contacted), strict=True):
            customers = int((is_outcome & is_decision).sum())
            rows.append({"outcome": outcome, "decision": decision, "customers": customers})
    return pd.DataFrame(rows)


def importance_table(contributions: pd.DataFrame) -> pd.DataFrame:
    """Mean absolute contribution of each feature to the log odds, the most important first."""
    features = contributions.iloc[:, :-1]  # without the bias
    importance = features.abs().mean().rename_axis("feature").reset_index(name="importance")
    return importance.sort_values("importance", ascending=False, kind="stable")


def explanation_table(contributions: pd.Series) -> pd.DataFrame:
    """The contributions to one customer's log odds, the largest first."""
    table = contributions.rename_axis("feature").reset_index(name="log_odds")
    order = table["log_odds"].abs().argsort(kind="stable")
    return table.iloc[order[::-1]]


def _thin_out(curve: pd.DataFrame) -> pd.DataFrame:
    """At most POINTS rows of a curve, evenly spread, with its first and its last."""
    count = min(POINTS, len(curve))
    rows = np.linspace(0, len(curve) - 1, count).round().astype(int)
    return curve.iloc[np.unique(rows)]
