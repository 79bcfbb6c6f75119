"""Encode customer rows as XGBoost takes them, and refuse values that the contract does not
allow.
"""

import functools

import numpy as np
import pandas as pd
import xgboost as xgb

from churn.data.contract import Column, Contract
from churn.data.features import derive_features
from churn.errors import UserError, amount, short

FLOAT32_MAX = np.finfo(np.float32).max  # XGBoost computes in single precision
FLAG_VALUES = (0, 1)
MOST_SHOWN = 3  # values in an error message

# XGBoost refuses [ ] and < in the name of a feature; % is escaped too, so that names stay
# different.
ESCAPED = str.maketrans({"[": "%5B", "]": "%5D", "<": "%3C", "%": "%25"})


def encode_features(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    """Convert the feature columns to the contract's order and types, and add the derived ones.

    Numbers and flags become float64, texts become the contract's categories. Where the contract
    allows a null it stays a null: XGBoost learns on which side of a split nulls belong.

    Raises:
        UserError: a column is missing, or one of its values is null where none is allowed, a text
            in a number, infinite, not whole where it must be, not listed or out of range. The
            message names the column and the first such values.
    """
    missing = [column.name for column in contract.features if column.name not in rows]
    if missing:
        columns = "columns" if len(missing) > 1 else "column"
        raise UserError(f"missing {columns}: {', '.join(missing)}")

    encoded = {}
    for column in contract.features:
        values = rows[column.name]
        if not column.nullable:
            _refuse(column, values.isna().to_numpy(), "null where none is allowed")
        encode = _encode_text if column.kind == "text" else _encode_number
        encoded[column.name] = encode(column, values)
    features = pd.DataFrame(encoded)
    derived = derive_features(features, [column.name for column in contract.derived])
    return features.assign(**derived)


def encode_labels(rows: pd.DataFrame, contract: Contract) -> np.ndarray:
    """1.0 for a customer who churned, 0.0 for one who stayed; shape (rows,).

    Raises:
        UserError: a customer has no label, or one that the contract does not list.
    """
    target = rows[contract.target]
    unknown = target[~target.isin(contract.labels)]
    if len(unknown):
        known = ", ".join(map(short, contract.labels))
        raise UserError(
            f"{amount(len(unknown), 'customer')} with no label that is one of {known}; "
            f"found {_first_values(unknown)}"
        )
    return (target == contract.positive).to_numpy(dtype="float64")


def feature_matrix(rows: pd.DataFrame, contract: Contract) -> xgb.DMatrix:
    """Encoded features as XGBoost takes them, shape (rows, features)."""
    return xgb.DMatrix(_escaped_features(rows, contract), enable_categorical=True)


def labelled_matrix(rows: pd.DataFrame, contract: Contract, threads: int = 0) -> xgb.DMatrix:
    """Encoded features and labels as XGBoost takes them, shape (rows, features).

    Args:
        threads: to build it with; 0 for as many as the machine has.
    """
    return xgb.DMatrix(
        _escaped_features(rows, contract),
        label=encode_labels(rows, contract),
        nthread=threads or None,
        enable_categorical=True,
    )


def _escaped_features(rows: pd.DataFrame, contract: Contract) -> pd.DataFrame:
    # Nobody sees these names: importance and explanations take theirs from the contract.
    return encode_features(rows, contract).rename(columns=lambda name: name.translate(ESCAPED))


def _encode_text(column: Column, values: pd.Series) -> pd.Categorical:
    categories = _category_type(column.allowed)
    try:
        codes = categories.categories.get_indexer(values)
    except TypeError:  # of a value that has no hash
        raise UserError(f"column {column.name}: a list or an object, not a text") from None

    unknown = (codes < 0) & values.notna().to_numpy()
    _refuse(column, unknown, f"not one of {', '.join(map(str, column.allowed))}", values)
    return pd.Categorical.from_codes(codes, dtype=categories)


def _encode_number(column: Column, values: pd.Series) -> np.ndarray:
    if values.dtype.kind not in "ifub":  # neither integers, floats nor flags: look at each value
        is_text = values.map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
        _refuse(column, is_text, "a text, not a number", values)
    numbers = values.to_numpy("float64", na_value=np.nan)
    known = ~np.isnan(numbers)

    _refuse(column, np.abs(numbers) > FLOAT32_MAX, "too large for the model", values)
    if column.dtype == "int64":
        _refuse(column, (numbers % 1 != 0) & known, "not a whole number", values)
    allowed = FLAG_VALUES if column.kind == "flag" else column.allowed
    if allowed:
        unlisted = ~np.isin(numbers, allowed) & known
        _refuse(column, unlisted, f"not one of {', '.join(map(str, allowed))}", values)
    limits = f"{column.low:g} to {column.high:g}"
    _refuse(column, _out_of_range(column, numbers), f"not in the range {limits}", values)
    return numbers


def _out_of_range(column: Column, numbers: np.ndarray) -> np.ndarray:
    """Which numbers lie outside of a column's range; shape (rows,).

    A number of single precision counts as its shortest text, 0.1 and not 0.10000000149: so a caller
    who sends a float32 may send the end of a range.
    """
    outside = (numbers < column.low) | (numbers > column.high)
    if outside.any():
        suspects = numbers[outside]
        single = suspects.astype("float32")
        shortest = single.astype(str).astype("float64")
        values = np.where(single == suspects, shortest, suspects)
        outside[outside] = (values < column.low) | (values > column.high)
    return outside


@functools.cache  # made for each column anew, it would take half the time of a small request
def _category_type(allowed: tuple[str, ...]) -> pd.CategoricalDtype:
    return pd.CategoricalDtype(allowed)


def _refuse(
    column: Column, refused: np.ndarray, reason: str, values: pd.Series | None = None
) -> None:
    """Raise a UserError if any row is refused, with the first of its `values`, if they are
    given.
    """
    if not refused.any():
        return
    if values is not None:
        reason = f"{_first_values(values[refused])} is {reason}"
    raise UserError(f"column {column.name}: {reason}")


def _first_values(values: pd.Series) -> str:
    """The first different values, as a message shows them."""
    different = list(dict.fromkeys(map(short, values)))
    return ", ".join(different[:MOST_SHOWN])
