"""Batch scoring: what it writes, what it sets aside and why, what it refuses, and what a killed run
leaves.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import score as verb
from churn import paths
from churn.data import customer_table
from churn.data.contract import load_contract
from churn.errors import UserError
from churn.files import md5
from churn.modeling.booster import feature_contributions, load_booster, predict_probabilities
from churn.operations import version_costs
from conftest import BIN, Project

pytestmark = pytest.mark.sample


@pytest.fixture(scope="module")
def trained(tiny_pipeline, tmp_path_factory) -> Project:
    """A project with a model in production."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("score"))
    project.out("python", "src/promote.py", "--reason", "first", "--yes")
    return project


@pytest.fixture
def customers(trained, inside) -> pd.DataFrame:
    """The raw table, in the project, without what a customer's end would tell."""
    inside(trained)
    return pd.read_parquet("data/raw.parquet").drop(columns="churn")


@pytest.fixture
def score(trained, inside, capsys, monkeypatch):
    """Call the command in this process: its exit code and what it printed.

    A mistake is a UserError.
    """
    inside(trained)

    def call(*arguments) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["score.py", *map(str, arguments)])
        code = 0
        try:
            verb.main()
        except SystemExit as ended:
            code = ended.code
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return call


def rejected(path) -> pd.Series:
    """The reasons by row number."""
    return pd.read_parquet(path.with_suffix(".rejected.parquet")).set_index("row")["reason"]


def test_scores_are_the_models(customers, score, tmp_path):
    """Id, the booster's own probability, and the decision at the version's threshold, for every row
    in its order.
    """
    customers.to_parquet(tmp_path / "c.parquet")
    code, printed = score(tmp_path / "c.parquet", tmp_path / "s.parquet")
    assert (
        code == 0
        and "7,043 customers read, 7,043 scored by ChurnXGB version 1, 0 rejected" in printed
    )
    scores = pd.read_parquet(tmp_path / "s.parquet")
    rules = load_contract(paths.SCHEMA, "customer_id", "churn", "Yes")
    expected = predict_probabilities(load_booster(paths.MODEL), customers, rules)
    assert list(scores) == [
        "customer_id",
        "churn_probability",
        "churn",
        "expected_value",
        "action",
    ]
    assert scores["customer_id"].equals(customers["customer_id"])
    assert np.array_equal(scores["churn_probability"], expected)
    threshold = json.loads(paths.METRICS.read_text())["threshold"]
    assert np.array_equal(scores["churn"], expected >= threshold)
    assert len(rejected(tmp_path / "s.parquet")) == 0


def test_lineage_is_in_the_file_and_in_mlflow(trained, customers, score, tmp_path):
    """Model version and the md5s of model and input, in the Parquet metadata and in the run; and
    the counts.
    """
    customers.to_parquet(tmp_path / "c.parquet")
    score(tmp_path / "c.parquet", tmp_path / "s.parquet")
    written = json.loads(pq.read_metadata(tmp_path / "s.parquet").metadata[b"churn_lineage"])
    assert written["model_md5"] == trained.outs()["models/churn.ubj"]
    assert written["input_md5"] == md5(tmp_path / "c.parquet")
    assert (written["model"], written["model_version"], written["rows_scored"]) == (
        "ChurnXGB",
        "1",
        7043,
    )
    run = trained.runs("score")[0]
    assert {
        key: run.data.tags[key] for key in ("model_version", "model_md5", "input_md5")
    }.items() <= written.items()
    assert run.data.tags["scores_md5"] == md5(tmp_path / "s.parquet")
    assert run.data.metrics["rows_read"] == 7043 and run.info.status == "FINISHED"


def test_reasons_are_the_strongest_contributions(customers, score, tmp_path):
    """--explain names the three features with the largest TreeSHAP values, with their values,
    strongest first.
    """
    some = customers.head(50)
    some.to_parquet(tmp_path / "c.parquet")
    score(tmp_path / "c.parquet", tmp_path / "s.parquet", "--explain")
    scores = pd.read_parquet(tmp_path / "s.parquet")
    rules = load_contract(paths.SCHEMA, "customer_id", "churn", "Yes")
    values = feature_contributions(load_booster(paths.MODEL), some, rules).drop(columns="bias")
    for row in range(len(some)):
        strongest = values.iloc[row].abs().sort_values(ascending=False).index[:3]
        for place, name in enumerate(strongest, 1):
            assert scores[f"reason_{place}"][row].startswith(f"{name} = ")
            assert scores[f"contribution_{place}"][row] == pytest.approx(values[name].iloc[row])


