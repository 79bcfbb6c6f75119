"""The model: encode, fit, save, load, predict and explain. The one place that does any of it."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

# XGBoost's threads spin while they wait for each other: where another process has one of the cores, a fit of half a
# second takes ten. Asleep they cost nothing that can be measured. Read when the library is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# XGBoost imports scikit-learn, where it is installed, for estimator classes that nothing here uses: two seconds in
# every process that trains, scores or serves. None in sys.modules says "not installed" while XGBoost looks.
if "sklearn" not in sys.modules and "xgboost" not in sys.modules:
    sys.modules["sklearn"] = None
    import xgboost as xgb

    del sys.modules["sklearn"]
else:
    import xgboost as xgb

from churn.contract import Column, Contract, own_name
from churn.errors import UserError, short

FLOAT32_MAX = np.finfo(np.float32).max  # XGBoost holds single precision and refuses infinity
REFUSED = str.maketrans({sign: f"%{ord(sign):02X}" for sign in "[]<%"})  # the first three by XGBoost, in a name


def encode(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """The feature columns of customer rows, in the contract's order and types: numbers as float64, text as the
    contract's categories. Where the contract allows a null number it stays null; XGBoost learns where it belongs.

    Raises:
        UserError: a missing column, a null where none is allowed, a text in a number, a number that is infinite or
            not whole where it must be, a value that the contract does not list or that is out of its range; the
            message names column and values.
    """
    if missing := [c.name for c in contract.features if c.name not in rows]:
        raise UserError(f"missing column{'s' if len(missing) > 1 else ''}: {', '.join(missing)}")
    encoded = {}
    for column in contract.features:
        values = rows[column.name]
        null = values.isna().to_numpy()
        if not column.nullable:
            _refuse(column, null, "null where none is allowed")
        if column.kind == "text":
            try:
                codes = _categories(column.allowed).categories.get_indexer(values)
            except TypeError:  # it cannot be looked up
                raise UserError(f"column {column.name}: a list or an object, not a text") from None
            _refuse(column, (codes < 0) & ~null, f"not one of {', '.join(column.allowed)}", values)
            encoded[column.name] = pd.Categorical.from_codes(codes, dtype=_categories(column.allowed))
            continue
        if values.dtype.kind not in "ifub":
            _refuse(column, values.map(lambda v: isinstance(v, str)), "a text, not a number", values)
        numbers = values.to_numpy("float64", na_value=np.nan)
        _refuse(column, np.abs(numbers) > FLOAT32_MAX, "too large for the model", values)
        if column.dtype == "int64":
            _refuse(column, (numbers % 1 != 0) & ~null, "not a whole number", values)
        if allowed := (0, 1) if column.kind == "flag" else column.allowed:
            _refuse(column, ~np.isin(numbers, allowed) & ~null, f"not one of {', '.join(map(str, allowed))}", values)
        _refuse(column, _outside(column, numbers), f"not in the range {column.low:g} to {column.high:g}", values)
        encoded[column.name] = numbers
    return pd.DataFrame(encoded)


def _outside(column: Column, numbers: np.ndarray) -> np.ndarray:
    """Which numbers lie outside of a column's range. One of single precision, as a caller's float32 has, is what its
    shortest text says: 0.1, and not 0.10000000149."""
    outside = (numbers < column.low) | (numbers > column.high)
    if outside.any():
        far = numbers[outside]
        single = far.astype("float32")
        written = np.where(single == far, single.astype(str).astype("float64"), far)
        outside[outside] = (written < column.low) | (written > column.high)
    return outside


@functools.cache  # making it anew for each column would take half the time of a small request's encoding
def _categories(allowed: tuple) -> pd.CategoricalDtype:
    return pd.CategoricalDtype(allowed)


def _refuse(column: Column, bad: np.ndarray, why: str, values: pd.Series | None = None) -> None:
    if bad.any():
        found = "" if values is None else ", ".join(list(dict.fromkeys(map(short, values[bad])))[:3]) + " is "
        raise UserError(f"column {column.name}: {found}{why}")


def labels(rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """1.0 where the customer churned, 0.0 where the customer stayed; shape (rows,).

    Raises:
        UserError: a customer has no label, or one that the contract does not list.
    """
    target = rows[contract.target]
    if len(unknown := target[~target.isin(contract.labels)]):
        found = ", ".join(list(dict.fromkeys(map(short, unknown)))[:3])
        known = ", ".join(map(short, contract.labels))
        raise UserError(f"{len(unknown):,} customers have no label that is one of {known}; found {found}")
    return (target == contract.positive).to_numpy(dtype="float64")


def matrix(rows: pd.DataFrame, contract: Contract, threads: int = 0) -> xgb.DMatrix:
    """Customer rows with the target as XGBoost takes them: encoded features and labels, (rows, features)."""
    return _matrix(rows, contract, label=labels(rows, contract), nthread=threads or None)


def _matrix(rows: pd.DataFrame, contract: Contract, **how) -> xgb.DMatrix:
    # Nobody sees the names in the booster: importance and explanations take them from the contract.
    features = encode(rows, contract).rename(columns=lambda name: name.translate(REFUSED))
    return xgb.DMatrix(features, enable_categorical=True, **how)


def fit(
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
            each_round(epoch, {f"{s}_{m}": v[-1] for s, metrics in evals_log.items() for m, v in metrics.items()})
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
    curves = {f"{name}_{metric}": history[name][metric] for metric in ("logloss", "auc") for name in watched}
    return booster, pd.DataFrame(curves).rename_axis("round").reset_index()


def save(booster: xgb.Booster, path: str | Path) -> None:
    """Write UBJSON: the same booster, the same bytes (a pickle's bytes differ from run to run)."""
    Path(path).write_bytes(booster.save_raw("ubj"))


def load(path: str | Path) -> xgb.Booster:
    """Read a booster that `save` wrote."""
    return xgb.Booster(model_file=path)


def predict(booster: xgb.Booster, rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """The churn probability of customer rows, float64, shape (rows,)."""
    return booster.predict(_matrix(rows, contract)).astype("float64")


def contributions(booster: xgb.Booster, rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """What each feature adds to each customer's log odds of churn: (rows, features), and a last column, the bias.

    It is the last column whatever it is called: `bias`, or `bias_` beside a feature of that name.

    Exact TreeSHAP values from XGBoost itself (Lundberg et al., Nature Machine Intelligence 2, 2020): a row of
    them adds up to the model's log odds for that customer.
    """
    values = booster.predict(_matrix(rows, contract), pred_contribs=True)
    names = [column.name for column in contract.features]
    return pd.DataFrame(values, columns=[*names, own_name("bias", names)])
