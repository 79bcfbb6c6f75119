"""The baseline is logistic regression on the contract's columns, whatever nulls they have."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from churn.data.contract import Column, Contract
from churn.modeling import baseline
from churn.modeling.bootstrap import Resampling

CONTRACT = Contract(
    path=None,
    id="id",
    target="left",
    positive="yes",
    columns={
        "id": Column("id", "str", "text", False),
        "x": Column("x", "float64", "number", True),
        "empty": Column("empty", "float64", "number", True),
        "plan": Column("plan", "str", "text", True, ("a", "b", "c")),
        "left": Column("left", "str", "text", False, ("no", "yes")),
    },
    text="",
)


def customers(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Customers whose log odds of leaving are linear in x, plan b and a null x; and the odds."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=rows)
    is_null = draw.random(rows) < 0.2
    plan = draw.choice(["a", "b", None], rows)
    log_odds = np.where(is_null, 1.5, 2 * x) + 1.0 * (plan == "b") - 1
    left = draw.random(rows) < 1 / (1 + np.exp(-log_odds))
    table = {
        "id": [f"K{number}" for number in range(rows)],
        "x": np.where(is_null, np.nan, x),
        "empty": np.full(rows, np.nan),
        "plan": plan,
        "left": np.where(left, "yes", "no"),
    }
    return pd.DataFrame(table), 1 / (1 + np.exp(-log_odds))


def test_it_finds_a_linear_rule():
    """With many customers it gives nearly the probabilities that the labels were drawn from; a null
    and a category that training did not have are scored.
    """
    train, _ = customers(20_000, seed=1)
    test, truth = customers(2_000, seed=2)
    model = baseline.fit_baseline(train, CONTRACT)
    found = baseline.baseline_probabilities(model, test, CONTRACT)
    assert np.abs(found - truth).mean() < 0.01
    unknown = baseline.baseline_probabilities(model, test.assign(plan="c"), CONTRACT)
    assert np.isfinite(unknown).all()


def test_it_is_fitted_to_the_end():
    """The gradient of the objective at what was fitted is 0 to ten digits. A fit that stops earlier
    ends at another place on another processor, and ranks some customers differently there.
    """
    train, _ = customers(5_000, seed=1)
    model = baseline.fit_baseline(train, CONTRACT)
    regression = model[-1]
    inputs = model[:-1].transform(baseline._features(train, CONTRACT))
    left = (train["left"] == "yes").to_numpy(dtype=float)
    errors = regression.predict_proba(inputs)[:, 1] - left
    # Of the mean log loss and its penalty, C = 1: half the squared coefficients over the rows.
    gradient = (inputs.T @ errors + regression.coef_[0]) / len(train)
    assert np.abs(gradient).max() < 1e-10
    assert abs(errors.mean()) < 1e-10


@pytest.mark.parametrize("rows", [97, 1437])
@pytest.mark.parametrize("columns", [7, 8, 19, 46])
def test_equal_customers_have_equal_probabilities(rows, columns):
    """Wherever they stand in the table: the last digit of a row's sum depends on its place there,
    and on the processor.
    """
    names = [f"x{number}" for number in range(columns)]
    numbers = {name: Column(name, "float64", "number", False) for name in names}
    used = {name: CONTRACT.columns[name] for name in ("id", "left")}
    contract = dataclasses.replace(CONTRACT, columns={**used, **numbers})
    train, _ = customers(rows, seed=1)
    values = np.random.default_rng(0).normal(size=(rows, columns))
    train = train[["id", "left"]].join(pd.DataFrame(values, columns=names))
    model = baseline.fit_baseline(train, contract)
    seven_times = pd.concat([train] * 7, ignore_index=True)
    found = baseline.baseline_probabilities(model, seven_times, contract).reshape(7, rows)
    assert (found == found[0]).all()


def test_its_metrics_stand_beside_the_models():
    """The gain is the difference of the two ROC AUCs, within its interval; a model that is the
    baseline gains nothing; the churn rate alone has the log loss of a coin with that rate.
    """
    test, truth = customers(2_000, seed=2)
    labels = (test["left"] == "yes").to_numpy(dtype=float)
    worse = np.clip(truth + np.random.default_rng(0).normal(0, 0.2, len(truth)), 0.01, 0.99)
    metrics = baseline.baseline_metrics(labels, truth, worse, 0.4, Resampling(200, 1))
    assert metrics["gain_over_baseline_low"] > 0.01
    assert metrics["gain_over_baseline_low"] < metrics["gain_over_baseline"]
    assert metrics["gain_over_baseline"] < metrics["gain_over_baseline_high"]
    coin = -(labels.mean() * np.log(0.4) + (1 - labels.mean()) * np.log(0.6))
    assert metrics["churn_rate_log_loss"] == pytest.approx(coin)

    equal = baseline.baseline_metrics(labels, truth, truth, 0.4, Resampling(200, 1))
    gain = [equal[f"gain_over_baseline{end}"] for end in ("", "_low", "_high")]
    assert gain == [0, 0, 0]