BROKEN = {  # column: value, and what the reason says
    "unknown category": ("contract", "Three year", "contract: 'Three year' breaks isin"),
    "null text": ("contract", None, "contract: null where none is allowed"),
    "null number": ("tenure", np.nan, "tenure: null where none is allowed"),
    "out of range": ("tenure", 500.0, "tenure: 500.0 breaks in_range"),
    "negative": ("monthly_charges", -1.0, "monthly_charges: -1.0 breaks in_range"),
    "half a month": ("tenure", 1.5, "tenure: 1.5 breaks whole number"),
    "infinite": ("total_charges", np.inf, "total_charges: inf breaks finite number"),
    "unlisted number": ("partner", 2.0, "partner: 2.0 breaks isin"),
    "null id": ("customer_id", None, "customer_id: null where none is allowed"),
    "duplicate id": ("customer_id", "C0001", "customer_id: duplicate id 'C0001'"),
}


@pytest.mark.parametrize("form", ["parquet", "csv", "csv.gz"])
def test_broken_rows_are_set_aside_with_their_reasons(
    customers, score, tmp_path, form, monkeypatch
):
    """Each kind of fault in a row of its own, one row with two, over several batches: nobody is
    lost, all the others are scored, and each reason names column and value.
    """
    monkeypatch.setattr(customer_table, "BATCH_ROWS", 1000)
    table = customers.astype({"tenure": float, "partner": float})
    expected = {}
    for place, (column, value, reason) in enumerate(BROKEN.values()):
        row = 300 * place + 7
        table.loc[row, column] = value
        expected[row + 1] = reason
    table.loc[6000, ["tenure", "contract"]] = [-1.0, "?"]
    source, target = tmp_path / f"c.{form}", tmp_path / "s.parquet"
    table.to_parquet(source) if form == "parquet" else table.to_csv(source, index=False)
    code, printed = score(source, target)
    assert (
        code == 0 and "7,043 customers read, 7,032 scored" in printed and "11 rejected" in printed
    )
    reasons = rejected(target)
    assert list(reasons.index) == sorted([*expected, 6001])
    assert all(reason in reasons[row] for row, reason in expected.items())
    assert "tenure: -1.0" in reasons[6001] and "contract: '?'" in reasons[6001]
    aside = pd.read_parquet(target.with_suffix(".rejected.parquet"))
    together = pd.concat([pd.read_parquet(target)["customer_id"], aside["customer_id"]])
    assert sorted(together.fillna("null")) == sorted(table["customer_id"].fillna("null"))
    code, printed = score(source, target, "--max-rejected", 0.001)
    assert code == 3 and "0.16% rejected, more than --max-rejected 0.001" in printed
    assert len(pd.read_parquet(target)) == 7032, "the files are written all the same"


def test_csv_cells_and_lines_that_are_none(customers, score, tmp_path):
    """A text in a number, and lines with too few or too many cells: set aside, counted, their rows
    numbered.
    """
    lines = customers.head(20).to_csv(index=False).splitlines()
    cells = lines[3].split(",")
    cells[customers.columns.get_loc("tenure")] = "twelve"
    lines[3] = ",".join(cells)
    lines[5:5] = ["C9,Yes"]
    lines[8:8] = [lines[8] + ",1"]
    (tmp_path / "c.csv").write_text("\n".join(lines) + "\n")
    code, printed = score(tmp_path / "c.csv", tmp_path / "s.parquet")
    assert code == 3 and "22 customers read, 19 scored" in printed and "3 rejected" in printed
    reasons = rejected(tmp_path / "s.parquet")
    assert reasons[3] == "tenure: 'twelve' is not a number"
    assert reasons[5] == "the line has 2 cells, the header 20: C9,Yes"
    assert reasons[8].startswith("the line has 21 cells, the header 20")


