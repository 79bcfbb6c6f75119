"""Draw plot tables (plot_data.py) as pictures for MLflow; DVC draws the same tables by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

if TYPE_CHECKING:  # matplotlib takes half a second to import; commands that draw nothing do without
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

LONGEST_LABEL = 50
MOST_BARS = 15
MODEL, REFERENCE = "tab:blue", "gray"  # one colour for what a model does, one to compare it with
RAISES, LOWERS = "tab:red", "tab:blue"  # the risk of churn


class Curve(NamedTuple):
    """How the table of a curve is drawn, of which the first two columns are x and y."""

    title: str
    x_label: str
    y_label: str
    reference: str = ""  # what a diagonal stands for
    marker: str = ""


CURVES = {
    "roc": Curve("ROC curve", "False positive rate", "True positive rate", "guessing"),
    "precision_recall": Curve(
        "Precision and recall",
        "Recall: share of the churners who are contacted",
        "Precision: share of the contacted who churn",
    ),
    "calibration": Curve(
        "Calibration",
        "Predicted churn probability (mean of the bin)",
        "Observed churn rate",
        "calibrated",
        "o",
    ),
    "gain": Curve(
        "Cumulative gain",
        "Share of the customers contacted, the riskiest first",
        "Share of the churners found",
        "guessing",
    ),
}


def draw_plot(name: str, table: pd.DataFrame) -> Figure:
    """Draw one plot table.

    Args:
        name: a key of plot_files.plot_files().
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    if name in CURVES:
        _draw_curve(axes, CURVES[name], table)
    else:
        drawers: dict[str, Callable[[Axes, pd.DataFrame], None]] = {
            "confusion": _draw_confusion,
            "importance": _draw_importance,
            "single_columns": _draw_single_columns,
            "segments": _draw_segments,
            "backtest": _draw_backtest,
            "value": _draw_value,
            "explanation": _draw_explanation,
            "training": _draw_training,
        }
        drawers[name](axes, table)
    return figure


# only operations
def draw_drift(counts: dict[str, tuple[list[str], np.ndarray, np.ndarray]]) -> Figure:
    """Draw the shares of up to six columns' bins as bars, training rows beside the batch.

    Args:
        counts: by column the labels of its bins, and how many training rows and rows of the batch
            each bin has, both of the shape (bins,).
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    all_axes = figure.subplots(2, 3).flatten()
    for axes, (name, (labels, training, batch)) in zip(all_axes, counts.items(), strict=False):
        used = np.flatnonzero(training + batch)
        positions = np.arange(len(used))
        shown = [plain_label(labels[number]) for number in used]
        axes.bar(positions - 0.2, training[used] / training.sum(), 0.4, color=REFERENCE)
        axes.bar(positions + 0.2, batch[used] / batch.sum(), 0.4, color=MODEL)
        axes.set_xticks(positions, shown, rotation=45, ha="right", fontsize=7)
        axes.set_title(plain_label(name), fontsize=10)
        axes.yaxis.set_major_formatter(_percentages())

    figure.axes[0].legend(["training", "batch"])
    for axes in all_axes[len(counts) :]:
        axes.remove()
    return figure


# end
def plain_label(text: object) -> str:
    """A user's text as matplotlib shows it literally: `$` begins no formula, and it is not long."""
    label = str(text)
    if len(label) > LONGEST_LABEL:
        label = f"{label[:LONGEST_LABEL]}..."
    return label.replace("$", r"\$")


def _draw_curve(axes: Axes, curve: Curve, table: pd.DataFrame) -> None:
    x, y = table.columns[:2]
    if curve.reference:
        axes.plot([0, 1], [0, 1], color=REFERENCE, linestyle=":", label=curve.reference)
    axes.plot(table[x], table[y], color=MODEL, marker=curve.marker, label="this model")
    axes.set(title=curve.title, xlabel=curve.x_label, ylabel=curve.y_label)
    axes.xaxis.set_major_formatter(_percentages())
    axes.yaxis.set_major_formatter(_percentages())
    if curve.reference:
        axes.legend()


