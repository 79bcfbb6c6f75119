"""What contacting achieved: the churn of contacted customers against that of a control group.

Pure functions over counts. They hold only for a control group that was drawn at random from the
same customers, as campaign.control_group does; they say nothing of customers who were not selected.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm

from churn.console import text_table
from churn.operations.campaign import CONTACT, CONTROL
from churn.params import Costs

LEVEL = 0.95  # of every interval
TOO_HIGH, TOO_LOW, HOLDS, UNKNOWN = "too high", "too low", "holds", "cannot be told"
NO_CONTROL_GROUP = (
    "what contacting achieved cannot be told without a control group: `score.py --holdout 0.1 "
    "--campaign NAME` leaves one alone"
)


@dataclass(frozen=True)
class Group:
    """Customers with known labels, and how many of them churned."""

    customers: int
    churners: int

    @property
    def churn_rate(self) -> float:
        """The share that churned."""
        return self.churners / self.customers


@dataclass(frozen=True)
class Estimate:
    """A value with the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def rescaled(self, function: Callable[[float], float]) -> Estimate:
        """The estimate of an increasing function of this value."""
        return Estimate(function(self.value), function(self.low), function(self.high))


@dataclass(frozen=True)
class CampaignEffect:
    """What contacting achieved among the contacted customers with known labels."""

    contacted: Group
    control: Group
    churn_prevented: Estimate  # churn rate of the control group minus that of the contacted
    saved_customers: Estimate
    money: Estimate  # in the currency of the costs
    save_chance: Estimate  # the share of the churners whom a contact keeps
    assumed_save_chance: float

    @property
    def verdict(self) -> str:
        """Whether the assumed save chance is HOLDS, TOO_HIGH, TOO_LOW or UNKNOWN."""
        return judge_save_chance(self.save_chance, self.assumed_save_chance)

    def as_metrics(self) -> dict[str, float]:
        """The effect as metrics of MLflow, each name after `campaign.`."""
        metrics = {
            "contacted_churn_rate": self.contacted.churn_rate,
            "control_churn_rate": self.control.churn_rate,
        }
        for name in ("churn_prevented", "saved_customers", "money", "save_chance"):
            estimate = getattr(self, name)
            metrics[name] = estimate.value
            metrics[f"{name}_low"] = estimate.low
            metrics[f"{name}_high"] = estimate.high
        return {f"campaign.{name}": value for name, value in metrics.items()}


def campaign_effect(actions: np.ndarray, labels: np.ndarray, costs: Costs) -> CampaignEffect | None:
    """Measure what contacting achieved; None if nobody was contacted or nobody was left alone.

    Args:
        actions: campaign.ACTIONS of customers with known labels, shape (rows,).
        labels: 1.0 for a customer who churned, else 0.0; shape (rows,).
    """
    contacted, control = (_group(labels[actions == action]) for action in (CONTACT, CONTROL))
    if not contacted.customers or not control.customers:
        return None

    difference = rate_difference(control, contacted)
    saved = difference.rescaled(lambda rate: rate * contacted.customers)
    spent = contacted.customers * costs.contact
    money = saved.rescaled(lambda customers: customers * costs.saved_customer - spent)
    chance = relative_reduction(control, contacted)
    return CampaignEffect(contacted, control, difference, saved, money, chance, costs.save_chance)


def rate_difference(first: Group, second: Group) -> Estimate:
    """The churn rate of the first group minus that of the second, with a hybrid score interval.

    Newcombe, "Interval estimation for the difference between independent proportions: comparison of
    eleven methods", Statistics in Medicine 17, 1998, method 10.
    """
    first_low, first_high = _wilson_interval(first)
    second_low, second_high = _wilson_interval(second)
    below = math.hypot(first.churn_rate - first_low, second_high - second.churn_rate)
    above = math.hypot(first_high - first.churn_rate, second.churn_rate - second_low)
    difference = first.churn_rate - second.churn_rate
    return Estimate(difference, difference - below, difference + above)


def relative_reduction(control: Group, contacted: Group) -> Estimate:
    """The share of the control group's churn rate that contacting takes away.

    One minus the ratio of the two rates, with the interval of its logarithm: Katz et al.,
    "Obtaining confidence intervals for the risk ratio in cohort studies", Biometrics 34, 1978.
    Where one of the groups has no churner, half of one is added to both for the interval.

    Returns:
        NaN, if the control group has no churner.
    """
    if not control.churners:
        return Estimate(math.nan, math.nan, math.nan)
    shift = 0.0 if contacted.churners else 0.5
    kept, lost = contacted.churners + shift, control.churners + shift
    ratio = kept / (contacted.customers + shift) / (lost / (control.customers + shift))
    variance = 1 / kept + 1 / lost
    variance -= 1 / (contacted.customers + shift) + 1 / (control.customers + shift)
    factor = math.exp(norm.ppf((1 + LEVEL) / 2) * math.sqrt(variance))
    value = 1 - contacted.churn_rate / control.churn_rate
    return Estimate(value, 1 - ratio * factor, 1 - ratio / factor)


def judge_save_chance(measured: Estimate, assumed: float) -> str:
    """Whether an assumed save chance agrees with the measured one.

    Returns:
        TOO_HIGH or TOO_LOW, if the interval leaves the assumption out; UNKNOWN, if the interval
        holds it and 0 as well, or there is none; else HOLDS.
    """
    if math.isnan(measured.value):
        return UNKNOWN
    if assumed > measured.high:
        return TOO_HIGH
    if assumed < measured.low:
        return TOO_LOW
    return UNKNOWN if measured.low <= 0 else HOLDS


def effect_report(effect: CampaignEffect | None) -> str:
    """The effect as text: the two groups, the estimates, and a line on the assumption."""
    if effect is None:
        return NO_CONTROL_GROUP
    sizes = []
    groups = {"contacted": effect.contacted, "in the control group": effect.control}
    for name, group in groups.items():
        sizes.append(f"{group.customers:,} {name}, churn rate {group.churn_rate:.4f}")
    lines = {
        "churn rate prevented": (effect.churn_prevented, ".4f"),
        "saved customers": (effect.saved_customers, ",.1f"),
        "money": (effect.money, ",.2f"),
        "save chance": (effect.save_chance, ".4f"),
    }
    rows = []
    for name, (estimate, form) in lines.items():
        cells = {"now": f"{estimate.value:{form}}"}
        cells["95 % interval"] = f"{estimate.low:{form}} to {estimate.high:{form}}"
        if math.isnan(estimate.value):
            cells = dict.fromkeys(cells, "-")
        rows.append({"": name, **cells})

    assumption = f"save_chance {effect.assumed_save_chance:g}, on which the model's costs rely"
    title = f"what contacting achieved: {'; '.join(sizes)}"
    return "\n".join([title, text_table(rows), f"{assumption}: {effect.verdict}"])


def _group(labels: np.ndarray) -> Group:
    return Group(len(labels), int(labels.sum()))


def _wilson_interval(group: Group) -> tuple[float, float]:
    """Wilson's score interval of a churn rate."""
    interval = binomtest(group.churners, group.customers).proportion_ci(LEVEL, "wilson")
    return float(interval.low), float(interval.high)
