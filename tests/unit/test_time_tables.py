"""Tables with one row per customer and period: their dates, their keys, their splits, a backtest.

docs/time.md, which test_docs.py follows, is the whole way through the commands.
"""

import datetime
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from churn import paths
from churn.data import parquet, time_split
from churn.data.contract import Contract, load_contract
from churn.data.parquet import open_table
from churn.data.split import write_splits
from churn.errors import UserError
from churn.files import read_yaml
from churn.modeling import backtest
from churn.modeling.single_columns import separation_table
from churn.params import Params, validate_params
from conftest import ROOT
from customer_months import customer_months
from infer_schema import infer_contract

MONTHS = customer_months(8)


OWN = {
    "seed": 42,
    "data.id": "customer",
    "data.time": "month",
    "data.target": "churn",
    "data.positive": "yes",
    "data.negative": None,
    "data.unlabelled": "refuse",
    "features": None,
    "split.by": "time",
    "split.valid": 0.2,
    "split.test": 0.2,
    "split.gap": 0,
    "evaluate.bootstrap": 100,
    "evaluate.backtest": None,
    "gate.min_backtest_auc": None,
    # only experiments
    "sweep.folds": 1,
    # end
}


def parameters(**changed: object) -> Params:
    """The project's parameters, with those that matter here for customer-months split by time."""
    tree = read_yaml(ROOT / "params.yaml")
    for name, value in {**OWN, **changed}.items():
        *section, leaf = name.split(".")
        (tree[section[0]] if section else tree)[leaf] = value
    return validate_params(tree, "params.yaml")


def contract_of(table: pd.DataFrame | pa.Table, folder, params: Params) -> Contract:
    """Write the table, infer its contract, and load that."""
    frame = table if isinstance(table, pd.DataFrame) else table.to_pandas()
    if isinstance(table, pa.Table):
        pa.parquet.write_table(table, folder / "raw.parquet")
    else:
        frame.to_parquet(folder / "raw.parquet", index=False)
    text, _ = infer_contract(folder / "raw.parquet", params.data)
    (folder / "schema.yaml").write_text(text)
    data = params.data
    return load_contract(folder / "schema.yaml", data.id, data.target, data.positive, data.time)


def splits(
    table: pd.DataFrame | pa.Table, folder, params: Params | None = None
) -> dict[str, pd.DataFrame]:
    params = params or parameters()
    contract = contract_of(table, folder, params)
    write_splits(open_table(folder / "raw.parquet"), contract, params, folder)
    return {name: pd.read_parquet(folder / path.name) for name, path in paths.SPLITS.items()}


def test_a_customer_has_a_row_in_each_period_and_splits_do_not_overlap(tmp_path):
    parts = splits(MONTHS, tmp_path, parameters(**{"split.gap": 1}))
    months = {name: sorted(rows["month"].unique()) for name, rows in parts.items()}
    known = sorted(MONTHS["month"].unique())
    assert months["train"] == known[:2]
    assert months["valid"] == known[3:5] and months["test"] == known[6:]
    assert parts["train"]["customer"].isin(parts["test"]["customer"]).any()
    assert (
        sum(map(len, parts.values()))
        == MONTHS["month"].isin(known[:2] + known[3:5] + known[6:]).sum()
    )


