"""Performance before labels are known: what the scores themselves say about ROC AUC and value.

Confidence-based performance estimation (CBPE), as NannyML documents it:
https://nannyml.readthedocs.io/en/stable/how_it_works/performance_estimation.html
If the probabilities are calibrated, a customer with the probability 0.3 counts as 0.3 churners and
0.7 stayers. So other customers than in training give another estimate. It cannot notice that the
label has changed its meaning: a price war that makes other customers leave changes no score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from churn.console import text_table
from churn.modeling.bootstrap import INTERVAL, Resampling, WeightedRanking
from churn.modeling.metrics import gain_per_customer
from churn.params import Costs

ESTIMATED_METRICS = ("roc_auc", "value_per_customer")
ASSUMPTION = (
    "The estimate holds if the probabilities are calibrated and churn still depends on the "
    "features as it did in training."
)
GROUPS = 2000  # at most, of customers with similar probabilities; for the interval alone


@dataclass(frozen=True)
class Scored:
    """Groups of scored customers; each array has the shape (groups,)."""

    probabilities: np.ndarray  # mean, of churn
    customers: np.ndarray


@dataclass(frozen=True)
class Policy:
    """Who is contacted, and what that costs and gains."""

    threshold: float  # customers with at least this probability are contacted
    costs: Costs


def estimate_performance(
    probabilities: np.ndarray, threshold: float, costs: Costs, resampling: Resampling
) -> dict[str, float]:
    """Estimate the performance on customers without labels.

    Each resample of the 95 % interval draws customers, and for each of them a label that is 1 with
    the customer's probability. Customers with similar probabilities are drawn as a group, so that
    the time does not grow with the table.

    Args:
        probabilities: of churn, shape (rows,).
        threshold: customers with at least this probability are contacted.

    Returns:
        estimated_roc_auc and estimated_value_per_customer (in the currency of `costs`), and the
        same with _low and _high; NaN where there is nothing to rank.
    """
    policy = Policy(threshold, costs)
    everybody = Scored(probabilities, np.ones(len(probabilities)))
    point = _measure(everybody, probabilities, policy)
    groups = _group(probabilities)
    generator = np.random.default_rng(resampling.seed)
    resamples = np.array([_resample(groups, policy, generator) for _ in range(resampling.count)])

    estimates = {}
    for position, name in enumerate(ESTIMATED_METRICS):
        values = resamples[:, position]
        values = values[~np.isnan(values)]
        low, high = np.quantile(values, INTERVAL) if len(values) else (np.nan, np.nan)
        estimates[f"estimated_{name}"] = point[position]
        estimates[f"estimated_{name}_low"] = float(low)
        estimates[f"estimated_{name}_high"] = float(high)
    return estimates


def estimate_report(
    estimated: dict[str, float], registered: dict[str, float], labelled: dict[str, float]
) -> str:
    """The estimates as text, beside the metrics of the test split and of labelled customers.

    Args:
        registered: metrics of the test split with which the version was registered.
        labelled: metrics of customers with known labels; empty if there are none.
    """
    rows = []
    for name in ESTIMATED_METRICS:
        low, high = estimated[f"estimated_{name}_low"], estimated[f"estimated_{name}_high"]
        row: dict[str, object] = {
            "estimated from the scores": name,
            "test split": registered.get(name),
            "estimate": estimated[f"estimated_{name}"],
            "95 % interval": f"{low:.4f} to {high:.4f}",
        }
        if labelled:
            row["labelled customers"] = labelled[name]
        rows.append(row)
    return "\n".join([text_table(rows), ASSUMPTION])


def _group(probabilities: np.ndarray) -> Scored:
    """Put customers with similar probabilities into groups, in order; equal ones stay together."""
    edges = np.unique(np.quantile(probabilities, np.linspace(0, 1, GROUPS + 1)))
    numbers = np.searchsorted(edges, probabilities, side="right")
    _, group = np.unique(numbers, return_inverse=True)
    customers = np.bincount(group)
    means = np.bincount(group, probabilities) / customers
    return Scored(np.clip(means, 0, 1), customers)


def _resample(
    groups: Scored, policy: Policy, generator: np.random.Generator
) -> tuple[float, float]:
    """The metrics of drawn customers with drawn labels."""
    total = int(groups.customers.sum())
    customers = generator.multinomial(total, groups.customers / total)
    churners = generator.binomial(customers, groups.probabilities)
    churn_rates = churners / np.maximum(customers, 1)
    return _measure(Scored(groups.probabilities, customers), churn_rates, policy)


def _measure(scored: Scored, churn_rates: np.ndarray, policy: Policy) -> tuple[float, float]:
    """The ESTIMATED_METRICS of groups of customers; an ROC AUC of NaN, if all have one label.

    Args:
        churn_rates: the share of each group that churns, shape (groups,).
    """
    ranking = WeightedRanking(churn_rates, scored.probabilities)
    with np.errstate(invalid="ignore"):  # nobody churns, or everybody
        roc_auc = ranking.metrics(scored.customers)["roc_auc"]
    contacted = scored.probabilities >= policy.threshold
    gains = gain_per_customer(churn_rates, contacted, policy.costs)
    value = scored.customers @ gains / scored.customers.sum()
    return roc_auc, float(value)
