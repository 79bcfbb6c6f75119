"""Who is contacted: the expected value of a contact, a budget, and a control group.

Pure functions over arrays with one entry per customer. The decision threshold is the model's and is
not chosen here; what contacting achieved is measured in campaign_effect.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from churn.data.customer_split import keyed_hashes
from churn.errors import UserError
from churn.params import Costs

CONTACT, CONTROL, NO_CONTACT = ACTIONS = ("contact", "control", "no contact")
ROUNDING = 1e-9  # 0.3 pays for three contacts at 0.1, although 0.3 / 0.1 is less than 3


@dataclass(frozen=True)
class Campaign:
    """How many customers are selected at most, and which of them are left alone."""

    budget: int | None = None  # customers; None: everybody at or above the threshold
    holdout: float = 0.0  # the share of the selected customers who become the control group
    name: str = ""  # decides, with the id, who is in the control group


def expected_values(probabilities: np.ndarray, costs: Costs) -> np.ndarray:
    """Expected money from contacting each customer, in the currency of `costs`; shape (rows,).

    Args:
        probabilities: of churn, shape (rows,).
    """
    return probabilities * costs.save_chance * costs.saved_customer - costs.contact


def affordable_contacts(money: float, costs: Costs) -> int | None:
    """How many contacts this money pays for; None, without a limit, if a contact costs nothing.

    Raises:
        UserError: it pays for none.
    """
    if costs.contact == 0:
        return None
    contacts = int(money / costs.contact + ROUNDING)
    if contacts < 1:
        raise UserError(
            f"--budget-money {money:g} pays for no contact: one costs {costs.contact:g} "
            "(evaluate.costs.contact of the model)"
        )
    return contacts


def tie_breakers(ids: Iterable[object], campaign: Campaign) -> np.ndarray:
    """A number for each customer that orders those of equal value, whatever the order of the rows.

    It has nothing to do with who is in the control group.

    Returns:
        Whole numbers (uint64), shape (rows,).
    """
    return keyed_hashes(ids, _key("order", campaign))


def most_valuable(values: np.ndarray, ties: np.ndarray, count: int) -> np.ndarray:
    """Whether a customer is among the `count` most valuable; shape (rows,).

    Args:
        values: expected money from contacting each customer, shape (rows,).
        ties: of equal values the smaller number comes first, shape (rows,).
    """
    order = np.lexsort((ties, -values))
    is_chosen = np.zeros(len(values), dtype=bool)
    is_chosen[order[:count]] = True
    return is_chosen


def control_group(ids: Iterable[object], campaign: Campaign) -> np.ndarray:
    """Whether a selected customer is left alone; shape (rows,).

    The campaign's name is the key of a hash of the id, so a customer has the same answer each time
    that the name is used, in any table.
    """
    hashes = keyed_hashes(ids, _key("control", campaign))
    return hashes / 2.0**64 < campaign.holdout


def actions(selected: np.ndarray, ids: list[object], campaign: Campaign) -> np.ndarray:
    """What is done with each customer: one of ACTIONS; shape (rows,).

    Args:
        selected: whether a customer is above the threshold and within the budget, shape (rows,).
        ids: of all customers, in the order of `selected`.
    """
    result = np.where(selected, CONTACT, NO_CONTACT)
    if campaign.holdout:
        rows = np.flatnonzero(selected)
        is_control = control_group([ids[row] for row in rows], campaign)
        result[rows[is_control]] = CONTROL
    return result


def _key(purpose: str, campaign: Campaign) -> bytes:
    """The 64 bytes that key the hashes of one purpose; a name may be longer than that."""
    return hashlib.blake2b(f"{purpose} {campaign.name}".encode()).digest()