def test_every_row_rejected(customers, score, tmp_path):
    customers.assign(contract="?").to_parquet(tmp_path / "c.parquet")
    code, printed = score(tmp_path / "c.parquet", tmp_path / "s.parquet")
    assert code == 3 and "7,043 customers read, 0 scored" in printed
    assert len(pd.read_parquet(tmp_path / "s.parquet")) == 0


def test_same_bytes_again(customers, score, tmp_path):
    """A rerun writes the same bytes. Other columns and another order of columns change no score."""
    digests, scores = [], []
    for table in (
        customers,
        customers,
        customers.assign(email="a@example.com")[["email", *customers][::-1]],
    ):
        table.to_parquet(tmp_path / "c.parquet")
        score(tmp_path / "c.parquet", tmp_path / "s.parquet")
        digests.append(md5(tmp_path / "s.parquet"))
        scores.append(pd.read_parquet(tmp_path / "s.parquet"))
    assert digests[0] == digests[1]
    assert scores[0].equals(scores[2])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.parquet", None, "does not exist"),
        ("c.parquet", b"no parquet", "cannot be read"),
        ("c.csv", b"", "missing column"),
        ("c.csv.gz", b"no gzip", "cannot be read"),
        ("gs://bucket/c.parquet", None, "gcsfs"),
        ("nowhere://c.parquet", None, "nowhere"),
        (".", None, "folder"),
    ],
)
def test_tables_that_cannot_be_read(score, tmp_path, name, content, says):
    source = name if "://" in name else tmp_path / name
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(UserError, match=says):
        score(source, tmp_path / "s.parquet")
    assert not (tmp_path / "s.parquet").exists()


def test_tables_that_do_not_fit(customers, score, tmp_path):
    """Missing columns and columns of another type, all in one message; no rows; a quote that
    swallows lines.
    """
    table = customers.drop(columns=["contract", "tenure"]).assign(partner="yes")
    table.to_parquet(tmp_path / "c.parquet")
    with pytest.raises(UserError) as caught:
        score(tmp_path / "c.parquet", tmp_path / "s.parquet")
    said = str(caught.value)
    assert (
        "tenure: missing column" in said
        and "contract: missing column" in said
        and "partner: must be int64" in said
    )
    customers.head(0).to_csv(tmp_path / "c.csv", index=False)
    with pytest.raises(UserError, match="is empty"):
        score(tmp_path / "c.csv", tmp_path / "s.parquet")
    lines = customers.head(20).to_csv(index=False).splitlines()
    lines[4] = '"' + lines[4]
    (tmp_path / "c.csv").write_text("\n".join(lines))
    with pytest.raises(UserError, match="line 5: a cell runs over several lines"):
        score(tmp_path / "c.csv", tmp_path / "s.parquet")


def test_an_alias_that_does_not_exist(customers, score, tmp_path):
    """Refused by name, with those that exist; so is a folder that does not exist."""
    customers.to_parquet(tmp_path / "c.parquet")
    with pytest.raises(UserError, match="no alias 'champion'; it has production .version 1."):
        score(tmp_path / "c.parquet", tmp_path / "s.parquet", "--alias", "champion")
    with pytest.raises(UserError, match="the folder .* does not exist"):
        score(tmp_path / "c.parquet", tmp_path / "none/s.parquet")
    with pytest.raises(UserError, match="is a folder; name a file"):
        score(tmp_path / "c.parquet", tmp_path)
    with pytest.raises(UserError, match="is the table of customers"):
        score(tmp_path / "c.parquet", tmp_path / "c.parquet")
    assert len(pd.read_parquet(tmp_path / "c.parquet")) == len(customers)


def test_a_url(customers, score, tmp_path):
    """A table behind an fsspec URL, here of a real HTTP server, gives the same bytes as the
    file.
    """
    customers.to_csv(tmp_path / "c.csv", index=False)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        score(tmp_path / "c.csv", tmp_path / "file.parquet")
        code, _ = score(
            f"http://127.0.0.1:{server.server_port}/c.csv", f"file://{tmp_path}/url.parquet"
        )
    finally:
        server.shutdown()
        server.server_close()
    assert code == 0 and md5(tmp_path / "url.parquet") == md5(tmp_path / "file.parquet")


