"""The MLflow run of a search, the parent of its trials' runs."""

import tempfile
from pathlib import Path

import optuna
import pandas as pd

from churn import paths
from churn.errors import UserError
from churn.experiments.plots import save_study_plots
from churn.experiments.study import RUN_ID
from churn.params import Params, flatten
from churn.tracking import run_log, runs, store


def check_run_exists(study: optuna.Study) -> None:
    """Refuse a study whose run is in another MLflow store.

    Raises:
        UserError: this store has no such run.
    """
    run_id = study.user_attrs.get(RUN_ID)
    if run_id and not runs.run_exists(run_id):
        raise UserError(
            f"study {study.study_name} logs into a run of another MLflow store than "
            f"{store.tracking_uri()}; set MLFLOW_TRACKING_URI to the store it began with, or start "
            "a new search without --resume"
        )


def log_search(parameters: Params, data_tags: dict[str, str]) -> None:
    """Log into the active run what a search is made of; `trials` may change when it goes on."""
    sweep = parameters.sweep.model_dump(exclude={"trials"})
    run_log.log_parameters(flatten({**parameters.model_dump(), "sweep": sweep}))
    for name in ("train", "valid"):
        digest = data_tags[f"{name}_md5"]
        context = run_log.SPLIT_CONTEXTS[name]
        run_log.log_dataset(paths.SPLITS[name], digest, name, context)


def log_result(study: optuna.Study, comparison: pd.DataFrame) -> None:
    """Log the best trial, the comparison over seeds and the plots into the active run."""
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        save_study_plots(study, Path(folder))
        mlflow.log_artifacts(folder, "plots")
    metrics = {
        "best_trial": study.best_value,
        **comparison.mean(),
        "gain_sd": comparison["gain"].std(),
    }
    mlflow.log_metrics(metrics)
