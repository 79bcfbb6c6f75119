"""Decide whether a model may be registered: metrics in, a decision with its reasons out."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from churn.errors import amount
from churn.params import Gate


@dataclass(frozen=True)
class Comparison:
    """How a model compares with the one in production, on test rows that neither was trained on."""

    # Its ROC AUC minus production's, with the 95 % interval of a paired bootstrap; None if they
    # cannot be compared.
    difference: tuple[float, float, float] | None
    note: str  # why they cannot be compared; or which rows were left out, "" for none
    by_segment: pd.DataFrame | None = None  # segments.segment_differences, where it is asked for


@dataclass(frozen=True)
class Decision:
    """Whether a model passes, and why."""

    failures: list[str]  # why it does not
    comparison: str  # how the model compares with the one in production

    @property
    def passed(self) -> bool:
        """Whether there is nothing against it."""
        return not self.failures

    def __str__(self) -> str:
        verdict = "passed" if self.passed else f"FAILED: {'; '.join(self.failures)}"
        return f"{verdict} ({self.comparison})"


def missed_thresholds(metrics: Mapping[str, float], gate: Gate) -> list[str]:
    """The thresholds of the section `gate`, but for those on production, that test metrics miss."""
    failures = []
    if metrics["roc_auc"] < gate.min_roc_auc:
        failures.append(
            f"roc_auc {metrics['roc_auc']:.4f} is below gate.min_roc_auc {gate.min_roc_auc:g}"
        )
    if metrics["calibration_error"] > gate.max_calibration_error:
        failures.append(
            f"calibration_error {metrics['calibration_error']:.4f} is above "
            f"gate.max_calibration_error {gate.max_calibration_error:g}"
        )
    wanted = gate.min_gain_over_baseline
    if wanted is not None and metrics["gain_over_baseline_low"] < wanted:
        failures.append(
            f"roc_auc {metrics['gain_over_baseline']:+.4f} against logistic regression may be less "
            f"than gate.min_gain_over_baseline {wanted:g}"
        )
    worst = gate.min_backtest_auc
    if worst is not None and metrics["backtest_worst_roc_auc"] < worst:
        failures.append(
            f"roc_auc {metrics['backtest_worst_roc_auc']:.4f} in the worst period of the backtest "
            f"is below gate.min_backtest_auc {worst:g}"
        )
    if gate.refuse_leakage and metrics["suspicious_columns"]:
        columns = amount(int(metrics["suspicious_columns"]), "column")
        failures.append(f"{columns} may know the future, or be an id (gate.refuse_leakage)")
    return failures


def worse_segments(segments: pd.DataFrame, gate: Gate) -> list[str]:
    """The segments that lose more than `gate.max_segment_auc_drop`, and more than chance explains.

    This is no test of non-inferiority, as `decide` makes for all customers together: of many small
    segments, the interval of one would always reach below the limit, and no model would pass.

    Args:
        segments: segments.segment_differences between the model and production.
    """
    most = gate.max_segment_auc_drop
    if most is None:
        return []
    failures = []
    large = segments[segments["customers"] >= gate.min_segment_rows]
    for row in large.to_dict("records"):
        if row["difference"] < -most and row["high"] < 0:
            interval = f"{row['low']:+.4f} to {row['high']:+.4f}"
            failures.append(
                f"worse than production by more than gate.max_segment_auc_drop {most:g} for "
                f"{row['column']} = {row['segment']}: roc_auc {row['difference']:+.4f} ({interval})"
            )
    return failures


def decide(metrics: Mapping[str, float], gate: Gate, comparison: Comparison) -> Decision:
    """Judge a model by its test metrics and by its comparison with production.

    The comparison is a test of non-inferiority: the whole interval must lie above
    -gate.max_auc_drop. A lucky point estimate does not pass, and neither does a series of small
    losses that each look like noise. Where the two cannot be compared, only the thresholds decide.

    Args:
        metrics: of the test split.
        gate: the section of params.yaml.
    """
    failures = missed_thresholds(metrics, gate)
    if comparison.difference is None:
        return Decision(failures, comparison.note)
    point, low, high = comparison.difference
    if low < -gate.max_auc_drop:
        failures.append(
            f"may be worse than production by more than gate.max_auc_drop {gate.max_auc_drop:g}"
        )
    if comparison.by_segment is not None:
        failures += worse_segments(comparison.by_segment, gate)
    text = f"roc_auc {point:+.4f} against production, 95 % interval {low:+.4f} to {high:+.4f}"
    if comparison.note:
        text += f", {comparison.note}"
    return Decision(failures, text)