# Periods in the forms that tables have them in.
FORMS = {
    "date": lambda months: pa.array(months.dt.date, pa.date32()),
    "timestamp of microseconds": lambda months: pa.array(months, pa.timestamp("us")),
    "date as text": lambda months: pa.array(months.dt.strftime("%Y-%m-%d")),
    "whole number": lambda months: pa.array(months.dt.year * 100 + months.dt.month),
    "whole number as float": lambda months: pa.array(months.dt.year * 100.0 + months.dt.month),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_a_period_gives_the_same_splits(form, tmp_path):
    table = pa.Table.from_pandas(MONTHS, preserve_index=False)
    (tmp_path / "dates").mkdir()
    expected = splits(table, tmp_path / "dates")
    position = table.column_names.index("month")
    table = table.set_column(position, "month", form(MONTHS["month"]))
    (tmp_path / "form").mkdir()
    found = splits(table, tmp_path / "form")
    for name, rows in expected.items():
        assert found[name]["customer"].tolist() == rows["customer"].tolist()


TEXTS = MONTHS["month"].dt.strftime("%Y-%m-%d")
DATES = MONTHS["month"].dt.date
NUMBERS = (MONTHS["month"].dt.year * 100 + MONTHS["month"].dt.month).astype(float)
# What is wrong with the periods, and what the message must say of it.
FAULTS = {
    "time zone": (
        MONTHS.assign(month=MONTHS["month"].dt.tz_localize("Europe/Berlin")),
        "month: data.time must hold dates or whole numbers, not timestamp[us, tz=Europe/Berlin]; "
        "write it as dates without a time zone",
    ),
    "no date": (
        MONTHS.assign(month=MONTHS["month"].dt.strftime("%b %Y")),
        f"month: data.time must hold dates or whole numbers: {len(MONTHS):,} rows with no date "
        "such as 2026-11-30, of the years 1678 to 2261 (row 1: 'Jan 2024', row 2: 'Jan 2024',",
    ),
    "month alone": (
        MONTHS.assign(month=MONTHS["month"].dt.strftime("%Y-%m")),
        "no date such as 2026-11-30; write a month as its last day, or the column as whole numbers "
        "such as 202611 (row 1: '2024-01'",
    ),
    "a text for never": (
        MONTHS.assign(month=TEXTS.where(MONTHS.index != 5, "9999-12-31")),
        "month: data.time must hold dates or whole numbers: 1 row with no day of the years 1678 to "
        "2261; leave out such rows, whose date stands for something else (row 6: '9999-12-31')",
    ),
    "a date for never": (
        MONTHS.assign(month=DATES.where(MONTHS.index != 5, datetime.date(9999, 12, 31))),
        "1 row with no day of the years 1678 to 2261; leave out such rows, whose date stands for "
        "something else (row 6: '9999-12-31')",
    ),
    "a text with a zone": (
        MONTHS.assign(month=TEXTS + "T00:00:00Z"),
        "with no date such as 2026-11-30, since it has a time zone; write the day alone (row 1:",
    ),
    "no day of the calendar": (
        MONTHS.assign(month=TEXTS.where(MONTHS.index != 5, "2026-02-30")),
        "1 row with no date such as 2026-11-30, of the years 1678 to 2261 (row 6: '2026-02-30')",
    ),
    "float": (
        MONTHS.assign(month=NUMBERS.where(MONTHS.index != 8, 1.5)),
        "month: data.time must hold dates or whole numbers such as 202611; row 9 has 1.5",
    ),
    "whole numbers beside a null": (
        MONTHS.assign(month=NUMBERS.where(MONTHS.index != 3)),
        "month: null where none is allowed; 1 row: 4",
    ),
    "null": (
        MONTHS.assign(month=MONTHS["month"].where(MONTHS.index != 3)),
        "month: null where none is allowed; 1 row: 4",
    ),
    "missing": (
        MONTHS.rename(columns={"month": "period"}),
        "data.time in params.yaml, but the table has no such column",
    ),
    "twice in one period, in two spellings": (
        pd.concat(
            [
                MONTHS.assign(month=MONTHS["month"].dt.strftime("%Y-%m-%d")),
                MONTHS.assign(month=MONTHS["month"].dt.strftime("%Y-%m-%d 00:00:00")),
            ]
        ),
        f"customer: duplicate id and month; {len(MONTHS)} rows: {len(MONTHS) + 1}, ",
    ),
    "twice in one period": (
        pd.concat([MONTHS, MONTHS.iloc[[7]]]),
        f"customer: duplicate id and month; 1 row: {len(MONTHS) + 1}; found 'K00007' 2024-01-31",
    ),
}


@pytest.mark.parametrize(("table", "says"), FAULTS.values(), ids=FAULTS.keys())
def test_faults_of_a_period_are_named(table, says, tmp_path):
    with pytest.raises(UserError) as refused:
        splits(table, tmp_path)
    assert says in str(refused.value)


def test_a_table_that_changed_breaks_its_contract(tmp_path):
    """Where the contract was written for other periods: each fault with its rows, and no other."""
    numbers = MONTHS.assign(month=NUMBERS.astype("int64"))
    faults = [
        (
            MONTHS,
            MONTHS.assign(month=MONTHS["month"].dt.tz_localize("UTC")),
            "must be datetime64[ns] (time), the table has timestamp[us, tz=UTC]; a period has no "
            "time zone",
        ),
        (
            MONTHS,
            MONTHS.assign(month=TEXTS.where(MONTHS.index < 9036, "soon")),
            "month: no date such as 2026-11-30, of the years 1678 to 2261; "
            "2 rows: 9037, 9038; found 'soon'",
        ),
        (
            numbers,
            numbers.assign(month=NUMBERS.where(MONTHS.index != 8, 1.5)),
            "month: no whole number, as a period is, such as 202611; 1 row: 9; found '1.5'",
        ),
    ]
    for before, now, says in faults:
        contract = contract_of(before, tmp_path, parameters())
        now.to_parquet(tmp_path / "raw.parquet", index=False)
        with pytest.raises(UserError) as refused:
            write_splits(open_table(tmp_path / "raw.parquet"), contract, parameters(), tmp_path)
        assert says in str(refused.value)
        assert "duplicate" not in str(refused.value)


# The periods in the forms in which a table may have them that names no data.time.
UNNAMED = {
    "date": MONTHS,
    "whole number": MONTHS.assign(month=NUMBERS.astype("int64")),
    "text": MONTHS.assign(month=MONTHS["month"].dt.strftime("%Y-%m")),
}


@pytest.mark.parametrize("table", UNNAMED.values(), ids=UNNAMED.keys())
def test_a_table_without_data_time_is_told_which_column_may_be_it(table, tmp_path):
    """By infer_schema, and by preprocess where the contract was made of one month.

    The tenure makes a key with the id as well, and is no period.
    """
    params = parameters(**{"data.time": None, "split.by": "customer"})
    hint = (
        "customer: duplicate id; if a customer has one row for each value of 'month', name that "
        "column as data.time in params.yaml (docs/time.md); 7348 rows: 1201, "
    )
    with pytest.raises(UserError) as refused:
        contract_of(table, tmp_path, params)
    assert hint in str(refused.value)

    first = MONTHS[MONTHS["month"] == MONTHS["month"].min()].drop(columns="month")
    contract = contract_of(first, tmp_path, params)
    table.to_parquet(tmp_path / "raw.parquet", index=False)
    with pytest.raises(UserError) as refused:
        write_splits(open_table(tmp_path / "raw.parquet"), contract, params, tmp_path)
    assert hint in str(refused.value)


def test_without_a_column_that_may_be_the_period_nothing_is_suggested(tmp_path):
    params = parameters(**{"data.time": None, "split.by": "customer"})
    with pytest.raises(UserError, match="customer: duplicate id; 7348 rows"):
        contract_of(MONTHS.drop(columns="month"), tmp_path, params)


def test_the_number_of_periods_is_noted_before_anything_else(tmp_path):
    """infer_schema says it, and remarks that each time of day would be a period."""
    times = MONTHS["month"] + pd.to_timedelta(np.arange(len(MONTHS)), unit="s")
    for table in (MONTHS, MONTHS.assign(month=NUMBERS), MONTHS.assign(month=times)):
        table.to_parquet(tmp_path / "raw.parquet", index=False)
        _, notes = infer_contract(tmp_path / "raw.parquet", parameters().data)
        if table["month"].nunique() == 8:
            assert notes[1].startswith("month: 8 periods, 2024") and len(notes) == 2
        else:
            assert notes[1].startswith(f"month: {len(MONTHS):,} periods, 2024-01-31 00:00:00 to")
            assert notes[2].startswith("note: month has times of day")


def test_a_time_of_day_in_each_row_is_remarked():
    seconds = pd.to_timedelta(np.arange(len(MONTHS)), unit="s")
    text = time_split.doubt_about_periods((MONTHS["month"] + seconds).rename("month"))
    assert text.startswith(f"note: month has times of day, and {len(MONTHS):,} different values")
    assert time_split.doubt_about_periods(MONTHS["month"]) == ""
    at_noon = MONTHS["month"] + pd.Timedelta(hours=12)
    assert time_split.doubt_about_periods(at_noon) == "", "few moments, with many rows each"


def test_a_late_fault_is_named_and_not_the_periods_before_it(tmp_path, monkeypatch):
    """Of a table in order of time, the batches before the fault have one month only."""
    monkeypatch.setattr(parquet, "BATCH_ROWS", 500)
    contract = contract_of(MONTHS, tmp_path, parameters())
    broken = MONTHS.assign(region=MONTHS["region"].where(MONTHS.index != 1000, "moon"))
    broken.to_parquet(tmp_path / "raw.parquet", index=False)
    with pytest.raises(UserError, match=r"region: isin\(.* 1 row: 1001; found 'moon'"):
        write_splits(open_table(tmp_path / "raw.parquet"), contract, parameters(), tmp_path)


def test_a_date_that_is_no_period_is_no_feature(tmp_path):
    signed_up = MONTHS.assign(signed_up=datetime.date(2020, 1, 1))
    with pytest.raises(UserError, match=r"signed_up: it holds dates .* name it as data.time"):
        splits(signed_up, tmp_path)


def test_the_latest_labelled_periods_are_the_test_split(tmp_path):
    """Customers of the last month have no label yet: with `unlabelled: drop` they do not count."""
    latest = MONTHS["month"].max()
    table = MONTHS.assign(churn=MONTHS["churn"].where(MONTHS["month"] < latest))
    parts = splits(table, tmp_path, parameters(**{"data.unlabelled": "drop"}))
    assert parts["test"]["month"].max() == sorted(MONTHS["month"].unique())[-2]


def test_by_customer_all_months_of_a_customer_are_in_one_split(tmp_path):
    parts = splits(MONTHS, tmp_path, parameters(**{"split.by": "customer"}))
    ids = [set(rows["customer"]) for rows in parts.values()]
    assert len(set.union(*ids)) == sum(map(len, ids)) == MONTHS["customer"].nunique()
    # only experiments
    from churn.experiments.objective import assign_folds_by_customer

    folds = assign_folds_by_customer(MONTHS["customer"], 5, seed=1)
    assert pd.Series(folds).groupby(MONTHS["customer"]).nunique().max() == 1
    assert set(folds) == set(range(5))
    # end


def test_a_backtest_measures_the_last_periods_by_models_of_their_past(tmp_path):
    """Rows of a period change no model of an earlier one."""
    params = parameters(**{"evaluate.backtest": 3, "train.rounds": 20})
    contract = contract_of(MONTHS, tmp_path, params)
    table = backtest.backtest_table(MONTHS, contract, params)
    last = sorted(MONTHS["month"].unique())[-3:]
    assert table["period"].tolist() == [f"{month:%Y-%m-%d}" for month in last]
    assert (table["roc_auc_low"] < table["roc_auc"]).all()
    assert (table["roc_auc"] < table["roc_auc_high"]).all()

    other_end = MONTHS.copy()
    is_last = other_end["month"] == last[-1]
    other_end.loc[is_last, "churn"] = np.where(other_end["tenure"] > 5, "yes", "no")[is_last]
    changed = backtest.backtest_table(other_end, contract, params)
    pd.testing.assert_frame_equal(changed[:2], table[:2])
    assert changed["roc_auc"][2] != table["roc_auc"][2]

    metrics = backtest.backtest_metrics(table)
    assert metrics["backtest_worst_roc_auc"] == table["roc_auc"].min()


def test_a_period_without_churners_is_named_by_preprocess(tmp_path):
    """Of the test split, with what to change; of the backtest, with every period at once."""
    by_period = MONTHS["month"].rank(method="dense")
    last = f"{MONTHS['month'].max():%Y-%m-%d}"
    quiet = MONTHS.assign(churn=MONTHS["churn"].where(by_period < 7, "no"))
    with pytest.raises(UserError) as refused:
        splits(quiet, tmp_path)
    assert re.search(
        rf"the test \(2 periods, \S+ to {last}\) split has [\d,]+ rows, 0 of them with churn = "
        r"'yes'; a model needs rows of both kinds in each split: choose a larger split.test, or "
        "leave out periods without known labels",
        str(refused.value),
    )

    quiet = MONTHS.assign(churn=MONTHS["churn"].where(~by_period.isin([6, 8]), "no"))
    with pytest.raises(UserError) as refused:
        splits(quiet, tmp_path, parameters(**{"evaluate.backtest": 3}))
    message = str(refused.value)
    assert message.startswith("params.yaml:\n")
    assert message.count("evaluate.backtest: 2024-") == 2, message
    assert re.search(rf"evaluate.backtest: {last} has [\d,]+ rows, 0 of them churned", message)


def test_too_many_periods_for_the_backtest_are_refused_by_preprocess(tmp_path):
    with pytest.raises(UserError, match="evaluate.backtest is 8, and the splits have 8 periods"):
        splits(MONTHS, tmp_path, parameters(**{"evaluate.backtest": 8}))


@pytest.mark.parametrize(
    ("table", "changed", "says"),
    [
        (MONTHS, {}, ()),
        (
            MONTHS.assign(region=MONTHS["region"].where(MONTHS.index != 3, "moon")),
            {},
            ("breaks its contract", "region: isin"),
        ),
        (MONTHS, {"split.gap": 4}, ("8 periods of data.time cannot be split",)),
        (MONTHS, {"evaluate.backtest": 8}, ("evaluate.backtest is 8",)),
    ],
    ids=["nothing else", "a broken contract", "too few periods", "a backtest"],
)
def test_names_that_a_later_stage_uses_are_refused_with_the_rest(table, changed, says, tmp_path):
    """features and evaluate.segments, by preprocess and in one message."""
    names = {"features": ["nothing"], "evaluate.segments": ["region", "moon", "region"]}
    params = parameters(**names, **changed)
    contract = contract_of(MONTHS, tmp_path, params)
    table.to_parquet(tmp_path / "raw.parquet", index=False)
    with pytest.raises(UserError) as refused:
        write_splits(open_table(tmp_path / "raw.parquet"), contract, params, tmp_path)
    message = str(refused.value)
    for part in (
        *says,
        "features names 'nothing', which src/churn/data/features.py does not have",
        "evaluate.segments names 'region' twice",
        "evaluate.segments names 'moon', no feature of the contract; it has region, plan",
    ):
        assert part in message


def test_a_column_that_knows_the_next_month_is_found(tmp_path):
    """Planted: how often the customer's account was closed in the month after the row."""
    leaves = (MONTHS["churn"] == "yes").astype(float)
    planted = MONTHS.assign(closed_next_month=leaves)
    parts = splits(planted, tmp_path)
    contract = contract_of(planted, tmp_path, parameters())
    table = separation_table(parts["train"], parts["test"], contract)
    assert table.iloc[0].tolist() == ["closed_next_month", 1.0, 0]
    assert (table["roc_auc"][1:] < 0.75).all()


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"data.time": None}, "split.by: time needs data.time"),
        ({"data.time": "churn"}, "time is also id or target, 'churn'"),
        ({"split.by": "customer", "split.gap": 1}, "gap is 1 period, which needs `by: time`"),
        ({"split.by": "customer", "data.time": None, "evaluate.backtest": 3}, "evaluate.backtest"),
        ({"gate.min_backtest_auc": 0.6}, "gate.min_backtest_auc needs evaluate.backtest"),
        # only experiments
        ({"sweep.folds": 5}, "sweep.folds is 5; with `split.by: time` it must be 1"),
        # end
    ],
)
def test_parameters_that_contradict_one_another_are_refused(changed, says):
    with pytest.raises(UserError, match=says):
        parameters(**changed)


