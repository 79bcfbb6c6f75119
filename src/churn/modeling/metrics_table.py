"""The metrics of an evaluation as a table that people read."""

from churn.modeling.baseline import CHURN_RATE_PREFIX, PREFIX

MONEY = "value"  # the beginning of the names of metrics in money
NOT_IN_TABLE = ("suspicious_columns",)  # a warning names them
BASELINES = "logistic regression   churn rate"


def metrics_table(results: dict[str, float]) -> str:
    """The metrics of the test split, with the intervals of those that have one, beside those of
    logistic regression and of the churn rate alone.
    """
    columns = (PREFIX, CHURN_RATE_PREFIX)
    lines = [f"{'test split':<20} {'value':>10}   {'95 % interval':<16}   {BASELINES}"]
    for name, value in results.items():
        if name.startswith(columns) or name.endswith(("_low", "_high")) or name in NOT_IN_TABLE:
            continue
        digits = 2 if name.startswith(MONEY) else 4
        line = f"{name:<20} {value:>10,.{digits}f}   {_interval(results, name):<16}"
        for prefix, width in zip(columns, (19, 10), strict=True):
            other = ""
            if prefix + name in results:
                other = f"{results[prefix + name]:.4f}"
            line += f"   {other:>{width}}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _interval(results: dict[str, float], name: str) -> str:
    """The 95 % interval of a metric, "" where it has none."""
    low, high = f"{name}_low", f"{name}_high"
    if low not in results:
        return ""
    return f"{results[low]:.4f} to {results[high]:.4f}"
