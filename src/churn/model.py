"""The model: encode, fit, save, load, predict and explain. The one place that does any of it."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

# XGBoost imports scikit-learn, where it is installed, for estimator classes that nothing here uses: two seconds in
# every process that trains, scores or serves. None in sys.modules says "not installed" while XGBoost looks.
if "sklearn" not in sys.modules and "xgboost" not in sys.modules:
    sys.modules["sklearn"] = None
    import xgboost as xgb

    del sys.modules["sklearn"]
else:
    import xgboost as xgb

from churn.contract import Contract
from churn.errors import UserError


def encode(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The feature columns of customer rows, in the contract's order and types: numbers as float64, text as the
    contract's categories. A null number stays null; XGBoost learns where it belongs.

    Raises:
        UserError: a missing column, a text in a number, a category that is not in the contract, a null in a text
            column that allows none; the message names column and values.
    """
    if missing := [c.name for c in contract.features if c.name not in rows]:
        raise UserError(f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}")
    encoded = {}
    for column in contract.features:
        values = rows[column.name]
        if column.kind == "text":
            bad = ~values.isin(column.allowed) & ~(values.isna() & column.nullable)
            if bad.any():
                found = ", ".join(map(repr, values[bad].unique()[:3]))
                raise UserError(f"column {column.name}: {found} is not one of {', '.join(column.allowed)}")
            encoded[column.name] = pd.Categorical(values, categories=column.allowed)
        else:
            bad = values.map(lambda v: isinstance(v, str)) if values.dtype.kind not in "ifub" else None
            if bad is not None and bad.any():
                found = ", ".join(map(repr, values[bad].unique()[:3]))
                raise UserError(f"column {column.name}: {found} is a text, not a number")
            encoded[column.name] = values.astype("float64").to_numpy()
    return pd.DataFrame(encoded)


def labels(rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """1.0 where the customer churned, else 0.0; shape (rows,)."""
    return (rows[contract.target] == contract.positive).to_numpy(dtype="float64")


def fit(
    train: pd.DataFrame,
    valid: pd.DataFrame,
    contract: Contract,
    params,
    seed: int,
    each_round: Callable[[int, dict], None] = lambda round, scores: None,
) -> tuple[xgb.Booster, pd.DataFrame]:
    """Fit gradient-boosted trees with early stopping on the validation split.

    Histogram trees with native categorical splits (Chen and Guestrin, KDD 2016; XGBoost's documentation,
    "Categorical Data"). The same rows, parameters and seed give the same bytes for any number of threads.

    Args:
        train, valid: customer rows with the target, as the contract says.
        params: the `train` section of params.yaml.
        each_round: called with the number of the round (from 0) and its scores by name.

    Returns:
        The booster, cut to its best round, and the learning curves: a row a round, columns round,
        train_logloss, valid_logloss, train_auc, valid_auc.
    """

    class Report(xgb.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            each_round(epoch, {f"{s}_{m}": v[-1] for s, metrics in evals_log.items() for m, v in metrics.items()})
            return False

    threads = params.threads or None
    matrices = {
        name: xgb.DMatrix(encode(rows, contract), labels(rows, contract), enable_categorical=True, nthread=threads)
        for name, rows in (("train", train), ("valid", valid))
    }
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
        matrices["train"],
        num_boost_round=params.rounds,
        evals=[(matrices["train"], "train"), (matrices["valid"], "valid")],
        evals_result=history,
        verbose_eval=False,
        callbacks=[stop, Report()],
    )
    curves = {f"{name}_{metric}": history[name][metric] for metric in ("logloss", "auc") for name in matrices}
    return booster, pd.DataFrame(curves).rename_axis("round").reset_index()


def save(booster: xgb.Booster, path: str | Path) -> None:
    """Write UBJSON: the same booster, the same bytes (a pickle's bytes differ from run to run)."""
    Path(path).write_bytes(booster.save_raw("ubj"))


def load(path: str | Path) -> xgb.Booster:
    """Read a booster that `save` wrote."""
    return xgb.Booster(model_file=path)


def predict(booster: xgb.Booster, rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """The churn probability of customer rows, float64, shape (rows,)."""
    return booster.predict(xgb.DMatrix(encode(rows, contract), enable_categorical=True)).astype("float64")


def contributions(booster: xgb.Booster, rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """What each feature adds to each customer's log odds of churn: (rows, features), and a last column `bias`.

    Exact TreeSHAP values from XGBoost itself (Lundberg et al., Nature Machine Intelligence 2, 2020): a row of
    them adds up to the model's log odds for that customer.
    """
    values = booster.predict(xgb.DMatrix(encode(rows, contract), enable_categorical=True), pred_contribs=True)
    return pd.DataFrame(values, columns=[*(c.name for c in contract.features), "bias"])
