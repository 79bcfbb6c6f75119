"""Drift: planted faults are found and named, an unchanged batch raises no alarm, late labels are
measured.
"""

import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import monitor as verb
import score
from churn import paths
from churn.data import customer_table
from churn.data.contract import load_contract
from churn.data.drift import fit_bins
from churn.errors import UserError
from churn.files import md5
from churn.modeling.booster import load_booster, predict_probabilities
from churn.operations import estimated_performance
from churn.operations.monitoring import BatchCounts, count_batch, drift_table, find_alarms
from churn.params import load_params
from churn.tracking import dvc_cache
from conftest import Project

pytestmark = pytest.mark.sample


@pytest.fixture(scope="module")
def trained(tiny_pipeline, tmp_path_factory) -> Project:
    """A project with a model in production."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("monitor"))
    project.out("python", "src/promote.py", "--reason", "first", "--yes")
    return project


@pytest.fixture
def customers(trained, inside) -> pd.DataFrame:
    """Two thousand customers, in the project."""
    inside(trained)
    return pd.read_parquet("data/raw.parquet").sample(2000, random_state=0).reset_index(drop=True)


@pytest.fixture
def monitor(trained, customers, capsys, monkeypatch, tmp_path):
    """Score a table and monitor the scores, in this process: the exit code and what was printed."""

    def call(table: pd.DataFrame, *options, scoring: tuple = ()) -> tuple[int, str]:
        table.to_parquet(tmp_path / "c.parquet")
        codes = []
        for command, more in ((score, ["--max-rejected", "1", *scoring]), (verb, options)):
            capsys.readouterr()
            paths = [str(tmp_path / "c.parquet"), str(tmp_path / "s.parquet")]
            monkeypatch.setattr(sys, "argv", ["", *paths, *map(str, more)])
            try:
                command.main()
                codes.append(0)
            except SystemExit as ended:
                codes.append(ended.code)
        printed = capsys.readouterr()
        return codes[1], printed.out + printed.err

    return call


def order(printed: str) -> list[str]:
    """The columns as the table lists them."""
    lines = printed.splitlines()[1:]
    return [line.split()[0] for line in lines[: lines.index("")]]


def test_no_change_is_no_alarm(trained, customers, monitor, tmp_path):
    """Exit code 0; the table names every feature and the score, the plot is drawn, metrics are in
    MLflow.
    """
    code, printed = monitor(customers)
    assert code == 0 and "alarm: " not in printed
    assert set(order(printed)) == {*customers, "churn_probability"} - {"customer_id", "churn"}
    assert (tmp_path / "s.drift.png").read_bytes().startswith(b"\x89PNG")
    run = trained.runs("monitor")[0]
    assert (
        run.data.metrics["psi.tenure"] < 0.02
        and run.data.metrics["js_distance.churn_probability"] < 0.1
    )
    assert run.data.tags["alarms"] == "none" and run.data.tags["model_version"] == "1"
    assert {"drift.csv", "s.drift.png"} <= {
        item.path for item in trained.client.list_artifacts(run.info.run_id)
    }


FAULTS = {
    "a unit": ({"monthly_charges": lambda v: v * 100}, ["monthly_charges"]),
    "a category renamed": (
        {"payment_method": lambda v: v.replace("Electronic check", "E-check")},
        ["payment_method"],
    ),
    "nulls": ({"total_charges": lambda v: v.where(v.index % 3 > 0)}, ["total_charges"]),
    "three columns shifted": (
        {
            "tenure": lambda v: (v + 6).clip(upper=72),
            "monthly_charges": lambda v: v + 10,
            "total_charges": lambda v: v * 2,
        },
        ["tenure", "monthly_charges", "total_charges"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_come_first_and_alarm(trained, customers, monitor, fault):
    """The changed columns, and no others but the score, are the first of the table and in the
    alarms: exit code 4.
    """
    changes, expected = FAULTS[fault]
    code, printed = monitor(
        customers.assign(**{name: change(customers[name]) for name, change in changes.items()})
    )
    assert code == 4
    assert set(
        [name for name in order(printed) if name != "churn_probability"][: len(expected)]
    ) == set(expected)
    alarmed = {
        line.split()[1].strip(":") for line in printed.splitlines() if line.startswith("alarm: ")
    }
    assert set(expected) <= alarmed <= {*expected, "churn_probability", "no"}
    assert trained.runs("monitor")[0].data.tags["alarms"] != "none"


def test_invalid_values_are_a_share_of_their_column(customers, monitor):
    """A renamed category: the rows are rejected when scored, and here counted in their column."""
    share = (customers["payment_method"] == "Electronic check").mean()
    changed = customers["payment_method"].replace("Electronic check", "E-check")
    _, printed = monitor(customers.assign(payment_method=changed))
    assert (
        f"payment_method: {share:.1%} break the contract, above monitor.max_invalid 0.01" in printed
    )


@pytest.mark.parametrize("size", [50, 1000])
def test_false_alarms(trained, customers, size):
    """100 draws from customers that the model has not seen, nothing changed: at most 5 raise any
    alarm, whatever the size of the batch. The fault of half a standard deviation in one column is
    found in each draw of 1,000.
    """
    p = load_params()
    rules = load_contract(paths.SCHEMA, "customer_id", "churn", "Yes")
    train, valid, test = (pd.read_parquet(path) for path in paths.SPLITS.values())
    unseen = pd.concat([valid, test], ignore_index=True)
    booster = load_booster(paths.MODEL)
    for table in (unseen, test):
        table["churn_probability"] = predict_probabilities(booster, table, rules)
    bins = {column.name: fit_bins(train[column.name], column) for column in rules.features}
    expected = {name: column.count(train[name]) for name, column in bins.items()}
    bins["churn_probability"] = fit_bins(test["churn_probability"])
    expected["churn_probability"] = bins["churn_probability"].count(test["churn_probability"])

    def alarms(rows: pd.DataFrame) -> list[str]:
        actual = {name: column.count(rows[name]) for name, column in bins.items()}
        drift = drift_table(expected, BatchCounts(actual, rows=len(rows)))
        return find_alarms(drift, {}, {}, p.monitor)

    draws = [unseen.sample(size, random_state=seed) for seed in range(100)]
    assert sum(bool(alarms(rows)) for rows in draws) <= 5
    if size == 1000:
        shift = train["monthly_charges"].std() / 2
        assert all(
            alarms(rows.assign(monthly_charges=rows["monthly_charges"] + shift))
            for rows in draws[:20]
        )


def test_labels(trained, customers, monitor, tmp_path):
    """Metrics of the customers whose labels are known, with intervals; a model that no longer ranks
    them alarms.
    """
    known = customers[["customer_id", "churn"]].head(1500)
    known.to_csv(tmp_path / "l.csv", index=False)
    code, printed = monitor(customers, "--labels", tmp_path / "l.csv")
    assert code == 0 and "labelled customers" in printed
    from sklearn.metrics import roc_auc_score

    scores = pd.read_parquet(tmp_path / "s.parquet").head(1500)
    expected = roc_auc_score(known["churn"] == "Yes", scores["churn_probability"])
    assert trained.runs("monitor")[0].data.metrics["labelled.roc_auc"] == pytest.approx(expected)
    shuffled = known["churn"].sample(frac=1, random_state=0).to_numpy()
    known.assign(churn=shuffled).to_csv(tmp_path / "l.csv", index=False)
    code, printed = monitor(customers, "--labels", tmp_path / "l.csv")
    assert code == 4 and "alarm: ROC AUC 0." in printed and "monitor.max_auc_drop" in printed
    known.assign(churn="Maybe").to_csv(tmp_path / "l.csv", index=False)
    with pytest.raises(UserError, match="'Maybe', not one of 'No', 'Yes'"):
        monitor(customers, "--labels", tmp_path / "l.csv")


def test_what_does_not_belong_together_is_refused(
    trained, customers, monitor, monkeypatch, tmp_path
):
    """Scores of another table, scores without lineage, training rows that nobody has."""
    monitor(customers)
    other = tmp_path / "other.parquet"
    customers.head(10).to_parquet(other)
    monkeypatch.setattr(sys, "argv", ["", str(other), str(tmp_path / "s.parquet")])
    with pytest.raises(UserError, match="is not the table that was scored"):
        verb.main()
    monkeypatch.setattr(sys, "argv", ["", str(other), str(other)])
    with pytest.raises(UserError, match="does not say which model made it"):
        verb.main()
    places = ("DVC's cache", "the remote storage at .*", "the remote sample at .*")
    none = ", ".join(rf"{place} \(it has none\)" for place in places)
    with pytest.raises(
        UserError, match=rf"md5 0{{32}}\) is intact in none of the places that DVC knows: {none}"
    ):
        dvc_cache.fetch_to_cache("0" * 32, "the training split")


def test_training_rows_come_from_a_remote(trained, customers, tmp_path):
    """Gone from the cache, the rows that a version was trained on are fetched by their md5."""
    trained.out("dvc", "push", "-q")
    digest = trained.outs()["data/prepared/train.parquet"]
    path = dvc_cache.fetch_to_cache(digest, "the training split")
    path.rename(tmp_path / "aside")
    assert md5(dvc_cache.fetch_to_cache(digest, "the training split")) == digest


def test_batches_are_counted_as_the_whole(trained, customers, monkeypatch, tmp_path):
    """A table that is read in many batches has the counts of one that is read at once."""
    rules = load_contract(paths.SCHEMA, "customer_id", "churn", "Yes")
    bins = {column.name: fit_bins(customers[column.name], column) for column in rules.features}
    customers.to_parquet(tmp_path / "c.parquet")
    counted = []
    for rows in (10_000, 300):
        monkeypatch.setattr(customer_table, "BATCH_ROWS", rows)
        table = customer_table.CustomerTable(str(tmp_path / "c.parquet"), rules, list(bins))
        counted.append(count_batch(table, rules, bins, lambda rows: None))
    whole, parts = counted
    assert all(np.array_equal(whole.bins[name], parts.bins[name]) for name in bins)
    assert (whole.invalid, whole.rows) == (parts.invalid, parts.rows)


def after_a_campaign(customers: pd.DataFrame, scores: pd.DataFrame, save_chance: float):
    """Labels after contacting: each contacted churner stays with this chance."""
    random = np.random.default_rng(0)
    is_contacted = (scores["action"] == "contact").to_numpy()
    is_saved = is_contacted & (random.random(len(scores)) < save_chance)
    return customers[["customer_id", "churn"]].assign(churn=customers["churn"].mask(is_saved, "No"))


@pytest.mark.parametrize(("save_chance", "verdict"), [(0.3, "holds"), (0.0, "too high")])
def test_what_contacting_achieved(trained, customers, monitor, tmp_path, save_chance, verdict):
    """Score with a control group, let contacts keep churners, monitor with labels: the effect, its
    interval and the verdict are printed and in MLflow.
    """
    everybody = pd.read_parquet("data/raw.parquet")
    campaign = ("--holdout", "0.4", "--campaign", "spring")
    monitor(everybody, scoring=campaign)
    scores = pd.read_parquet(tmp_path / "s.parquet")
    labels = after_a_campaign(everybody, scores, save_chance)
    labels.to_parquet(tmp_path / "l.parquet")
    code, printed = monitor(everybody, "--labels", tmp_path / "l.parquet", scoring=campaign)
    assert code == 0, "what contacting achieved raises no alarm"
    assert f"save_chance 0.3, on which the model's costs rely: {verdict}" in printed

    run = trained.runs("monitor")[0]
    metrics, tags = run.data.metrics, run.data.tags
    churned = labels["churn"] == "Yes"
    rates = {
        action: churned[scores["action"] == action].mean() for action in ("contact", "control")
    }
    assert metrics["campaign.contacted_churn_rate"] == pytest.approx(rates["contact"])
    assert metrics["campaign.control_churn_rate"] == pytest.approx(rates["control"])
    low, high = (metrics[f"campaign.save_chance_{end}"] for end in ("low", "high"))
    assert low < save_chance < high
    contacted = (scores["action"] == "contact").sum()
    assert metrics["campaign.money"] == pytest.approx(
        metrics["campaign.saved_customers"] * 500 - contacted * 40
    )
    assert (tags["campaign"], tags["holdout"], tags["save_chance"]) == ("spring", "0.4", verdict)


def test_labels_without_a_control_group(trained, customers, monitor, tmp_path):
    """The metrics are there; what contacting achieved is not, and the page says what it takes."""
    customers[["customer_id", "churn"]].to_csv(tmp_path / "l.csv", index=False)
    code, printed = monitor(customers, "--labels", tmp_path / "l.csv", scoring=("--budget", "100"))
    assert code == 0 and "labelled customers" in printed
    assert "what contacting achieved cannot be told" in printed and "--holdout 0.1" in printed
    assert "campaign.money" not in trained.runs("monitor")[0].data.metrics


def test_scores_of_an_earlier_release(customers, monitor, tmp_path, monkeypatch, capsys):
    """Scores without value and action: drift, metrics and the estimate, as with them."""
    labels = tmp_path / "l.csv"
    customers[["customer_id", "churn"]].to_csv(labels, index=False)
    _, with_actions = monitor(customers, "--labels", labels)
    scores = pq.read_table(tmp_path / "s.parquet")
    lineage = pq.read_metadata(tmp_path / "s.parquet").metadata
    earlier = scores.drop_columns(["expected_value", "action"]).replace_schema_metadata(lineage)
    pq.write_table(earlier, tmp_path / "s.parquet")
    monkeypatch.setattr(
        sys,
        "argv",
        ["", str(tmp_path / "c.parquet"), str(tmp_path / "s.parquet"), "--labels", str(labels)],
    )
    verb.main()
    assert capsys.readouterr().out == with_actions


def test_an_estimate_before_labels(trained, customers, monitor, tmp_path):
    """ROC AUC and value from the scores alone, by the version's own costs; logged, no alarm. Labels
    add what was measured.
    """
    trained.set(**{"evaluate.costs.contact": 1.0})
    try:
        code, printed = monitor(customers)
    finally:
        trained.set(**{"evaluate.costs.contact": 40.0})
    assert code == 0 and "estimated from the scores" in printed
    assert estimated_performance.ASSUMPTION in printed and "labelled customers" not in printed

    scores = pd.read_parquet(tmp_path / "s.parquet")
    probabilities, decisions = scores["churn_probability"], scores["churn"]
    metrics = trained.runs("monitor")[0].data.metrics
    value = (probabilities * 0.3 * 500 - 40).where(decisions, 0).mean()
    assert metrics["estimated_value_per_customer"] == pytest.approx(value)
    low, high = (metrics[f"estimated_roc_auc_{end}"] for end in ("low", "high"))
    assert low < metrics["estimated_roc_auc"] < high

    customers[["customer_id", "churn"]].to_csv(tmp_path / "l.csv", index=False)
    trained.set(**{"evaluate.costs.contact": 1.0})
    try:
        _, printed = monitor(customers, "--labels", tmp_path / "l.csv")
    finally:
        trained.set(**{"evaluate.costs.contact": 40.0})
    (line,) = [line for line in printed.splitlines() if "estimated from the scores" in line]
    assert line.split()[-2:] == ["labelled", "customers"]
    metrics = trained.runs("monitor")[0].data.metrics
    gains = (customers["churn"] == "Yes") * 0.3 * 500 - 40
    measured = gains.where(decisions, 0).mean()
    assert metrics["labelled.value_per_customer"] == pytest.approx(measured)
    assert metrics["estimated_roc_auc_low"] == low


def test_nobody_scored_is_no_estimate(trained, customers, monitor):
    """Every row was rejected: an alarm, and nothing to estimate from."""
    code, printed = monitor(customers.assign(contract="?"))
    assert code == 4 and "no customer was scored" in printed
    assert "estimated" not in printed
    assert "estimated_roc_auc" not in trained.runs("monitor")[0].data.metrics
