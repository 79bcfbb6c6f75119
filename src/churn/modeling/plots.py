"""What is drawn: plot data as small tables for DVC, and the same tables as pictures for MLflow."""

from pathlib import Path

import numpy as np
import pandas as pd

from churn import paths
from churn.modeling.bootstrap import WeightedRanking
from churn.modeling.metrics import calibration_bins


def draw_drift(shares: dict[str, tuple[list[str], np.ndarray, np.ndarray]]):
    """Bars of up to six columns, training beside batch, as a matplotlib Figure.

    Args:
        shares: by column the labels of its bins, and its counts in the training rows and in the batch.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7), layout="constrained")
    for axes, (name, (labels, expected, actual)) in zip(
        figure.subplots(2, 3).flat, shares.items(), strict=False
    ):
        used = np.flatnonzero(expected + actual)
        place = np.arange(len(used))
        axes.bar(place - 0.2, expected[used] / expected.sum(), 0.4, label="training")
        axes.bar(place + 0.2, actual[used] / actual.sum(), 0.4, label="batch")
        axes.set_xticks(
            place, [plain_label(labels[i]) for i in used], rotation=45, ha="right", fontsize=7
        )
        axes.set_title(plain_label(name), fontsize=10)
    figure.axes[0].legend()
    for axes in figure.axes[len(shares) :]:
        axes.remove()
    return figure


POINTS = (
    500  # the most points of a curve: enough for the eye, small enough for git diff and a web page
)
LONGEST_LABEL = 50


def plot_tables(
    y: np.ndarray, p: np.ndarray, threshold: float, contributions: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """The data behind every plot of the test split, by name.

    Args:
        y, p: labels (0 or 1) and churn probabilities, shape (rows,).
        contributions: TreeSHAP values of the same rows, shape (rows, features + 1), the last column the bias.
    """
    hits, customers = WeightedRanking(y, p).curve(np.ones(len(y)))
    found, false = hits / hits[-1], (customers - hits) / (customers - hits)[-1]
    gained = np.append(0, np.cumsum(y[np.argsort(-p, kind="stable")]) / y.sum())
    contacted = np.where(p >= threshold, "contact", "leave")
    outcome = np.where(y == 1, "churned", "stayed")
    cells = pd.MultiIndex.from_product(
        [["churned", "stayed"], ["contact", "leave"]], names=["outcome", "decision"]
    )
    confusion = (
        pd.Series(1, index=[outcome, contacted])
        .groupby(level=[0, 1])
        .sum()
        .reindex(cells, fill_value=0)
    )
    importance = (
        contributions.iloc[:, :-1]
        .abs()
        .mean()
        .rename_axis("feature")
        .reset_index(name="importance")
    )
    riskiest = (
        contributions.iloc[int(np.argmax(p))].rename_axis("feature").reset_index(name="log_odds")
    )
    return {
        "roc": _thin(
            pd.DataFrame(
                {"false_positive_rate": np.r_[0, false], "true_positive_rate": np.r_[0, found]}
            )
        ),
        "precision_recall": _thin(pd.DataFrame({"recall": found, "precision": hits / customers})),
        "calibration": calibration_bins(y, p).drop(columns="bin"),
        "gain": _thin(
            pd.DataFrame({"customers": np.linspace(0, 1, len(gained)), "churners_found": gained})
        ),
        "confusion": confusion.reset_index(name="customers"),
        "importance": importance.sort_values("importance", ascending=False, kind="stable"),
        "explanation": riskiest.iloc[riskiest["log_odds"].abs().argsort(kind="stable")[::-1]],
    }


def plot_files() -> dict[str, Path]:
    """The files of plot data that DVC tracks, by the name of the plot, the learning curves among them."""
    return {path.stem: path for path in sorted(paths.PLOTS.glob("*.csv"))} | {
        "training": paths.CURVES
    }


def read_plot_table(path: Path) -> pd.DataFrame:
    """One plot table. A feature may be called 1, or NA."""
    return pd.read_csv(path, keep_default_na=False, dtype={"feature": str})


def plain_label(text: object) -> str:
    """A text of the user's as matplotlib shows it letter by letter: what stands between two $ would be a formula, and
    a long one would leave no place for the plot."""
    shown = str(text) if len(str(text)) <= LONGEST_LABEL else f"{str(text)[:LONGEST_LABEL]}..."
    return shown.replace("$", r"\$")


def _thin(curve: pd.DataFrame) -> pd.DataFrame:
    keep = np.unique(np.linspace(0, len(curve) - 1, min(POINTS, len(curve))).round().astype(int))
    return curve.iloc[keep]


TITLES = {
    "roc": "ROC curve",
    "precision_recall": "Precision and recall",
    "calibration": "Calibration: predicted probability and observed churn rate",
    "gain": "Cumulative gain: churners found by contacting the riskiest first",
    "confusion": "Customers by decision and outcome",
    "importance": "Importance: mean absolute TreeSHAP contribution (log odds)",
    "explanation": "Why the riskiest test customer is the riskiest (log odds)",
    "training": "Learning curves (log loss)",
}


def draw_plot(name: str, table: pd.DataFrame):
    """One plot table as a matplotlib Figure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.set_title(TITLES[name], fontsize=10)
    if name == "confusion":
        grid = table.pivot(index="outcome", columns="decision", values="customers")
        axes.imshow(grid, cmap="Blues", vmin=0)
        axes.set_xticks(range(grid.shape[1]), grid.columns)
        axes.set_yticks(range(grid.shape[0]), grid.index)
        for (row, column), count in np.ndenumerate(grid.to_numpy()):
            axes.text(
                column,
                row,
                f"{count:,}",
                ha="center",
                va="center",
                bbox={"color": "white", "alpha": 0.6},
            )
    elif name in ("importance", "explanation"):
        top = table.head(15).iloc[::-1]
        axes.set_yticks(range(len(top)), top["feature"].map(plain_label))
        axes.barh(
            range(len(top)),
            top.iloc[:, 1],
            color=np.where(top.iloc[:, 1] < 0, "tab:blue", "tab:red"),
        )
    elif name == "training":
        axes.plot(table["round"], table["train_logloss"], label="train")
        axes.plot(table["round"], table["valid_logloss"], label="valid")
        axes.legend()
    else:
        x, y = table.columns[:2]
        axes.plot(table[x], table[y], marker="o" if name == "calibration" else None)
        if name != "precision_recall":
            axes.plot([0, 1], [0, 1], color="gray", linestyle=":")
        axes.set(xlabel=x.replace("_", " "), ylabel=y.replace("_", " "))
    return figure


def offline_template(path: Path) -> None:
    """Write the page that `dvc plots` fills, with the Vega scripts inside: DVC's own loads them from a CDN."""
    import vl_convert

    scripts = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace(
        "</script", "<\\/script"
    )
    page = (
        "<!DOCTYPE html>\n<html>\n<head>\n<meta charset='utf-8'>\n{refresh_tag}\n<title>DVC plots</title>\n"
        f"<script>(function () {{ {scripts} }})();</script>\n"
        "<style>body { font-family: sans-serif; } table { border-spacing: 15px; }</style>\n"
        "</head>\n<body>\n{plot_divs}\n</body>\n</html>\n"
    )
    part = path.with_suffix(".part")
    part.write_text(page, encoding="utf-8")
    part.replace(path)
