"""DVC experiments started from Python: their environment, one with the result of a search, a table
of results.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from churn import paths
from churn.console import text_table
from churn.errors import UserError
from churn.files import read_metrics
from churn.params import Params, parameter_names
from churn.tracking import lineage, registry, store, workspace_experiment

if TYPE_CHECKING:
    from mlflow.entities import Run


def child_environment(parent: Run, threads: int | None = None) -> dict[str, str]:
    """The environment variables of a process that logs under `parent`, in any folder.

    This environment's programs come first on PATH (DVC calls a bare `dvc`, a stage a bare
    `python`), and the tracking URI is absolute.

    Args:
        threads: how many the process may use; None for as many as it likes.
    """
    programs = Path(sys.executable).parent
    environment = {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', '')}",
        "MLFLOW_TRACKING_URI": store.tracking_uri(),
        "MLFLOW_RUN_ID": parent.info.run_id,
        "MLFLOW_EXPERIMENT_ID": parent.info.experiment_id,
    }
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    return environment


def run_experiment(parameters: dict[str, int | float], parent: Run) -> None:
    """Run `dvc exp run` in the workspace with these parameters, as a child of `parent`.

    Raises:
        UserError: it failed.
    """
    settings = {name: repr(value) for name, value in parameters.items()}
    environment = child_environment(parent)
    if not workspace_experiment.run_experiment(settings, environment=environment):
        raise UserError("the experiment failed, see above")


def check_parameters_unchanged(parameters: Params) -> None:
    """Refuse to apply the result of a search to other parameters than it was made with.

    Raises:
        UserError: params.yaml was edited while the search ran.
    """
    edited = []
    for stage in ("preprocess", "train"):
        edited += lineage.edited_parameters(stage, parameters.flat())
    if edited:
        raise UserError(
            f"{', '.join(dict.fromkeys(edited))} in params.yaml changed while the search ran, so "
            "its result was not applied; put that back, and `python src/sweep.py --resume --apply`"
        )


def stage_workspace(name: str) -> None:
    """Let `staging` name the version of the workspace's model, if it passed and so has one."""
    threshold = read_metrics(paths.METRICS)["threshold"]
    version = registry.find_version(name, registry.workspace_identity(threshold))
    if version:
        stage = registry.set_staging(name, version.version)
        print(f"{name} version {version.version} is {stage}")


def experiments_table(names: set[str]) -> str:
    """Experiments as a text table, the best first.

    Columns: the parameters in which they differ, ROC AUC with its interval, and whether the
    thresholds of the gate were passed or missed (MLflow knows how it compared with production).
    """
    import dvc.api

    experiments = [row for row in dvc.api.exp_show() if row["Experiment"] in names]
    experiments.sort(key=lambda row: row["roc_auc"], reverse=True)

    different = []
    for name in parameter_names():
        if len({str(row.get(name)) for row in experiments}) > 1:
            different.append(name)

    rows = []
    for experiment in experiments:
        row = {"Experiment": experiment["Experiment"]}
        for name in different:
            row[name] = _short_number(experiment.get(name))
        for name in ("roc_auc", "roc_auc_low", "roc_auc_high"):
            row[name] = experiment[name]
        is_passed = experiment["gate_thresholds"] == "passed"
        row["thresholds"] = "passed" if is_passed else "missed"
        rows.append(row)
    return text_table(rows)


def _short_number(value: object) -> str:
    """A parameter as text; dvc.api gives every number as a float."""
    return f"{value:g}" if isinstance(value, float) else str(value)
