"""The booster: fit, save, load, predict and explain gradient-boosted trees.

Customer rows are encoded by encoding.py. What a version does when it scores is scoring.py.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xgboost as xgb

from churn.data.contract import Contract, free_name
from churn.modeling.encoding import feature_matrix

if TYPE_CHECKING:  # a logged model carries this module, and needs no pydantic
    from churn.params import Train

# Fields of the section `train` that xgboost.train takes by other names, or as arguments of its own.
NOT_BOOSTER_SETTINGS = {"threads", "rounds", "early_stopping"}

RoundCallback = Callable[[int, dict[str, float]], None]
EvaluationLog = dict[str, dict[str, list[Any]]]  # XGBoost's: scores by name and metric


def fit_booster(
    training: xgb.DMatrix,
    watched: Mapping[str, xgb.DMatrix],
    train: "Train",
    seed: int,
    after_round: RoundCallback | None = None,
) -> tuple[xgb.Booster, pd.DataFrame]:
    """Fit gradient-boosted trees with early stopping on the validation rows.

    Histogram trees with native categorical splits (Chen and Guestrin, KDD 2016; XGBoost's
    documentation, "Categorical Data"). The same rows, parameters and seed give the same bytes for
    any number of threads.

    Args:
        training: the rows to fit, from `labelled_matrix`.
        watched: the rows to score after each round, by name; "valid" decides when to stop.
        train: the section `train` of params.yaml.
        after_round: called with the number of the round (from 0) and its scores by name.

    Returns:
        The booster, cut to its best round, and the learning curves: one row per round, with the
        columns round and, for each watched name, <name>_logloss and <name>_auc.
    """
    callbacks: list[xgb.callback.TrainingCallback] = [
        xgb.callback.EarlyStopping(
            rounds=train.early_stopping,
            metric_name="logloss",
            data_name="valid",
            save_best=True,
        )
    ]
    if after_round is not None:
        callbacks.append(AfterRound(after_round))

    history: dict[str, dict[str, list[float]]] = {}
    booster = xgb.train(
        booster_settings(train, seed),
        training,
        num_boost_round=train.rounds,
        evals=[(rows, name) for name, rows in watched.items()],
        evals_result=history,
        verbose_eval=False,
        callbacks=callbacks,
    )

    curves = pd.DataFrame()
    for metric in ("logloss", "auc"):
        for name in watched:
            curves[f"{name}_{metric}"] = history[name][metric]
    return booster, curves.rename_axis("round").reset_index()


def booster_settings(train: "Train", seed: int) -> dict[str, object]:
    """XGBoost's parameters: the fields of the section `train` by their own names, and what is
    fixed.

    A field that is added to the section (gamma, say) reaches XGBoost without a change here.
    """
    names = type(train).model_fields.keys() - NOT_BOOSTER_SETTINGS
    settings = {name: getattr(train, name) for name in sorted(names)}
    return {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "eval_metric": ["auc", "logloss"],  # early stopping watches logloss, by its name
        "seed": seed,
        "nthread": train.threads,
        **settings,
    }


class AfterRound(xgb.callback.TrainingCallback):
    """Hand the scores of each boosting round to a function."""

    def __init__(self, report: RoundCallback) -> None:
        self.report = report

    def after_iteration(self, model: object, epoch: int, evals_log: EvaluationLog) -> bool:
        """Called by XGBoost after round number `epoch`; False goes on."""
        scores = {}
        for name, metrics in evals_log.items():
            for metric, values in metrics.items():
                scores[f"{name}_{metric}"] = values[-1]
        self.report(epoch, scores)
        return False


def save_booster(booster: xgb.Booster, path: str | Path) -> None:
    """Write UBJSON: the same booster gives the same bytes, which a pickle does not."""
    Path(path).write_bytes(booster.save_raw("ubj"))


def load_booster(path: str | Path) -> xgb.Booster:
    """Read a booster that `save_booster` wrote."""
    return xgb.Booster(model_file=path)


def predict_probabilities(
    booster: xgb.Booster, rows: pd.DataFrame, contract: Contract
) -> np.ndarray:
    """The churn probabilities of customer rows: float64, shape (rows,)."""
    return booster.predict(feature_matrix(rows, contract)).astype("float64")


def feature_contributions(
    booster: xgb.Booster, rows: pd.DataFrame, contract: Contract
) -> pd.DataFrame:
    """What each feature adds to each customer's log odds of churn.

    Exact TreeSHAP values from XGBoost itself (Lundberg et al., Nature Machine Intelligence 2,
    2020): the values of a row add up to the model's log odds for that customer.

    Returns:
        Shape (rows, features + 1). The last column is the bias, called `bias`, or `bias_` beside a
        feature of that name. A derived feature is called by its title.
    """
    values = booster.predict(feature_matrix(rows, contract), pred_contribs=True)
    names = [column.label for column in contract.model_columns]
    return pd.DataFrame(values, columns=[*names, free_name("bias", names)])
