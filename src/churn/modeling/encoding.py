"""Encode customer rows as the booster takes them."""

import functools

import numpy as np
import pandas as pd
import xgboost as xgb

from churn.data.contract import Column, Contract
from churn.errors import UserError, short

FLOAT32_MAX = np.finfo(np.float32).max  # XGBoost holds single precision and refuses infinity
REFUSED = str.maketrans(
    {sign: f"%{ord(sign):02X}" for sign in "[]<%"}
)  # the first three by XGBoost, in a name


def encode_features(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
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
            encoded[column.name] = pd.Categorical.from_codes(
                codes, dtype=_categories(column.allowed)
            )
            continue
        if values.dtype.kind not in "ifub":
            _refuse(
                column, values.map(lambda v: isinstance(v, str)), "a text, not a number", values
            )
        numbers = values.to_numpy("float64", na_value=np.nan)
        _refuse(column, np.abs(numbers) > FLOAT32_MAX, "too large for the model", values)
        if column.dtype == "int64":
            _refuse(column, (numbers % 1 != 0) & ~null, "not a whole number", values)
        if allowed := (0, 1) if column.kind == "flag" else column.allowed:
            _refuse(
                column,
                ~np.isin(numbers, allowed) & ~null,
                f"not one of {', '.join(map(str, allowed))}",
                values,
            )
        _refuse(
            column,
            _outside(column, numbers),
            f"not in the range {column.low:g} to {column.high:g}",
            values,
        )
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
        found = (
            ""
            if values is None
            else ", ".join(list(dict.fromkeys(map(short, values[bad])))[:3]) + " is "
        )
        raise UserError(f"column {column.name}: {found}{why}")


def encode_labels(rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """1.0 where the customer churned, 0.0 where the customer stayed; shape (rows,).

    Raises:
        UserError: a customer has no label, or one that the contract does not list.
    """
    target = rows[contract.target]
    if len(unknown := target[~target.isin(contract.labels)]):
        found = ", ".join(list(dict.fromkeys(map(short, unknown)))[:3])
        known = ", ".join(map(short, contract.labels))
        raise UserError(
            f"{len(unknown):,} customers have no label that is one of {known}; found {found}"
        )
    return (target == contract.positive).to_numpy(dtype="float64")


def labelled_matrix(rows: pd.DataFrame, contract: Contract, threads: int = 0) -> xgb.DMatrix:
    """Customer rows with the target as XGBoost takes them: encoded features and labels, (rows, features)."""
    return _matrix(rows, contract, label=encode_labels(rows, contract), nthread=threads or None)


def _matrix(rows: pd.DataFrame, contract: Contract, **how) -> xgb.DMatrix:
    # Nobody sees the names in the booster: importance and explanations take them from the contract.
    features = encode_features(rows, contract).rename(columns=lambda name: name.translate(REFUSED))
    return xgb.DMatrix(features, enable_categorical=True, **how)