def test_all_contradictions_are_in_one_message():
    """Of one section, and between sections."""
    with pytest.raises(UserError) as refused:
        parameters(
            **{"data.id": "churn", "data.time": "churn", "data.negative": ["yes"]},
            **{"split.by": "customer", "split.gap": 2, "split.valid": 0.9},
        )
    assert str(refused.value).splitlines() == [
        "params.yaml:",
        "  data: id and target are the same column, 'churn'",
        "  data: time is also id or target, 'churn'",
        "  data: negative lists 'yes', which is positive",
        "  split: valid + test is 1.1, which leaves nothing to train on",
        "  split: gap is 2 periods, which needs `by: time`",
    ]

    with pytest.raises(UserError) as refused:
        parameters(
            **{"data.time": None, "evaluate.backtest": 3, "evaluate.segments": None},
            **{"gate.max_segment_auc_drop": 0.1},
            # only experiments
            **{"sweep.folds": 5, "sweep.space": {"max_depth": {"low": 0, "high": 99}}},
            # end
        )
    assert str(refused.value).splitlines()[:3] == [
        "params.yaml:",
        "  split.by: time and evaluate.backtest need data.time, the column with a row's period",
        "  gate.max_segment_auc_drop needs evaluate.segments",
    ]
    # only experiments
    assert "  sweep.folds is 5; with `split.by: time`" in str(refused.value)
    assert "  sweep.space.max_depth: Input should be greater" in str(refused.value)
    # end
