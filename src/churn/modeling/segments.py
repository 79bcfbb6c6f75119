"""Metrics for groups of customers: a good average can hide a group for which a model fails."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from churn import paths
from churn.data.contract import Column, Contract
from churn.modeling.bootstrap import Resampling, bootstrap_intervals, paired_differences
from churn.modeling.encoding import encode_features, encode_labels
from churn.modeling.metrics import calibration_error

FILE = paths.PLOTS / "segments.csv"
COLUMNS = [
    "column",
    "segment",
    "customers",
    "churn_rate",
    "contact_rate",
    "precision",
    "recall",
    "calibration_error",
    "roc_auc",
    "roc_auc_low",
    "roc_auc_high",
]
FEWEST_CUSTOMERS = 100  # of a segment whose metrics are given
FEWEST_OF_A_KIND = 20  # customers who churned, and who stayed
MOST_VALUES = 5  # of a number, as segments of their own; of more, four equal shares


def segment_table(
    test: pd.DataFrame,
    contract: Contract,
    columns: list[str],
    probabilities: np.ndarray,
    threshold: float,
    resampling: Resampling,
) -> pd.DataFrame:
    """Measure the model on each group of the test customers.

    A text and a flag have a segment for each value, a number with more than five values one for
    each quarter of the customers; nulls are a segment. ROC AUC and its interval are missing where a
    segment has fewer than 100 customers, or fewer than 20 who churned or who stayed.

    Args:
        columns: names of features.
        probabilities: of the test customers, shape (rows,).
        threshold: customers with at least this probability are contacted.

    Returns:
        The columns COLUMNS, one row per segment.
    """
    labels = encode_labels(test, contract)
    contacted = probabilities >= threshold
    rows = []
    for name, segment, is_in in _segments(test, contract, columns):
        chosen = labels[is_in], probabilities[is_in], contacted[is_in]
        rows.append({"column": name, "segment": segment, **_measure(*chosen, resampling)})
    return pd.DataFrame(rows, columns=COLUMNS)


def segment_differences(
    test: pd.DataFrame,
    contract: Contract,
    columns: list[str],
    probabilities: tuple[np.ndarray, np.ndarray],
    resampling: Resampling,
) -> pd.DataFrame:
    """How much better or worse one model is than another for each group of the test customers.

    Segments that are too small to say (`segment_table`) are left out.

    Args:
        columns: names of features.
        probabilities: of the first and of the second model, each of the shape (rows,).

    Returns:
        The columns column, segment, customers, and difference, low and high: the ROC AUC of the
        first model minus the second's with its 95 % paired bootstrap interval.
    """
    labels = encode_labels(test, contract)
    rows = []
    for name, segment, is_in in _segments(test, contract, columns):
        if is_small(labels[is_in]):
            continue
        ours, theirs = (one[is_in] for one in probabilities)
        differences = paired_differences(labels[is_in], ours, theirs, resampling)
        difference, low, high = differences["roc_auc"]
        row = {"column": name, "segment": segment, "customers": int(is_in.sum())}
        rows.append({**row, "difference": difference, "low": low, "high": high})
    names = ["column", "segment", "customers", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def readable_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """The segments as people read them, one row each; "-" is what a small one lacks."""
    rows = []
    for row in table.to_dict("records"):
        shown = {
            "segment": f"{row['column']} = {row['segment']}",
            "customers": f"{row['customers']:,}",
            "churn rate": _percent(row["churn_rate"]),
            "contacted": _percent(row["contact_rate"]),
            "precision": _percent(row["precision"]),
            "recall": _percent(row["recall"]),
            "calibration error": "-",
            "ROC AUC": "-",
            "95 % interval": "too small",
        }
        if not pd.isna(row["roc_auc"]):
            shown["calibration error"] = f"{row['calibration_error']:.4f}"
            shown["ROC AUC"] = f"{row['roc_auc']:.4f}"
            shown["95 % interval"] = f"{row['roc_auc_low']:.4f} to {row['roc_auc_high']:.4f}"
        rows.append(shown)
    return rows


def _percent(share: float) -> str:
    return "-" if pd.isna(share) else f"{share:.1%}"


def read_segments() -> pd.DataFrame | None:
    """The segments of the workspace's evaluation, None where none were asked for."""
    if not FILE.exists():
        return None
    return pd.read_csv(
        FILE,
        dtype={"column": str, "segment": str},
        keep_default_na=False,
        na_values={name: [""] for name in COLUMNS[2:]},
    )


def _segments(
    test: pd.DataFrame, contract: Contract, columns: list[str]
) -> Iterator[tuple[str, str, np.ndarray]]:
    """The column and the name of each segment, and which rows are in it, shape (rows,)."""
    features = encode_features(test, contract)
    by_name = {column.name: column for column in contract.model_columns}
    for name in columns:
        for segment, is_in in _segments_of_column(features[name], by_name[name]):
            yield name, segment, is_in


def is_small(labels: np.ndarray) -> bool:
    """Whether a segment has too few customers, or too few of one kind, to be measured."""
    fewest = min(labels.sum(), len(labels) - labels.sum())
    return bool(len(labels) < FEWEST_CUSTOMERS or fewest < FEWEST_OF_A_KIND)


def _segments_of_column(values: pd.Series, column: Column) -> Iterator[tuple[str, np.ndarray]]:
    is_null = values.isna().to_numpy()
    known = values[~is_null]
    if column.kind == "text" or known.nunique() <= MOST_VALUES:
        for value in sorted(known.unique()):
            name = value if column.kind == "text" else f"{value:g}"
            yield str(name), (values == value).to_numpy()
    else:
        quarters = pd.qcut(known, 4, duplicates="drop")
        for quarter in quarters.cat.categories:
            low, high = known[quarters == quarter].min(), known[quarters == quarter].max()
            yield f"{low:g} to {high:g}", values.between(low, high).to_numpy()
    if is_null.any():
        yield "null", is_null


def _measure(
    labels: np.ndarray, probabilities: np.ndarray, contacted: np.ndarray, resampling: Resampling
) -> dict[str, float]:
    churners, found = labels.sum(), labels[contacted].sum()
    precision = found / contacted.sum() if contacted.any() else np.nan
    recall = found / churners if churners else np.nan
    measured = {
        "customers": len(labels),
        "churn_rate": labels.mean(),
        "contact_rate": contacted.mean(),
        "precision": precision,
        "recall": recall,
    }
    if is_small(labels):
        return measured
    intervals = bootstrap_intervals(labels, probabilities, resampling)
    return measured | {
        "calibration_error": calibration_error(labels, probabilities),
        "roc_auc": roc_auc_score(labels, probabilities),
        "roc_auc_low": intervals["roc_auc_low"],
        "roc_auc_high": intervals["roc_auc_high"],
    }
