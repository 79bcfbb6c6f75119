"""Which of today's test rows a registered version has not seen in its training or validation.

After another `seed`, other shares or another way to split, a part of today's test rows was trained
on by the version in production, which would look too good on them. A version's tags say how its
table was split, and the same pure function says where that puts a row of today.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from churn import paths
from churn.data.contract import Contract
from churn.data.customer_split import assign_splits
from churn.errors import UserError
from churn.files import parse_yaml
from churn.modeling.encoding import encode_labels
from churn.modeling.segments import FEWEST_CUSTOMERS, FEWEST_OF_A_KIND, is_small
from churn.params import Params

if TYPE_CHECKING:  # MLflow takes two seconds to import, and evaluate has other work to begin with
    from mlflow.entities.model_registry import ModelVersion

TRAINED_UNTIL = "trained_until"  # the tag of a version: the latest period that it has seen
NEEDED = ("seed", "split.valid", "split.test")
DECIDING = ("seed", "split.by", "split.valid", "split.test", "split.gap")  # where a row belongs


@dataclass(frozen=True)
class UnseenRows:
    """The rows of the test split that a version has not seen."""

    is_unseen: np.ndarray  # shape (rows,)
    note: str  # which rows are left out, and why; "" if none is


def trained_until_tag(contract: Contract) -> dict[str, str]:
    """The tag with the latest period of the training and the validation split of the workspace.

    Returns:
        No tag, if the table has no periods.
    """
    if contract.time is None:
        return {}
    latest = []
    for name in ("train", "valid"):
        latest.append(pd.read_parquet(paths.SPLITS[name], columns=[contract.time]).max().iloc[0])
    return {TRAINED_UNTIL: str(max(latest))}


def find_unseen_rows(
    version: ModelVersion, test: pd.DataFrame, contract: Contract, params: Params
) -> UnseenRows:
    """The test rows on which a version can be compared with a model of today's splits.

    A row counts as seen if the version's split puts its customer into training or validation (by
    customer), unless its period is later than those that the version was trained on. So a customer
    who is new since then may count as seen, and never the other way round.

    Raises:
        UserError: with the reason why the version cannot be compared: too few rows are left, or it
            cannot be told which rows it has seen.
    """
    recorded = recorded_parameters(version)
    is_seen = _seen_rows(version, recorded, test, contract)
    if not is_seen.any():
        return UnseenRows(~is_seen, "")

    left, everything = int((~is_seen).sum()), len(test)
    reason = f"version {version.version} was trained on the others"
    changes = _changes(recorded, params)
    if changes:
        reason += f" ({changes})"
    labels = encode_labels(test[~is_seen], contract)
    if is_small(labels):
        churned = f"{labels.sum():.0f} of them churned"
        raise UserError(
            f"{left:,} of {everything:,} test rows ({churned}) are too few to compare with "
            f"production, where {FEWEST_CUSTOMERS} are needed and {FEWEST_OF_A_KIND} of each kind: "
            f"{reason}"
        )
    return UnseenRows(~is_seen, f"on {left:,} of {everything:,} test rows: {reason}")


def recorded_parameters(version: ModelVersion) -> dict[str, object]:
    """The parameters with which a version was made, by dotted name; some may be missing."""
    if "params" in version.tags:
        tagged: dict[str, object] = json.loads(version.tags["params"])
        return tagged
    import mlflow

    try:
        logged = mlflow.get_run(version.run_id or "").data.params
    except mlflow.MlflowException:  # the run has been deleted for good
        return {}
    return {name: parse_yaml(text) for name, text in logged.items()}


def _seen_rows(
    version: ModelVersion, recorded: dict[str, object], test: pd.DataFrame, contract: Contract
) -> np.ndarray:
    """Whether a version was trained on each row, shape (rows,).

    Raises:
        UserError: its tags do not say so.
    """
    is_seen = np.ones(len(test), dtype=bool)
    by = recorded.get("split.by", "customer")  # as all earlier releases did
    id_column = recorded.get("data.id", contract.id)
    is_told = by == "time" or (id_column in test and all(name in recorded for name in NEEDED))
    if is_told and by == "customer":
        seed, valid_share, test_share = (recorded[name] for name in NEEDED)
        splits = assign_splits(test[id_column].tolist(), seed, valid_share, test_share)  # type: ignore[arg-type]
        is_seen = splits != "test"

    is_later = _later_rows(version, recorded, test, contract)
    if is_later is not None:
        return is_seen & ~is_later
    if by == "time" or not is_told:
        raise UserError(
            f"version {version.version} does not say which of these test rows it was trained on, "
            "so it is not compared"
        )
    return is_seen


def _later_rows(
    version: ModelVersion, recorded: dict[str, object], test: pd.DataFrame, contract: Contract
) -> np.ndarray | None:
    """Whether the period of each row is later than all that a version was trained on.

    Returns:
        Shape (rows,); None, if that cannot be told.
    """
    until = version.tags.get(TRAINED_UNTIL)
    if until is None or contract.time is None or contract.time != recorded.get("data.time"):
        return None
    periods = test[contract.time]
    are_dates = pd.api.types.is_datetime64_any_dtype(periods)
    were_dates = ":" in until  # "2026-11-30 00:00:00"; a number is "202611"
    if are_dates != were_dates:
        return None
    latest = pd.Timestamp(until) if were_dates else int(until)
    return (periods > latest).to_numpy()


def _changes(recorded: dict[str, object], params: Params) -> str:
    """How the split of a version differs from today's: "seed 42 then, 43 now"."""
    today = params.flat()
    texts = []
    for name in DECIDING:
        before = recorded.get(name, today[name])
        if before != today[name]:
            texts.append(f"{name} {before} then, {today[name]} now")
    return ", ".join(texts)
