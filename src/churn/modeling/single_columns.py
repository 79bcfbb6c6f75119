"""How well each column alone separates customers who churn: a column that knows the future stands
out.

A column can hold what is known only after a customer has left: an end date, a reason, a last bill.
A model with it is good on paper alone.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from churn import paths
from churn.data.contract import Contract
from churn.modeling.encoding import encode_features, encode_labels
from churn.modeling.plot_files import read_plot_table

BINS = 20  # of a number with more different values
NULL = -1  # the group of the nulls
NEARLY_ALL = 0.95  # of the customers: a whole number with so many different values may be an id


def separation_table(train: pd.DataFrame, test: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The ROC AUC of each column alone, the highest first.

    A customer's score is the churn rate of the training customers in the same group: the same
    category or flag, one of 20 equal shares of a number, or a null. So a column is found whose
    middle values churn, and one that is null for one kind of customer alone.

    Args:
        train: customers with their labels, from whom the churn rates are taken.
        test: customers with their labels, on whom they are measured.

    Returns:
        The columns `feature`, `roc_auc`, and `like_an_id`, 1 for a whole number with another value
        for nearly each training customer, else 0; one row per feature.
    """
    train_labels, test_labels = encode_labels(train, contract), encode_labels(test, contract)
    train_features, test_features = (encode_features(rows, contract) for rows in (train, test))
    whole_numbers = {column.name: column.dtype == "int64" for column in contract.features}
    rows = []
    for name in train_features:
        groups, test_groups = _groups(train_features[name], test_features[name])
        rates = pd.Series(train_labels).groupby(groups).mean()
        scores = pd.Series(test_groups).map(rates).fillna(train_labels.mean())
        row = {"feature": name, "roc_auc": roc_auc_score(test_labels, scores)}
        different = train_features[name].nunique() / len(train)
        is_like_an_id = whole_numbers.get(name, False) and different >= NEARLY_ALL
        rows.append({**row, "like_an_id": int(is_like_an_id)})
    table = pd.DataFrame(rows)
    return table.sort_values("roc_auc", ascending=False, kind="stable", ignore_index=True)


def count_suspicious(table: pd.DataFrame, limit: float) -> int:
    """How many columns alone reach a ROC AUC of `limit`, or look like an id."""
    return int(((table["roc_auc"] >= limit) | (table["like_an_id"] == 1)).sum())


def describe_suspicion(table: pd.DataFrame, limit: float) -> str:
    """A sentence about the columns that may know the future, one about those that look like an id;
    "" if there are none.
    """
    sentences = []
    strong = table[table["roc_auc"] >= limit]
    if len(strong):
        columns = zip(strong["feature"], strong["roc_auc"], strict=True)
        listed = ", ".join(f"{name} ({auc:.3f})" for name, auc in columns)
        sentences.append(
            f"columns that alone reach a ROC AUC of {limit:g} (evaluate.suspicious_auc): {listed}; "
            "are they known before a customer leaves?"
        )
    like_ids = table.loc[table["like_an_id"] == 1, "feature"]
    if len(like_ids):
        sentences.append(
            f"whole numbers with another value for nearly each customer: {', '.join(like_ids)}; an "
            "id says nothing of other customers, drop it from table and contract"
        )
    return ". ".join(sentences)


def read_suspicion(limit: float) -> str:
    """What `describe_suspicion` says of the workspace's evaluation; "" where it has none."""
    path = paths.PLOTS / "single_columns.csv"
    if not path.exists():
        return ""
    return describe_suspicion(read_plot_table(path), limit)


def _groups(train: pd.Series, test: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """A group number for each row, by the groups of the training rows."""
    if isinstance(train.dtype, pd.CategoricalDtype):  # its codes are groups, and -1 is a null
        return train.cat.codes.to_numpy(), test.cat.codes.to_numpy()
    edges = np.unique(train.dropna())
    if len(edges) > BINS:
        edges = np.unique(np.quantile(train.dropna(), np.arange(1, BINS) / BINS))
    groups = []
    for values in (train, test):
        numbers = np.searchsorted(edges, values.to_numpy(), side="right")
        groups.append(np.where(values.isna(), NULL, numbers))
    return groups[0], groups[1]
