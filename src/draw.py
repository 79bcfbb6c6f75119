"""Draw the plot data that DVC tracks (reports/plots/*.csv, reports/training.csv) as PNG pictures.

    python src/draw.py FOLDER

A command of its own so that evaluate can let it work on the other core while MLflow starts.
"""

import argparse
from pathlib import Path

from churn.console import run_command
from churn.files import reading
from churn.modeling.plot_files import plot_files, read_plot_table
from churn.modeling.plots import draw_plot


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Draw the plot data that DVC tracks as PNG pictures."
    )
    parser.add_argument("folder", type=Path, help="where the pictures go")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in plot_files().items():
        with reading(path):
            figure = draw_plot(name, read_plot_table(path))
            figure.savefig(folder / f"{name}.png", dpi=100)


if __name__ == "__main__":
    run_command(main)
