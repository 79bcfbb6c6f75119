"""The metrics of an evaluation as a table that people read."""

from collections.abc import Mapping

from churn.modeling.baseline import CHURN_RATE_PREFIX, PREFIX

MONEY = "value"  # the beginning of the names of metrics in money
NOT_IN_TABLE = ("suspicious_columns",)  # a warning names them
BASELINE_PREFIXES = (PREFIX, CHURN_RATE_PREFIX)
BASELINES = "logistic regression   churn rate"


def metrics_table(results: dict[str, float]) -> str:
    """The metrics of the test split, with the intervals of those that have one, beside those of
    logistic regression and of the churn rate alone.
    """
    lines = [f"{'test split':<20} {'value':>10}   {'95 % interval':<16}   {BASELINES}"]
    for name, value in results.items():
        if not has_own_row(name):
            continue
        line = f"{name:<20} {value_text(name, value):>10}   {interval_text(results, name):<16}"
        for prefix, width in zip(BASELINE_PREFIXES, (19, 10), strict=True):
            other = ""
            if prefix + name in results:
                other = f"{results[prefix + name]:.4f}"
            line += f"   {other:>{width}}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def has_own_row(name: str) -> bool:
    """Whether a metric is a row of a table, and no part of another one's row."""
    is_part = name.startswith(BASELINE_PREFIXES) or name.endswith(("_low", "_high"))
    return not is_part and name not in NOT_IN_TABLE


def value_text(name: str, value: float, sign: str = "") -> str:
    """A metric as people read it: money with two digits, the others with four.

    Args:
        sign: "+" for a difference.
    """
    digits = 2 if name.startswith(MONEY) else 4
    return f"{value:{sign},.{digits}f}"


def interval_text(results: Mapping[str, float], name: str) -> str:
    """The 95 % interval of a metric, "" where it has none."""
    low, high = f"{name}_low", f"{name}_high"
    if low not in results:
        return ""
    return f"{results[low]:.4f} to {results[high]:.4f}"
