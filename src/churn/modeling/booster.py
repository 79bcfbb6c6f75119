"""The model: encode, fit, save, load, predict and explain. The one place that does any of it."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from churn.data.contract import Contract, free_name
from churn.modeling.encoding import _matrix

# XGBoost's threads spin while they wait for each other: where another process has one of the cores, a fit of half a
# second takes ten. Asleep they cost nothing that can be measured. Read when the library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import xgboost as xgb  # after the setting above


def fit_booster(
    train: xgb.DMatrix,
    watched: dict[str, xgb.DMatrix],
    params,
    seed: int,
    each_round: Callable[[int, dict], None] = lambda round, scores: None,
) -> tuple[xgb.Booster, pd.DataFrame]:
    """Fit gradient-boosted trees with early stopping on the validation split.

    Histogram trees with native categorical splits (Chen and Guestrin, KDD 2016; XGBoost's documentation,
    "Categorical Data"). The same rows, parameters and seed give the same bytes for any number of threads.

    Args:
        train: the rows to fit, from `matrix`.
        watched: the rows to score after each round, by name; "valid" among them decides when to stop.
        params: the `train` section of params.yaml.
        each_round: called with the number of the round (from 0) and its scores by name.

    Returns:
        The booster, cut to its best round, and the learning curves: a row a round, columns round and, for each
        watched name, <name>_logloss and <name>_auc.
    """

    class Report(xgb.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            each_round(
                epoch,
                {f"{s}_{m}": v[-1] for s, metrics in evals_log.items() for m, v in metrics.items()},
            )
            return False

    settings = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "eval_metric": ["auc", "logloss"],  # the last one decides early stopping
        "seed": seed,
        "device": params.device,
        "nthread": params.threads,
        "learning_rate": params.learning_rate,
        "max_depth": params.max_depth,
        "min_child_weight": params.min_child_weight,
        "subsample": params.subsample,
        "colsample_bytree": params.colsample_bytree,
        "reg_lambda": params.reg_lambda,
    }
    history: dict = {}
    stop = xgb.callback.EarlyStopping(
        rounds=params.early_stopping, metric_name="logloss", data_name="valid", save_best=True
    )
    booster = xgb.train(
        settings,
        train,
        num_boost_round=params.rounds,
        evals=[(rows, name) for name, rows in watched.items()],
        evals_result=history,
        verbose_eval=False,
        callbacks=[stop, Report()],
    )
    curves = {
        f"{name}_{metric}": history[name][metric]
        for metric in ("logloss", "auc")
        for name in watched
    }
    return booster, pd.DataFrame(curves).rename_axis("round").reset_index()


def save_booster(booster: xgb.Booster, path: str | Path) -> None:
    """Write UBJSON: the same booster, the same bytes (a pickle's bytes differ from run to run)."""
    Path(path).write_bytes(booster.save_raw("ubj"))


def load_booster(path: str | Path) -> xgb.Booster:
    """Read a booster that `save` wrote."""
    return xgb.Booster(model_file=path)


def predict_probabilities(
    booster: xgb.Booster, rows: pd.DataFrame, contract: Contract
) -> np.ndarray:
    """The churn probability of customer rows, float64, shape (rows,)."""
    return booster.predict(_matrix(rows, contract)).astype("float64")


def feature_contributions(
    booster: xgb.Booster, rows: pd.DataFrame, contract: Contract
) -> pd.DataFrame:
    """What each feature adds to each customer's log odds of churn: (rows, features), and a last column, the bias.

    It is the last column whatever it is called: `bias`, or `bias_` beside a feature of that name.

    Exact TreeSHAP values from XGBoost itself (Lundberg et al., Nature Machine Intelligence 2, 2020): a row of
    them adds up to the model's log odds for that customer.
    """
    values = booster.predict(_matrix(rows, contract), pred_contribs=True)
    names = [column.name for column in contract.features]
    return pd.DataFrame(values, columns=[*names, free_name("bias", names)])
