"""A simple model to compare with: logistic regression on the same rows and columns.

It says what the trees of XGBoost add. It is fitted, measured and thrown away: it is never written
and never registered.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.metrics import brier_score_loss, log_loss

from churn.data.contract import Contract
from churn.modeling.bootstrap import Resampling, WeightedRanking, paired_differences
from churn.modeling.encoding import encode_features, encode_labels

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

PREFIX = "baseline_"  # of the names of its metrics
CHURN_RATE_PREFIX = "churn_rate_"  # of those of the churn rate alone
MOST_ITERATIONS = 1000
# The last digits of a sum depend on the processor and on the number of threads. With this
# tolerance Newton's method ends within about 1e-12 of the solution, so that customers rank equally
# everywhere. L-BFGS, scikit-learn's default, ends about 1e-6 from it, and is no faster.
SOLVER = "newton-cg"
TOLERANCE = 1e-10
DIGITS = 9  # of the probabilities: equal customers then have equal ones


def fit_baseline(rows: pd.DataFrame, contract: Contract) -> Pipeline:
    """Fit a logistic regression (L2, C = 1).

    Numbers and flags are scaled to mean 0 and variance 1, with nulls at the median and a column of
    their own that says where they were. Texts are one-hot; a null is a category.

    Args:
        rows: customers with their labels, shape (rows, columns).

    Raises:
        UserError: as `encode_features` and `encode_labels`.
    """
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    texts = [column.name for column in contract.model_columns if column.kind == "text"]
    numbers = [column.name for column in contract.model_columns if column.kind != "text"]
    fill_nulls = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(fill_nulls, StandardScaler()), numbers),
            ("texts", OneHotEncoder(handle_unknown="ignore"), texts),
        ]
    )
    regression = LogisticRegression(solver=SOLVER, max_iter=MOST_ITERATIONS, tol=TOLERANCE)
    model = make_pipeline(columns, regression)
    return model.fit(_features(rows, contract), encode_labels(rows, contract))


def baseline_probabilities(model: Pipeline, rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """The churn probabilities that the baseline gives to customers, shape (rows,)."""
    probabilities: np.ndarray = model.predict_proba(_features(rows, contract))[:, 1]
    return probabilities.round(DIGITS)


def baseline_metrics(
    labels: np.ndarray,
    probabilities: np.ndarray,
    baseline: np.ndarray,
    churn_rate: float,
    resampling: Resampling,
) -> dict[str, float]:
    """How good the baseline is, and by how much the model is better on the same rows.

    Args:
        labels: 1.0 for a customer who churned, else 0.0; shape (rows,).
        probabilities: of the model, shape (rows,).
        baseline: probabilities of the baseline, shape (rows,).
        churn_rate: of the training rows: what somebody says who knows nothing else of a customer.

    Returns:
        The main metrics of the baseline (`baseline_roc_auc` ...); `gain_over_baseline`, the model's
        ROC AUC minus the baseline's, with its 95 % paired bootstrap interval (`_low`, `_high`); and
        log loss and Brier score of the churn rate alone (`churn_rate_log_loss` ...).
    """
    ranking = WeightedRanking(labels, baseline)
    on_all_rows = ranking.metrics(np.ones(len(labels)))
    metrics = {f"{PREFIX}{name}": value for name, value in on_all_rows.items()}

    gain, low, high = paired_differences(labels, probabilities, baseline, resampling)["roc_auc"]
    constant = np.full(len(labels), churn_rate)
    return metrics | {
        "gain_over_baseline": gain,
        "gain_over_baseline_low": low,
        "gain_over_baseline_high": high,
        f"{CHURN_RATE_PREFIX}log_loss": log_loss(labels, constant),
        f"{CHURN_RATE_PREFIX}brier": brier_score_loss(labels, constant),
    }


def in_words(metrics: Mapping[str, float]) -> str:
    """The comparison in a few words, for the output of a command."""
    gain, low, high = (metrics[f"gain_over_baseline{end}"] for end in ("", "_low", "_high"))
    baseline = metrics[f"{PREFIX}roc_auc"]
    return f"logistic regression {baseline:.4f}, difference {gain:+.4f} ({low:+.4f} to {high:+.4f})"


def _features(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Encoded features, texts as Python objects, since the one-hot encoder takes nulls only so."""
    features = encode_features(rows, contract)
    texts = {column.name: object for column in contract.features if column.kind == "text"}
    return features.astype(texts)
