"""Who is contacted, and what contacting achieved: planted cases, and intervals that cover."""

import numpy as np
import pyarrow as pa
import pytest

from churn.errors import UserError
from churn.operations.campaign import (
    Campaign,
    actions,
    affordable_contacts,
    control_group,
    expected_values,
    most_valuable,
    tie_breakers,
)
from churn.operations.score_actions import with_actions
from churn.params import Costs

COSTS = Costs(saved_customer=500.0, contact=40.0, save_chance=0.3)
IDS = [f"C{number:05}" for number in range(10_000)]


def scores(probabilities: np.ndarray, ids: list[str]) -> pa.Table:
    """Scores as score.py makes them, with the decision at 0.5 and the action of the threshold."""
    decisions = probabilities >= 0.5
    columns = {
        "id": ids,
        "churn": decisions,
        "expected_value": expected_values(probabilities, COSTS),
        "action": np.where(decisions, "contact", "no contact"),
    }
    return pa.table(columns)


def test_expected_value_by_hand():
    """A churner for certain: 0.3 x 500 - 40; a customer who stays for certain costs a contact."""
    values = expected_values(np.array([1.0, 0.5, 0.0]), COSTS)
    assert values.tolist() == [110.0, 35.0, -40.0]


def test_money_pays_for_whole_contacts():
    """Rounded down, whatever the floating point says; a free contact has no limit."""
    assert affordable_contacts(119.99, COSTS) == 2
    assert affordable_contacts(0.3, COSTS.model_copy(update={"contact": 0.1})) == 3
    assert affordable_contacts(1.0, COSTS.model_copy(update={"contact": 0.0})) is None
    with pytest.raises(UserError, match="--budget-money 39 pays for no contact: one costs 40"):
        affordable_contacts(39.0, COSTS)


def test_the_most_valuable_whatever_the_order_of_the_rows():
    """Half of the customers have one value, and the budget ends among them."""
    random = np.random.default_rng(0)
    values = np.where(np.arange(len(IDS)) % 2, 7.0, random.random(len(IDS)))
    ids = np.array(IDS)

    def chosen(order: np.ndarray) -> set[str]:
        ties = tie_breakers(ids[order], Campaign(name="may"))
        return set(ids[order][most_valuable(values[order], ties, 1000)])

    first = chosen(np.arange(len(IDS)))
    assert len(first) == 1000 and all(values[IDS.index(one)] == 7.0 for one in first)
    assert first == chosen(random.permutation(len(IDS)))
    assert first != set(ids[values == 7.0][:1000]), "no place in the table is preferred"


def test_a_budget_beyond_the_candidates_selects_all():
    values = np.array([1.0, 2.0])
    assert most_valuable(values, np.arange(2), 10).all()


def test_control_group_is_the_share_and_stays():
    """A tenth, give or take; the same customers in a smaller table; others in another campaign."""
    campaign = Campaign(holdout=0.1, name="may")
    is_control = control_group(IDS, campaign)
    assert 0.09 < is_control.mean() < 0.11
    assert np.array_equal(control_group(IDS[5000:], campaign), is_control[5000:])

    june = control_group(IDS, Campaign(holdout=0.1, name="june"))
    assert 0.005 < (is_control & june).mean() < 0.015, "two campaigns are independent"
    larger = control_group(IDS, Campaign(holdout=0.3, name="may"))
    assert not (is_control & ~larger).any(), "a larger share keeps the smaller one"


def test_control_group_has_nothing_to_do_with_ties():
    """Among those whom a budget took from customers of equal value, a tenth is the control."""
    campaign = Campaign(holdout=0.1, name="may")
    chosen = most_valuable(np.ones(len(IDS)), tie_breakers(IDS, campaign), 3000)
    ids = [one for one, is_chosen in zip(IDS, chosen, strict=True) if is_chosen]
    assert 0.08 < control_group(ids, campaign).mean() < 0.12


def test_only_selected_customers_are_control():
    selected = np.arange(len(IDS)) < 4000
    result = actions(selected, IDS, Campaign(holdout=0.5, name="may"))
    assert set(result[selected]) == {"contact", "control"}
    assert set(result[~selected]) == {"no contact"}


@pytest.mark.parametrize("budget", [None, 1, 700, 10_000])
def test_batches_give_what_one_table_gives(tmp_path, budget):
    """The same rows in the same order, and one budget for all of the batches."""
    probabilities = np.random.default_rng(1).random(len(IDS)).round(2)
    whole = scores(probabilities, IDS)
    campaign = Campaign(budget, 0.2, "may")
    (expected,) = with_actions([whole], "id", campaign, tmp_path)
    batches = [whole.slice(start, 900) for start in range(0, len(IDS), 900)]
    found = list(with_actions(batches, "id", campaign, tmp_path))

    assert [len(batch) for batch in found] == [len(batch) for batch in batches]
    assert pa.concat_tables(found).equals(expected)
    selected = np.isin(expected["action"].to_pylist(), ["contact", "control"])
    candidates = int((probabilities >= 0.5).sum())
    assert selected.sum() == min(budget or candidates, candidates)
    assert probabilities[selected].min() >= 0.5
    assert list(tmp_path.iterdir()) == [], "the temporary file is gone"


def test_a_budget_without_any_scores(tmp_path):
    """Every row was rejected."""
    assert list(with_actions([], "id", Campaign(5), tmp_path)) == []
