"""May this model become a candidate? A pure decision: numbers in, a verdict with its reasons out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Decision:
    """`failures` names every threshold that was missed; `compared` says how the model stands to
    production.
    """

    failures: list[str]
    compared: str

    @property
    def passed(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        verdict = "passed" if self.passed else "FAILED: " + "; ".join(self.failures)
        return f"{verdict} ({self.compared})"


def missed_thresholds(metrics: dict[str, float], limits) -> list[str]:
    """The absolute thresholds (`gate` in params.yaml) that these test metrics miss."""
    failures = []
    if metrics["roc_auc"] < limits.min_roc_auc:
        failures.append(
            f"roc_auc {metrics['roc_auc']:.4f} is below gate.min_roc_auc {limits.min_roc_auc:g}"
        )
    if metrics["calibration_error"] > limits.max_calibration_error:
        failures.append(
            f"calibration_error {metrics['calibration_error']:.4f} is above "
            f"gate.max_calibration_error {limits.max_calibration_error:g}"
        )
    return failures


def decide(
    metrics: dict[str, float], limits, difference: tuple[float, float, float] | None, without: str
) -> Decision:
    """Judge a candidate.

    Args:
        metrics: the candidate's test metrics.
        limits: the `gate` section of params.yaml.
        difference: its ROC AUC minus production's on the same test rows, with the 95 % interval of
            a paired bootstrap; None when they cannot be compared, and only the thresholds decide.
        without: why they cannot be compared.

    The comparison is a non-inferiority test: the whole interval must lie above -gate.max_auc_drop.
    A lucky point estimate does not pass, and neither does a row of small losses that each look like
    noise.
    """
    failures = missed_thresholds(metrics, limits)
    if difference is None:
        return Decision(failures, without)
    point, low, high = difference
    compared = f"roc_auc {point:+.4f} against production, 95 % interval {low:+.4f} to {high:+.4f}"
    if low < -limits.max_auc_drop:
        failures.append(
            f"may be worse than production by more than gate.max_auc_drop {limits.max_auc_drop:g}"
        )
    return Decision(failures, compared)
