"""Drift: planted faults are found and named, an unchanged batch raises no alarm, late labels are
measured.
"""

import sys

import numpy as np
import pandas as pd
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

    def call(table: pd.DataFrame, *options) -> tuple[int, str]:
        table.to_parquet(tmp_path / "c.parquet")
        codes = []
        for command, more in ((score, ["--max-rejected", "1"]), (verb, options)):
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
