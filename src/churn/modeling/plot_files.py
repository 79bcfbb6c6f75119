"""The files that hold the data behind every plot: where they are, and how they are read."""

from pathlib import Path

import pandas as pd

from churn import paths


def plot_files() -> dict[str, Path]:
    """The files of plot data that DVC tracks, with the learning curves, by the name of the plot."""
    files = {path.stem: path for path in sorted(paths.PLOTS.glob("*.csv"))}
    return files | {"training": paths.CURVES}


def read_plot_table(path: Path) -> pd.DataFrame:
    """Read one plot table. A feature may be called 1, or NA."""
    return pd.read_csv(path, keep_default_na=False, dtype={"feature": str})
