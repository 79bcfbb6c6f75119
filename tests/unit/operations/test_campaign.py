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
from churn.operations.campaign_effect import (
    Group,
    campaign_effect,
    effect_report,
    judge_save_chance,
    rate_difference,
    relative_reduction,
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


def simulated(seed: int, save_chance: float, customers: int = 5000, holdout: float = 0.3):
    """Actions and labels of a campaign: a contact keeps a would-be churner with this chance.

    Returns:
        The actions, the labels, and how many customers were really saved.
    """
    random = np.random.default_rng(seed)
    is_control = random.random(customers) < holdout
    would_churn = random.random(customers) < random.beta(2, 3, customers)
    is_saved = would_churn & ~is_control & (random.random(customers) < save_chance)
    actions_taken = np.where(is_control, "control", "contact")
    return actions_taken, (would_churn & ~is_saved).astype(float), int(is_saved.sum())


def test_newcombes_own_example():
    """56 of 70 against 48 of 80: 0.2, from 0.0524 to 0.3339 (the paper's table II, method 10)."""
    estimate = rate_difference(Group(70, 56), Group(80, 48))
    assert estimate.value == pytest.approx(0.2)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.0524, 0.3339)


def test_katz_interval_by_hand():
    """60 of 300 against 40 of 100: a ratio of 0.5, times or over exp(1.96 x 0.16833)."""
    estimate = relative_reduction(Group(100, 40), Group(300, 60))
    factor = np.exp(1.959964 * np.sqrt(1 / 60 - 1 / 300 + 1 / 40 - 1 / 100))
    assert estimate.value == pytest.approx(0.5)
    assert estimate.low == pytest.approx(1 - 0.5 * factor, abs=1e-6)
    assert estimate.high == pytest.approx(1 - 0.5 / factor, abs=1e-6)


def test_a_planted_effect_is_measured():
    """Contacts keep 30 % of the churners: each interval holds the truth, and the assumption too."""
    taken, labels, saved = simulated(2, 0.3)
    effect = campaign_effect(taken, labels, COSTS)
    contacted = int((taken == "contact").sum())
    assert effect.contacted.customers == contacted
    assert effect.saved_customers.low < saved < effect.saved_customers.high
    assert effect.churn_prevented.low > 0
    assert effect.money.value == pytest.approx(effect.saved_customers.value * 500 - contacted * 40)
    assert effect.money.low < saved * 500 - contacted * 40 < effect.money.high
    assert effect.save_chance.low < 0.3 < effect.save_chance.high
    assert effect.verdict == "holds"
    assert effect.as_metrics()["campaign.save_chance"] == effect.save_chance.value
    report = effect_report(effect)
    assert f"{contacted:,} contacted, churn rate {effect.contacted.churn_rate:.4f}" in report
    assert report.endswith("save_chance 0.3, on which the model's costs rely: holds")


@pytest.mark.parametrize("save_chance", [0.0, 0.3])
def test_intervals_cover_the_truth(save_chance):
    """Over 200 campaigns: the difference, the saved customers and the save chance."""
    covered = []
    for seed in range(200):
        taken, labels, _ = simulated(seed, save_chance, customers=2000)
        effect = campaign_effect(taken, labels, COSTS)
        truths = (0.4 * save_chance, 0.4 * save_chance * effect.contacted.customers, save_chance)
        estimates = (effect.churn_prevented, effect.saved_customers, effect.save_chance)
        pairs = zip(estimates, truths, strict=True)
        covered.append([estimate.low <= truth <= estimate.high for estimate, truth in pairs])
    coverage = np.mean(covered, axis=0)
    assert (coverage >= 0.90).all() and (coverage <= 0.99).all(), coverage


@pytest.mark.parametrize(
    ("truth", "customers", "verdict"),
    [
        (0.0, 20_000, "too high"),
        (0.1, 20_000, "too high"),
        (0.3, 20_000, "holds"),
        (0.6, 20_000, "too low"),
        (0.3, 100, "cannot be told"),
    ],
)
def test_verdict_on_the_assumption(truth, customers, verdict):
    """COSTS assume 0.3."""
    taken, labels, _ = simulated(0, truth, customers)
    assert campaign_effect(taken, labels, COSTS).verdict == verdict


def test_groups_without_churners():
    """Nobody of the control group churned: no save chance. Nobody contacted did: an interval."""
    nobody = relative_reduction(Group(10, 0), Group(100, 5))
    assert np.isnan(nobody.value) and judge_save_chance(nobody, 0.3) == "cannot be told"
    everybody = relative_reduction(Group(1000, 300), Group(1000, 0))
    assert everybody.value == 1.0 and 0.9 < everybody.low < everybody.high < 1.0
    labels = np.repeat([0.0, 1.0], 5)
    taken = np.repeat(["control", "contact"], 5)
    assert "save chance - -" in " ".join(
        effect_report(campaign_effect(taken, labels, COSTS)).split()
    )


@pytest.mark.parametrize("only", ["contact", "control", "no contact", ""])
def test_one_group_alone_tells_nothing(only):
    effect = campaign_effect(np.full(10, only), np.repeat([0.0, 1.0], 5), COSTS)
    assert effect is None
    assert "cannot be told" in effect_report(effect) and "--holdout" in effect_report(effect)
