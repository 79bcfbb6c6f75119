"""Scores and labels of tables with several rows per customer, one for each period."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from churn.data.contract import Contract, load_contract
from churn.data.customer_table import CustomerTable
from churn.errors import UserError
from churn.files import read_yaml
from churn.operations.campaign import Campaign
from churn.operations.labelled_customers import labelled_customers
from churn.operations.scoring import Scorer, score_table
from churn.params import Params, validate_params
from conftest import ROOT
from customer_months import customer_months
from infer_schema import infer_contract

MONTHS = customer_months(4).astype({"tenure": float, "support_calls": float})
KEY = ["customer", "month"]
NUMBERED = MONTHS.assign(month=MONTHS["month"].dt.year * 100 + MONTHS["month"].dt.month)


def parameters() -> Params:
    tree = read_yaml(ROOT / "params.yaml")
    tree["data"] |= {"id": "customer", "time": "month", "target": "churn", "positive": "yes"}
    tree["data"] |= {"negative": None, "unlabelled": "refuse"}
    tree["features"] = tree["evaluate"]["segments"] = tree["gate"]["max_segment_auc_drop"] = None
    return validate_params(tree, "params.yaml")


def contract_of(table: pd.DataFrame, folder) -> Contract:
    table.to_parquet(folder / "all.parquet", index=False)
    text, _ = infer_contract(folder / "all.parquet", parameters().data)
    (folder / "schema.yaml").write_text(text)
    return load_contract(folder / "schema.yaml", "customer", "churn", "yes", "month")


def predict(_, rows: pd.DataFrame) -> pd.DataFrame:
    """A model by hand: one churns the more likely the more often one calls."""
    probability = 1 - 0.9 ** (1 + rows["support_calls"].to_numpy())
    return pd.DataFrame({"churn_probability": probability, "churn": probability > 0.15})


def customers(table: pd.DataFrame, contract: Contract, folder, name="c.parquet") -> CustomerTable:
    path = folder / name
    table.to_csv(path, index=False) if name.endswith(".csv") else table.to_parquet(path)
    wanted = [*contract.key, *(column.name for column in contract.features)]
    return CustomerTable(str(path), contract, wanted)


def score(
    table: CustomerTable, folder, campaign: Campaign = Campaign()
) -> tuple[pd.DataFrame, pd.Series]:
    """The scores, and the reasons of the rejected rows by their number."""
    files = (folder / "s.parquet", folder / "r.parquet")
    costs = parameters().evaluate.costs
    scorer = Scorer(SimpleNamespace(predict=predict), table.contract, False, costs, campaign)
    score_table(table, scorer, files, {}, lambda rows: None)
    return pd.read_parquet(files[0]), pd.read_parquet(files[1]).set_index("row")["reason"]


@pytest.mark.parametrize("name", ["c.parquet", "c.csv"])
@pytest.mark.parametrize("table", [MONTHS, NUMBERED], ids=["dates", "numbers"])
def test_every_row_is_scored_and_bears_its_period(table, name, tmp_path):
    contract = contract_of(table, tmp_path)
    scores, rejected = score(customers(table, contract, tmp_path, name), tmp_path)
    assert len(rejected) == 0
    assert list(scores) == [*KEY, "churn_probability", "churn", "expected_value", "action"]
    pd.testing.assert_frame_equal(scores[KEY], table[KEY], check_dtype=False)
    assert np.array_equal(scores["churn_probability"], predict(None, table)["churn_probability"])
    period = pq.read_schema(tmp_path / "s.parquet").field("month").type
    assert str(period) == ("int64" if table is NUMBERED else "timestamp[ns]")


def test_rejected_rows_name_their_period(tmp_path):
    """The same customer and month twice, a month that is none, and one that is missing."""
    contract = contract_of(MONTHS, tmp_path)
    texts = MONTHS["month"].dt.strftime("%Y-%m-%d")
    texts = texts.where(MONTHS.index != 4, "2024-01").where(MONTHS.index != 5)
    texts = texts.where(MONTHS.index != 6, "9999-12-31")
    table = pd.concat([MONTHS.assign(month=texts), MONTHS.iloc[[7]].assign(month="2024-01-31")])
    for name in ("c.csv", "c.parquet"):
        scores, rejected = score(customers(table, contract, tmp_path, name), tmp_path)
        assert len(scores) == len(table) - 4
        assert rejected.index.tolist() == [5, 6, 7, len(table)]
        reasons = rejected.tolist()
        assert reasons[0].startswith(
            "month: '2024-01' is no date such as 2026-11-30; write a month"
        )
        assert reasons[1] == "month: null where none is allowed"
        assert reasons[2].startswith("month: '9999-12-31' is no day of the years 1678 to 2261")
        assert reasons[3] == "customer: duplicate id and month 'K00007' 2024-01-31"


def test_without_the_period_a_customer_comes_once(tmp_path):
    """As a table of today's customers has it; more rows are rejected, and it is said why."""
    contract = contract_of(MONTHS, tmp_path)
    table = MONTHS.drop(columns="month")
    once = table.drop_duplicates("customer")
    scores, rejected = score(customers(once, contract, tmp_path), tmp_path)
    assert list(scores)[:2] == ["customer", "churn_probability"]
    assert len(scores) == len(once) and len(rejected) == 0

    scores, rejected = score(customers(table, contract, tmp_path), tmp_path)
    assert len(scores) == len(once)
    assert rejected.iloc[0] == (
        "customer: duplicate id 'K00000' (the table has no column month, which would tell periods "
        "apart)"
    )


