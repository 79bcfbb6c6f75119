"""Draw the attribution of a change as a waterfall chart."""

import textwrap
from pathlib import Path

import numpy as np

from churn.forensics.causes import Cause

END, REAL_GAIN, REAL_LOSS, NOISE = "tab:blue", "tab:green", "tab:red", "lightgray"
LABEL_WIDTH = 36  # characters per line: the names of many files leave no room for the bars


def draw_waterfall(metric: str, both: tuple[float, float], causes: list[Cause], path: Path) -> None:
    """Draw how the causes lead from A's metric to B's, as a PNG; bars within noise are grey."""
    from matplotlib.figure import Figure

    contributions = [cause.contribution for cause in causes]
    levels = both[0] + np.cumsum([0.0, *contributions])  # before and after each cause
    low, high = min(*both, *levels), max(*both, *levels)
    margin = max(high - low, 0.001) * 0.25
    left = low - margin
    last = len(causes) + 1

    figure = Figure(figsize=(9, 1.6 + 0.45 * (len(causes) + 2)), layout="constrained")
    axes = figure.subplots()
    axes.barh([0, last], [both[0] - left, both[1] - left], left=left, color=END)
    for row, cause in enumerate(causes, start=1):
        bar = {"left": levels[row - 1], "color": _colour(cause)}
        axes.barh(row, cause.contribution, xerr=cause.noise, ecolor="gray", capsize=3, **bar)
        text = f"{cause.contribution:+.4f}"
        axes.text(high + margin * 0.9, row, text, va="center", ha="right", fontsize=9)

    names = [textwrap.fill(cause.what, LABEL_WIDTH) for cause in causes]
    labels = [f"A: {both[0]:.4f}", *names, f"B: {both[1]:.4f}"]
    axes.set_yticks(range(last + 1), labels)
    axes.set(xlim=(left, high + margin), xlabel=metric.replace("_", " "))
    axes.invert_yaxis()
    figure.suptitle(
        "From A to B; whiskers: one standard deviation over seeds; grey: within noise", fontsize=10
    )
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, dpi=100, format="png")
    part.replace(path)


def _colour(cause: Cause) -> str:
    if cause.within_noise:
        return NOISE
    return REAL_GAIN if cause.contribution > 0 else REAL_LOSS
