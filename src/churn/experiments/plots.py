"""Optuna's plots of a study."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState


def save_study_plots(study: optuna.Study, folder: Path) -> None:
    """Write Optuna's plots of a study as PNG files."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as pyplot
    from optuna.visualization import matplotlib as study_plots

    plots: dict[str, Callable[[optuna.Study], Any]] = {
        "optimization_history": study_plots.plot_optimization_history,
        "parallel_coordinate": study_plots.plot_parallel_coordinate,
    }
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(complete) > 1:
        plots["param_importances"] = study_plots.plot_param_importances

    for name, plot in plots.items():
        figure = plot(study).figure
        figure.savefig(folder / f"{name}.png", bbox_inches="tight")
        pyplot.close(figure)