def test_a_campaign_chooses_customers_of_one_period(tmp_path):
    contract = contract_of(MONTHS, tmp_path)
    campaign = Campaign(budget=50, holdout=0.5, name="may")
    with pytest.raises(UserError) as refused:
        score(customers(MONTHS, contract, tmp_path), tmp_path, campaign)
    message = str(refused.value)
    assert (
        "repeat the customer of an earlier one with another month, such as 'K00000' in row 1,201"
        in (message)
    )
    assert "give them a table with one period, such as the latest" in message

    latest = MONTHS[MONTHS["month"] == MONTHS["month"].max()]
    scores, _ = score(customers(latest, contract, tmp_path), tmp_path, campaign)
    assert scores["action"].isin(["contact", "control"]).sum() == 50


def labels_of(table: pd.DataFrame, contract: Contract, folder, name="l.parquet") -> CustomerTable:
    path = folder / name
    table.to_csv(path, index=False) if name.endswith(".csv") else table.to_parquet(path)
    return CustomerTable(str(path), contract, [*contract.key, contract.target])


@pytest.mark.parametrize("name", ["l.parquet", "l.csv"])
@pytest.mark.parametrize("table", [MONTHS, NUMBERED], ids=["dates", "numbers"])
def test_labels_belong_to_a_customer_and_period(table, name, tmp_path):
    """In any order, and for some of the rows."""
    contract = contract_of(table, tmp_path)
    scores, _ = score(customers(table, contract, tmp_path), tmp_path)
    some = table[[*KEY, "churn"]].sample(2000, random_state=1)
    known = labelled_customers(
        labels_of(some, contract, tmp_path, name), contract, scores, parameters()
    )
    assert np.array_equal(known.labels, some["churn"] == "yes")
    expected = predict(None, table.loc[some.index])["churn_probability"]
    assert np.array_equal(known.probabilities, expected)


def test_labels_without_a_period_serve_scores_of_one(tmp_path):
    """With several rows per customer in the scores or in the labels, what is missing is said."""
    contract = contract_of(MONTHS, tmp_path)
    latest = MONTHS[MONTHS["month"] == MONTHS["month"].max()]
    scores, _ = score(customers(latest, contract, tmp_path), tmp_path)
    by_id = labels_of(latest[["customer", "churn"]], contract, tmp_path)
    known = labelled_customers(by_id, contract, scores, parameters())
    assert np.array_equal(known.labels, latest["churn"] == "yes")

    of_all, _ = score(customers(MONTHS, contract, tmp_path), tmp_path)
    with pytest.raises(UserError, match="has no month, and the scores: .* such as 'K00000'; with"):
        labelled_customers(by_id, contract, of_all, parameters())
    without, _ = score(customers(latest.drop(columns="month"), contract, tmp_path), tmp_path)
    with pytest.raises(UserError, match="with the customer of an earlier row, such as 'K00000'"):
        labels = labels_of(MONTHS[[*KEY, "churn"]], contract, tmp_path)
        labelled_customers(labels, contract, without, parameters())


def test_labels_of_nobody_who_was_scored_show_both_keys(tmp_path):
    contract = contract_of(NUMBERED, tmp_path)
    scores, _ = score(customers(NUMBERED, contract, tmp_path), tmp_path)
    later = NUMBERED[[*KEY, "churn"]].assign(month=NUMBERED["month"] + 100)
    with pytest.raises(UserError) as refused:
        labelled_customers(labels_of(later, contract, tmp_path), contract, scores, parameters())
    message = str(refused.value)
    assert message.startswith(f"none of the {len(later):,} rows of ")
    assert "it has 'K00000' 202501, 'K00001' 202501" in message
    assert "the scores have 'K00000' 202401, 'K00001' 202401" in message
