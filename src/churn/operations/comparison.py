"""Compare two versions on the same test rows, as a table for the person who promotes one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from churn.data.contract import Contract
from churn.errors import UserError, amount
from churn.modeling import segments
from churn.modeling.bootstrap import Resampling, paired_differences
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import COMPARED_METRICS, gain_per_customer, point_metrics
from churn.params import Params
from churn.tracking import model_loading
from churn.tracking.unseen_rows import find_unseen_rows

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

NOTHING_IN_PRODUCTION = "nothing is in production yet, so there is nothing to compare with"


@dataclass(frozen=True)
class Measured:
    """What one version gives for the test rows."""

    probabilities: np.ndarray  # shape (rows,)
    gains: np.ndarray  # money from each customer, shape (rows,)
    metrics: dict[str, float]


def comparison_table(
    staging: ModelVersion,
    production: ModelVersion | None,
    test: pd.DataFrame,
    contract: Contract,
    params: Params,
) -> str:
    """The main metrics and the money of two versions, with the differences between them.

    A paired bootstrap gives each difference its 95 % interval. Rows that the version in production
    was trained on are left out.

    Raises:
        UserError: the version in staging is not what was registered, or cannot score these rows.
    """
    theirs, note = None, NOTHING_IN_PRODUCTION
    if production:
        try:
            unseen = find_unseen_rows(production, test, contract, params)
            theirs = _measure(production, test[unseen.is_unseen], contract, params)
            test, note = test[unseen.is_unseen], unseen.note
        except UserError as error:
            note = f"no comparison with production: {error}"

    ours = _measure(staging, test, contract, params)
    rows = amount(len(test), f"test {contract.row_noun}")
    title = f"{rows:<22} {f'staging {staging.version}':>12}"
    if theirs is None or production is None:
        lines = [f"{name:<22} {ours.metrics[name]:>12.4f}" for name in COMPARED_METRICS]
        return "\n".join([title, *lines, "", note])

    differences = paired_differences(
        encode_labels(test, contract),
        ours.probabilities,
        theirs.probabilities,
        Resampling(params.evaluate.bootstrap, params.seed),
        (ours.gains, theirs.gains),
    )
    title += f" {f'production {production.version}':>14} {'difference':>12}   95 % interval"
    lines = [title]
    if note:
        lines = [f"Compared {note}.", title]
    for name in COMPARED_METRICS:
        difference, low, high = differences[name]
        values = f"{ours.metrics[name]:>12.4f} {theirs.metrics[name]:>14.4f}"
        lines.append(f"{name:<22} {values} {difference:>+12.4f}   {low:+.4f} to {high:+.4f}")
    if params.evaluate.segments:
        both = (ours.probabilities, theirs.probabilities)
        lines += ["", *worse_segments(test, contract, both, params)]
    return "\n".join(lines)


def worse_segments(
    test: pd.DataFrame,
    contract: Contract,
    probabilities: tuple[np.ndarray, np.ndarray],
    params: Params,
) -> list[str]:
    """The segments for which staging is worse than production, beyond chance, as lines of text.

    Args:
        probabilities: of staging and of production, each of the shape (rows,).
    """
    resampling = Resampling(params.evaluate.bootstrap, params.seed)
    columns = params.evaluate.segments or []
    table = segments.segment_differences(test, contract, columns, probabilities, resampling)
    worse = table[table["high"] < 0].sort_values("difference")
    if worse.empty:
        return [f"No segment by {', '.join(columns)} is worse than in production, beyond chance."]
    lines = ["Segments with a worse ROC AUC than in production, beyond chance:"]
    for row in worse.to_dict("records"):
        size = amount(row["customers"], "customer")
        name = f"{row['column']} = {row['segment']} ({size})"
        lines.append(
            f"  {name}: {row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})"
        )
    return lines


def _measure(
    version: ModelVersion, test: pd.DataFrame, contract: Contract, params: Params
) -> Measured:
    predictor = model_loading.load_predictor(version)
    scores = model_loading.score_rows(version, predictor, test)
    labels = encode_labels(test, contract)
    probabilities = scores["churn_probability"].to_numpy()
    costs = params.evaluate.costs
    threshold = float(version.tags["threshold"])
    return Measured(
        probabilities,
        gain_per_customer(labels, scores["churn"].to_numpy(), costs),
        point_metrics(labels, probabilities, threshold, costs),
    )