def _draw_confusion(axes: Axes, table: pd.DataFrame) -> None:
    grid = table.pivot(index="outcome", columns="decision", values="customers")
    axes.imshow(grid, cmap="Blues", vmin=0)
    axes.set_xticks(range(grid.shape[1]), grid.columns)
    axes.set_yticks(range(grid.shape[0]), grid.index)
    behind = {"color": "white", "alpha": 0.6}  # readable on dark blue too
    for (row, column), count in np.ndenumerate(grid.to_numpy()):
        axes.text(column, row, f"{count:,}", ha="center", va="center", bbox=behind)
    axes.set(title="Customers by decision and outcome", xlabel="Decision", ylabel="Outcome")


def _draw_importance(axes: Axes, table: pd.DataFrame) -> None:
    top = table.head(MOST_BARS).iloc[::-1]  # matplotlib begins at the bottom
    axes.barh(range(len(top)), top["importance"], color=MODEL)
    axes.set_yticks(range(len(top)), top["feature"].map(plain_label))
    axes.set(title="Feature importance", xlabel="Mean absolute contribution (log odds)")


def _draw_segments(axes: Axes, table: pd.DataFrame) -> None:
    measured = table[table["roc_auc"] != ""].iloc[::-1]  # the others are too small
    auc, low, high = (
        pd.to_numeric(measured[name]) for name in ("roc_auc", "roc_auc_low", "roc_auc_high")
    )
    names = [f"{row.column} = {row.segment}" for row in measured.itertuples()]
    axes.errorbar(auc, range(len(auc)), xerr=[auc - low, high - auc], fmt="o", color=MODEL)
    axes.set_yticks(range(len(auc)), [plain_label(name) for name in names])
    axes.set(title="ROC AUC by segment, with 95 % intervals", xlabel="ROC AUC on the test split")


def _draw_backtest(axes: Axes, table: pd.DataFrame) -> None:
    auc = table["roc_auc"]
    errors = [auc - table["roc_auc_low"], table["roc_auc_high"] - auc]
    axes.errorbar(range(len(auc)), auc, yerr=errors, fmt="o-", color=MODEL, capsize=3)
    axes.set_xticks(range(len(auc)), table["period"].map(plain_label), rotation=45, ha="right")
    axes.set(
        title="Backtest: each period by a model of what came before it",
        xlabel="Period",
        ylabel="ROC AUC with 95 % interval",
    )


def _draw_value(axes: Axes, table: pd.DataFrame) -> None:
    axes.fill_between(
        table["customers"], table["value_low"], table["value_high"], color=MODEL, alpha=0.2
    )
    axes.plot(table["customers"], table["value"], color=MODEL, label="this model (95 % interval)")
    axes.axhline(0, color=REFERENCE, linestyle=":", label="contacting nobody")
    axes.set(
        title="Value of contacting customers",
        xlabel="Share of the customers contacted, the riskiest first",
        ylabel="Expected value per customer, in the currency of the costs",
    )
    axes.xaxis.set_major_formatter(_percentages())
    axes.legend()


def _draw_single_columns(axes: Axes, table: pd.DataFrame) -> None:
    top = table.head(MOST_BARS).iloc[::-1]
    axes.barh(range(len(top)), top["roc_auc"], color=MODEL)
    axes.axvline(0.5, color=REFERENCE, linestyle=":", label="guessing")
    axes.set_yticks(range(len(top)), top["feature"].map(plain_label))
    axes.set(title="What one column tells alone", xlabel="ROC AUC on the test split", xlim=(0, 1))
    axes.legend()


def _draw_explanation(axes: Axes, table: pd.DataFrame) -> None:
    top = table.head(MOST_BARS).iloc[::-1]
    colours = np.where(top["log_odds"] < 0, LOWERS, RAISES)
    axes.barh(range(len(top)), top["log_odds"], color=colours)
    axes.set_yticks(range(len(top)), top["feature"].map(plain_label))
    axes.set(
        title="Why the riskiest test customer is at risk",
        xlabel="Contribution (log odds): red raises the risk, blue lowers it",
    )


def _draw_training(axes: Axes, table: pd.DataFrame) -> None:
    axes.plot(table["round"], table["train_logloss"], color=REFERENCE, label="training")
    axes.plot(table["round"], table["valid_logloss"], color=MODEL, label="validation")
    axes.set(title="Learning curves", xlabel="Boosting round", ylabel="Log loss")
    axes.legend()


def _percentages() -> PercentFormatter:
    from matplotlib.ticker import PercentFormatter

    return PercentFormatter(xmax=1, decimals=0)
