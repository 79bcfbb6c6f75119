"""Why a customer's score is what it is: the features that move it most."""

import numpy as np
import pandas as pd

from churn.data.contract import CONTRIBUTION_COLUMNS, REASON_COLUMNS, Contract


def strongest_reasons(
    rows: pd.DataFrame, contributions: pd.DataFrame, contract: Contract
) -> dict[str, np.ndarray]:
    """The features that move each customer's score most, the strongest first.

    Args:
        rows: customers with their derived features.
        contributions: of the features, and the bias (booster.feature_contributions).

    Returns:
        reason_1 ("contract = One year"), contribution_1 (what it adds to the log odds of churn, by
        TreeSHAP), reason_2 and so on, each of the shape (rows,).
    """
    strengths = contributions.to_numpy()[:, :-1]  # without the bias
    order = np.argsort(-np.abs(strengths), axis=1, kind="stable")

    texts = []
    for column in contract.model_columns:
        texts.append(f"{column.label} = " + _as_text(rows[column.name], column.kind))
    reasons = np.column_stack(texts)

    every_row = np.arange(len(rows))
    columns = {}
    for rank in range(min(len(REASON_COLUMNS), order.shape[1])):
        feature = order[:, rank]
        columns[REASON_COLUMNS[rank]] = reasons[every_row, feature]
        columns[CONTRIBUTION_COLUMNS[rank]] = strengths[every_row, feature]
    return columns


def _as_text(values: pd.Series, kind: str) -> pd.Series:
    """Values as a reason names them."""
    is_known = values.notna()
    if kind == "flag":
        values = values.astype("boolean")
    return values.astype(str).where(is_known, "null")
