"""Derived features: columns that are made from the columns of the contract.

This is the one place where they are made. Training, evaluation, the registered model, batch scoring
and monitoring all take them from here, so that a model is served with the features with which it
was trained. Whoever calls a model sends the columns of the contract alone.

`features` in params.yaml names those that a model gets. A new one is a function and an entry of
FEATURES. The ones below are for the sample table; docs/features.md says what they gained.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from churn.errors import UserError

# Encoded columns of the contract in (numbers and flags are float64, texts categories, a null is
# NaN), one number per row out. A row's value must not depend on the other rows of the batch.
Compute = Callable[[pd.DataFrame], pd.Series]


@dataclass(frozen=True)
class Feature:
    """One derived feature."""

    title: str  # in words, as plots and reasons name it
    columns: tuple[str, ...]  # of the contract, from which it is made
    compute: Compute


ADD_ONS = (
    "multiple_lines",
    "online_security",
    "online_backup",
    "device_protection",
    "tech_support",
    "streaming_tv",
    "streaming_movies",
)


def count_services(rows: pd.DataFrame) -> pd.Series:
    """How many services a customer has: telephone, internet and their add-ons."""
    has_internet = rows["internet_service"].isin(["DSL", "Fiber optic"])
    services = rows["phone_service"] + has_internet
    for name in ADD_ONS:
        services = services + (rows[name] == "Yes")
    return services


def mean_charge(rows: pd.DataFrame) -> pd.Series:
    """The charges per month so far, US dollars; null in the first month."""
    return rows["total_charges"] / rows["tenure"].where(rows["tenure"] > 0)


def charge_change(rows: pd.DataFrame) -> pd.Series:
    """How far the last month's charge lies above the mean so far, US dollars."""
    return rows["monthly_charges"] - mean_charge(rows)


def pays_automatically(rows: pd.DataFrame) -> pd.Series:
    """1 if the customer pays by bank transfer or credit card, else 0; null if that is not known."""
    payment = rows["payment_method"]
    is_automatic = payment.isin(["Bank transfer (automatic)", "Credit card (automatic)"])
    return is_automatic.where(payment.notna())


FEATURES = {
    "services": Feature(
        "number of services", ("phone_service", "internet_service", *ADD_ONS), count_services
    ),
    "mean_charge": Feature("mean monthly charge", ("total_charges", "tenure"), mean_charge),
    "charge_change": Feature(
        "monthly charge above its mean",
        ("monthly_charges", "total_charges", "tenure"),
        charge_change,
    ),
    "automatic_payment": Feature("pays automatically", ("payment_method",), pays_automatically),
}


def derive_features(rows: pd.DataFrame, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Compute derived features of encoded rows.

    Args:
        rows: every column of the contract that is a feature, encoded (encoding.encode_features).
        names: keys of FEATURES.

    Returns:
        By name float64, shape (rows,).

    Raises:
        UserError: a feature is infinite for some row.
    """
    derived = {}
    for name in names:
        values = FEATURES[name].compute(rows)
        numbers = values.to_numpy("float64", na_value=np.nan)
        if np.isinf(numbers).any():
            row = int(np.flatnonzero(np.isinf(numbers))[0])
            raise UserError(
                f"feature {name} of src/churn/data/features.py is infinite in row {row + 1} of "
                "the batch; make it null where it has no value"
            )
        derived[name] = numbers
    return derived


def feature_faults(names: Iterable[str], columns: Iterable[str]) -> list[str]:
    """What keeps the derived features that params.yaml names from being computed.

    Args:
        names: of the features.
        columns: names of the contract's columns that are features.
    """
    columns = set(columns)
    faults = []
    names = list(names)
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            faults.append(f"features names {name!r} twice")
        if name not in FEATURES:
            known = ", ".join(FEATURES) or "none"
            faults.append(
                f"features names {name!r}, which src/churn/data/features.py does not have "
                f"(it has {known})"
            )
            continue
        missing = [column for column in FEATURES[name].columns if column not in columns]
        if missing:
            faults.append(f"feature {name} needs {', '.join(missing)}, no feature of the contract")
        taken = columns & {name, FEATURES[name].title}
        if taken:
            faults.append(f"feature {name} has the name of a column: {', '.join(taken)}; rename it")
    return faults