def test_a_killed_run_leaves_no_half_file(trained, customers, tmp_path):
    """SIGKILL in the middle: neither file is there, an earlier one is whole, and a rerun goes
    through.
    """
    parts = [customers.assign(customer_id=customers["customer_id"] + f"-{i}") for i in range(60)]
    pd.concat(parts).to_parquet(tmp_path / "c.parquet")
    (tmp_path / "s.parquet").write_bytes(b"yesterday's")
    command = [
        sys.executable,
        "src/score.py",
        str(tmp_path / "c.parquet"),
        str(tmp_path / "s.parquet"),
    ]
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    running = subprocess.Popen(command, cwd=trained.folder, env=env, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not any(path.stat().st_size > 100_000 for path in tmp_path.glob(".s.parquet.*.part")):
        assert running.poll() is None and time.monotonic() < deadline, "it was never seen writing"
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert (tmp_path / "s.parquet").read_bytes() == b"yesterday's"
    assert not (tmp_path / "s.rejected.parquet").exists()
    printed = trained.out(*command)
    assert f"{len(parts) * len(customers):,} scored" in printed
    assert pq.read_metadata(tmp_path / "s.parquet").num_rows == len(parts) * len(customers)


def test_expected_value_is_by_the_costs_of_the_version(trained, customers, score, tmp_path):
    """Whatever params.yaml says today; without a campaign the threshold decides."""
    customers.to_parquet(tmp_path / "c.parquet")
    trained.set(**{"evaluate.costs.contact": 1.0, "evaluate.costs.save_chance": 1.0})
    try:
        _, printed = score(tmp_path / "c.parquet", tmp_path / "s.parquet")
    finally:
        trained.set(**{"evaluate.costs.contact": 40.0, "evaluate.costs.save_chance": 0.3})
    scores = pd.read_parquet(tmp_path / "s.parquet")
    assert np.allclose(scores["expected_value"], scores["churn_probability"] * 0.3 * 500 - 40)
    assert np.array_equal(scores["action"] == "contact", scores["churn"])
    assert set(scores["action"]) == {"contact", "no contact"}
    value = scores.loc[scores["churn"], "expected_value"].sum()
    assert f"{scores['churn'].sum():,} to contact, expected value {value:,.2f}\n" in printed


def test_costs_that_nobody_recorded(trained, customers, score, tmp_path, monkeypatch):
    """A version whose run is gone: today's costs, and a note that says so."""
    monkeypatch.setattr(version_costs, "registered_costs", lambda version: None)
    customers.head(100).to_parquet(tmp_path / "c.parquet")
    code, printed = score(tmp_path / "c.parquet", tmp_path / "s.parquet")
    assert code == 0 and "note: ChurnXGB version 1 no longer says by which costs" in printed


def test_a_budget_takes_the_most_valuable(customers, score, tmp_path, monkeypatch):
    """Over several batches and with ties that the budget cuts: 500 customers, the same ones in any
    order of the rows; a rerun writes the same bytes. Money buys as many as it pays for.
    """
    monkeypatch.setattr(customer_table, "BATCH_ROWS", 1000)
    twins = customers.assign(customer_id="twin-" + customers["customer_id"])
    table = pd.concat([customers, twins]).reset_index(drop=True)
    table.loc[5, "contract"] = "?"
    source, target = tmp_path / "c.parquet", tmp_path / "s.parquet"
    chosen, digests = [], []
    for rows in (table, table, table.sample(frac=1, random_state=0)):
        rows.to_parquet(source)
        _, printed = score(source, target, "--budget", 501)
        assert "14,086 customers read, 14,085 scored" in printed and "501 to contact" in printed
        scores = pd.read_parquet(target)
        assert (
            scores["customer_id"].tolist() == rows.query("contract != '?'")["customer_id"].tolist()
        )
        is_contact = scores["action"] == "contact"
        chosen.append(set(scores.loc[is_contact, "customer_id"]))
        digests.append(md5(target))
        least = scores.loc[is_contact, "expected_value"].min()
        assert least >= scores.loc[~is_contact, "expected_value"].max()
    assert chosen[0] == chosen[2] and len(chosen[0]) == 501
    assert digests[0] == digests[1]
    _, printed = score(source, target, "--budget-money", 501 * 40 + 39)
    scores = pd.read_parquet(target)
    assert set(scores.loc[scores["action"] == "contact", "customer_id"]) == chosen[0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "c.parquet",
        "s.parquet",
        "s.rejected.parquet",
    ]


def test_a_budget_costs_no_reasons(customers, score, tmp_path):
    """--explain beside a budget: the same reasons as without one."""
    customers.head(300).to_parquet(tmp_path / "c.parquet")
    score(tmp_path / "c.parquet", tmp_path / "all.parquet", "--explain")
    score(tmp_path / "c.parquet", tmp_path / "few.parquet", "--explain", "--budget", 10)
    everybody, few = (pd.read_parquet(tmp_path / name) for name in ("all.parquet", "few.parquet"))
    assert few.drop(columns="action").equals(everybody.drop(columns="action"))
    assert (few["action"] == "contact").sum() == 10


def test_a_control_group_is_left_alone(trained, customers, score, tmp_path):
    """A tenth of the selected, the same customers next month; run and file say how it was drawn."""
    source, target = tmp_path / "c.parquet", tmp_path / "s.parquet"
    options = ("--holdout", 0.1, "--campaign", "spring")
    customers.to_parquet(source)
    _, printed = score(source, target, *options)
    may = pd.read_parquet(target).set_index("customer_id")
    selected = may[may["churn"]]
    is_control = selected["action"] == "control"
    assert 0.07 < is_control.mean() < 0.13
    assert (may.loc[~may["churn"], "action"] == "no contact").all()
    assert f"; {is_control.sum()} in the control group" in printed

    written = json.loads(pq.read_metadata(target).metadata[b"churn_lineage"])
    assert (written["campaign"], written["holdout"]) == ("spring", "0.1")
    assert written["rows_control"] == is_control.sum() and "budget" not in written
    run = trained.runs("score")[0]
    assert (run.data.params["campaign"], run.data.params["holdout"]) == ("spring", "0.1")
    assert run.data.metrics["rows_control"] == is_control.sum()
    assert run.data.metrics["rows_contacted"] == (~is_control).sum()

    customers.sample(frac=0.5, random_state=1).to_parquet(source)
    score(source, target, *options, "--budget", 1000)
    june = pd.read_parquet(target).set_index("customer_id")
    again = june[june["action"] != "no contact"]
    assert len(again) == 1000
    assert again["action"].equals(may.loc[again.index, "action"])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--holdout", "1.5", "--campaign", "may"], "--holdout 1.5 is not between 0 and 1"),
        (["--holdout", "0", "--campaign", "may"], "--holdout 0 is not between 0 and 1"),
        (["--holdout", "nan", "--campaign", "may"], "--holdout nan is not between 0 and 1"),
        (["--holdout", "0.1"], "--holdout needs --campaign NAME"),
        (["--holdout", "0.1", "--campaign", ""], "--holdout needs --campaign NAME"),
        (["--budget", "0"], "--budget 0 selects nobody"),
        (["--budget-money", "nan"], "--budget-money nan is no amount"),
        (["--budget-money", "39"], "--budget-money 39 pays for no contact: one costs 40"),
    ],
)
def test_options_that_describe_no_campaign(customers, score, tmp_path, options, says):
    customers.head(10).to_parquet(tmp_path / "c.parquet")
    with pytest.raises(UserError, match=says):
        score(tmp_path / "c.parquet", tmp_path / "s.parquet", *options)
    assert not (tmp_path / "s.parquet").exists()


def test_two_budgets(score, tmp_path, capsys):
    code, _ = score("c.parquet", tmp_path / "s.parquet", "--budget", 1, "--budget-money", 40)
    assert code == 2
