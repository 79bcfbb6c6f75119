"""Tables that other people have: their labels, index columns, column names and types.

Each either makes a contract that it fits, and a model, or is refused in one short message that says
what to do.
"""

import datetime
import decimal
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import infer_schema
import preprocess
import report
from churn import paths
from churn.console import run_command
from churn.data.parquet import open_table
from churn.data.project_contract import load_project_contract
from churn.data.split import write_splits
from churn.errors import UserError
from churn.files import read_yaml
from churn.modeling import plot_data, plot_files, plots
from churn.modeling.booster import feature_contributions, fit_booster, predict_probabilities
from churn.modeling.encoding import encode_labels, labelled_matrix
from churn.params import load_params
from churn.tracking import run_log
from conftest import ROOT, TINY, Project, flat

ROWS = 600
ROLES = {
    "id": "id",
    "time": None,
    "target": "left",
    "positive": "Yes",
    "negative": None,
    "unlabelled": "refuse",
}


def customers(**columns) -> pd.DataFrame:
    """600 customers with an id, two features and a target, and these columns (values, or a function
    of the table).
    """
    random = np.random.default_rng(0)
    x = random.normal(size=ROWS)
    left = np.where(x + random.normal(size=ROWS) > 0.8, "Yes", "No")
    frame = pd.DataFrame(
        {"id": [f"K{i}" for i in range(ROWS)], "x": x, "y": random.normal(size=ROWS), "left": left}
    )
    return frame.assign(**columns)


class Place:
    """A folder with params.yaml and a table, in which the commands are called."""

    def infer(self, table, **data) -> str:
        """Write a table (pandas or Arrow) and its contract; returns the contract's text."""
        tree = read_yaml(ROOT / "params.yaml")
        tree["data"] = ROLES | data
        Path("params.yaml").write_text(json.dumps(tree))
        paths.SCHEMA.unlink(missing_ok=True)
        if isinstance(table, pa.Table):
            pq.write_table(table, paths.RAW)
        else:
            table.to_parquet(paths.RAW)
        infer_schema.main([str(paths.RAW)])
        return paths.SCHEMA.read_text(encoding="utf-8")

    def refused(self, table, **data) -> str:
        """The message with which a table is refused, short and without a contract."""
        with pytest.raises(UserError) as caught:
            self.infer(table, **data)
        assert not paths.SCHEMA.exists() and list(paths.RAW.parent.iterdir()) == [paths.RAW]
        assert "schema.part" not in str(caught.value) and len(str(caught.value)) < 20_000
        return str(caught.value)

    def split(self, tmp_path):
        """What preprocess makes of the table: contract, splits, findings."""
        p = load_params()
        rules = load_project_contract(p)
        _, findings = write_splits(open_table(paths.RAW), rules, p, tmp_path)
        return (
            rules,
            {name: pd.read_parquet(tmp_path / f"{name}.parquet") for name in paths.SPLITS},
            findings,
        )


@pytest.fixture
def place(tmp_path, monkeypatch) -> Place:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    return Place()


def missing_labels(frame: pd.DataFrame, *, every: int = 5, label: object = None) -> pd.DataFrame:
    return frame.assign(left=frame["left"].where(frame.index % every != 0, label))


yes = customers()["left"] == "Yes"
spread = {"number": range(1, ROWS + 1), "shuffled": np.random.default_rng(1).permutation(ROWS)}
LABELS_REFUSED = {
    "null": (
        missing_labels(customers()),
        {},
        ["left: 120 customers", "(null 120)", "`unlabelled: drop` under `data:`"],
    ),
    "nan": (
        customers(left=np.where(yes, 1.0, np.nan)),
        {"positive": 1},
        ["every customer with a label has 1.0"],
    ),
    "third": (
        missing_labels(customers(), label="yes"),
        {},
        ["'No' 332, 'Yes' 148, 'yes' 120", "negative: [...]"],
    ),
    "blank": (missing_labels(customers(), label=""), {}, ["'' 120"]),
    "not in negative": (
        missing_labels(customers(), label="?"),
        {"negative": ["No"]},
        ["120 customers", "('?' 120)"],
    ),
    "no such negative": (
        customers(),
        {"negative": ["Nope"]},
        ["no customer has 'Nope' of data.negative"],
    ),
    "no such positive": (
        customers(),
        {"positive": "gone"},
        ["no customer has data.positive, 'gone'", "'No' 426"],
    ),
    "text for a number": (
        customers(left=yes.astype(int)),
        {"positive": "1"},
        ["'1'; the target has 0 426, 1 174"],
    ),
    "one": (customers(left="Yes"), {}, ["every customer with a label has 'Yes' 600"]),
    "none": (customers(left=None), {}, ["no customer has a label"]),
    "dates": (
        customers(left=pd.Timestamp("2026-01-01")),
        {},
        ["labels that are text, numbers or flags, not timestamp"],
    ),
}
INDEX_COLUMNS = {
    "hidden index": (
        customers().sample(frac=1, random_state=0),
        ["__index_level_0__: a column without a name"],
    ),
    "named index": (
        customers(region=1).set_index("region"),
        ["region: pandas wrote it as the index"],
    ),
    "unnamed": (
        customers(**{"Unnamed: 0": 1.5}),
        ["Unnamed: 0: a column without a name", "index=False"],
    ),
    "empty name": (customers(**{"": 1.5}), ["'': a column without a name"]),
    "of R's readr": (customers(**{"...1": 1.5}), ["...1: a column without a name"]),
    "row numbers": (customers(nr=spread["number"]), ["nr: it holds the number of the row"]),
    "shuffled row numbers": (
        customers(nr=spread["shuffled"]),
        ["nr: it holds the number of the row"],
    ),
    "index of a filtered table": (
        customers(index=spread["shuffled"] * 3),
        ["index: it holds the number of the row"],
    ),
}
TEXTS = [f"{value:.3f}" for value in customers()["x"]]
TYPES_REFUSED = {
    "timestamp": (
        pd.Timestamp("2026-01-01"),
        ["it holds dates (timestamp", "days until the row's date", "name it as data.time"],
    ),
    "duration": (pd.Timedelta("1h"), ["it holds times (duration"]),
    "bytes": (b"x", ["it holds bytes"]),
    "list": ([[1]] * ROWS, ["it holds lists or records"]),
    "struct": ([{"a": 1}] * ROWS, ["it holds lists or records"]),
    "no value": (None, ["no value in any row"]),
    "infinite": (
        [np.inf, *range(1, ROWS)],
        ["infinite or too large for the model: 1 of its numbers (row 1: inf)"],
    ),
    "too large": ([1e39, *range(1, ROWS)], ["(row 1: 1e+39)"]),
    "nearly numbers": (
        [" ", *TEXTS[1:-1], "1,234.5"],
        [f"2 cells are no plain number (row 1: ' ', row {ROWS}: '1,234.5')"],
    ),
    "thousands": ([f"{float(text) * 1e5:,.2f}" for text in TEXTS], ["nearly all of them numbers"]),
    "German numbers": (
        [text.replace(".", ",") for text in TEXTS],
        ["nearly all of them numbers", "row 1: '0,126'"],
    ),
    "currency": ([f"{text} €" for text in TEXTS], ["nearly all of them numbers"]),
    "numbers as text": (TEXTS, ["Write it as numbers"]),
    "NUL": (["a\0b", "c"] * (ROWS // 2), ["'a\\x00b' has a NUL character", "remove it"]),
    "long numbers as text": (
        [f"{2**60 + i}" for i in range(ROWS)],
        ["has more than 15 digits, which a number would"],
    ),
    "postal codes": ([f"{i:05}" for i in range(ROWS)], ["different codes are no categories"]),
    "dates as text": (
        pd.date_range("2020-01-01", periods=ROWS).strftime("%d.%m.%Y"),
        ["different texts are dates"],
    ),
    "free text": ([f"said {text}" for text in TEXTS], ["free text or names; drop it"]),
}
BIG_IDS = {
    "unsigned": np.arange(ROWS, dtype="uint64") + np.uint64(2**63),
    "decimal": [decimal.Decimal(10**20 + i) for i in range(ROWS)],
}


@pytest.mark.parametrize(
    ("table", "data", "says"), LABELS_REFUSED.values(), ids=LABELS_REFUSED.keys()
)
def test_labels_that_are_not_two_are_refused(place, table, data, says):
    """Nobody counts as stayed because of not having the positive label."""
    message = place.refused(table, **data)
    assert [part for part in says if part not in message] == [], message


@pytest.mark.parametrize(("table", "says"), INDEX_COLUMNS.values(), ids=INDEX_COLUMNS.keys())
def test_index_columns_are_refused(place, table, says):
    """Row numbers that a library wrote are no feature."""
    message = place.refused(table)
    assert [part for part in says if part not in message] == [], message


def test_what_only_looks_like_an_index_is_data(place, tmp_path):
    """An id that counts the rows or is pandas' index; whole numbers that come twice, whatever their
    name.
    """
    ages = np.random.default_rng(2).integers(18, 90, ROWS)
    for table in (customers(id=range(ROWS), index=ages), customers(index=ages).set_index("id")):
        place.infer(table)
        rules, splits, _ = place.split(tmp_path)
        assert {column.name for column in rules.features} == {"x", "y", "index"}
        assert sum(map(len, splits.values())) == ROWS


@pytest.mark.parametrize(("values", "says"), TYPES_REFUSED.values(), ids=TYPES_REFUSED.keys())
def test_columns_that_no_model_takes_are_refused(place, values, says):
    values = [values] * ROWS if isinstance(values, bytes) else values
    message = place.refused(customers(w=values))
    assert [part for part in [*says, "\n  w: "] if part not in message] == [], message


@pytest.mark.parametrize("ids", BIG_IDS.values(), ids=BIG_IDS.keys())
def test_ids_beyond_64_bits_are_refused(place, ids):
    assert "id: its numbers do not all lie below 2^63; write the id as text" in place.refused(
        customers(id=ids)
    )


def test_everything_is_said_at_once(place):
    """Id, labels and every column in one message."""
    table = missing_labels(customers(since=pd.Timestamp("2026-01-01")))
    message = place.refused(
        table.assign(**{"Unnamed: 0": 1, "total": [" ", *TEXTS[1:]], "far": np.inf})
    )
    assert [line.split(":")[0] for line in message.splitlines()[1:]] == [
        "  left",
        "  since",
        "  Unnamed",
        "  total",
        "  far",
    ]
    twice = customers(id=["K1"] * 2 + [None] + [f"K{i}" for i in range(3, ROWS)])
    message = place.refused(twice)
    assert (
        "id: duplicate id; 1 row: 2; found 'K1'" in message
        and "id: null where none is allowed; 1 row: 3" in message
    )
    message = place.refused(customers(since=pd.Timestamp("2026-01-01")), id="nr", target="gone")
    assert [
        part
        for part in ("nr: data.id", "gone: data.target", "since: it holds dates")
        if part not in message
    ] == []


TARGETS = {
    "flag": (yes, True),
    "flag by number": (yes, 1),
    "flag, the other way round": (yes, False),
    "0/1": (yes.astype(int), 1),
    "0/1 by flag": (yes.astype(int), True),
    "-1/1": (np.where(yes, 1, -1), 1),
    "-1/1, the other way round": (np.where(yes, 1, -1), -1),
    "0.0/1.0": (np.where(yes, 1.0, 0.0), 1),
    "1/2 of a byte": (np.where(yes, 2, 1).astype("int8"), 2),
    "half": (np.where(yes, 1, 0).astype("float16"), 1),
    "single": (np.where(yes, 0.1, 0.7).astype("float32"), 0.1),
    "decimal": ([decimal.Decimal(int(label)) for label in yes], 1),
    "categories": (customers()["left"].astype("category"), "Yes"),
    "umlauts": (np.where(yes, "gekündigt", "geblieben"), "gekündigt"),
}


@pytest.mark.parametrize(("labels", "positive"), TARGETS.values(), ids=TARGETS.keys())
def test_labels_of_every_type(place, tmp_path, labels, positive):
    """The inferred contract accepts its table, and the labels are the table's, compared by
    value.
    """
    place.infer(customers(left=labels), positive=positive)
    rules, splits, findings = place.split(tmp_path)
    found = pd.concat(splits.values()).set_index("id")
    churned = pd.Series(encode_labels(found.reset_index(), rules), found.index).sort_index()
    meant = pd.Series(
        (yes == (positive not in (False, -1))).to_numpy(dtype=float), customers()["id"]
    ).sort_index()
    assert churned.equals(meant)
    assert sum(findings.labels.values()) == ROWS and findings.count_unlabelled(rules) == 0


def test_unlabelled_customers_are_left_out_on_request(place, tmp_path, capsys):
    """Null and unknown labels are dropped and counted; several labels may mean: stayed."""
    table = missing_labels(missing_labels(customers(), label="yes"), every=7)
    place.infer(table, unlabelled="drop", negative=["No"])
    assert "left: 'No' 285 (stayed), 'Yes' 127 (churned), " in capsys.readouterr().out
    rules, splits, findings = place.split(tmp_path)
    assert sum(map(len, splits.values())) == 412 and findings.count_unlabelled(rules) == ROWS - 412
    assert findings.describe_labels(rules).endswith("no label 86 (left out), 'yes' 102 (left out)")
    place.infer(table, unlabelled="drop", negative=["No", "yes"])
    rules, splits, findings = place.split(tmp_path)
    assert sum(map(len, splits.values())) == 514 and rules.labels == ("No", "Yes", "yes")
    with pytest.raises(
        UserError, match="86 customers with no label that is one of 'No', 'Yes', 'yes'; found"
    ):
        encode_labels(table, rules)


@pytest.mark.parametrize(
    "data", [{"negative": ["No"]}, {"negative": None}, {"negative": ["No", "Maybe"]}]
)
def test_contract_and_parameters_name_the_same_labels(place, tmp_path, data):
    """A contract with three labels needs to be told which two mean: stayed."""
    place.infer(missing_labels(customers(), label="yes"), negative=["No", "yes"])
    p = load_params()
    p = p.model_copy(update={"data": p.data.model_copy(update=data)})
    rules = load_project_contract(p)
    with pytest.raises(UserError, match="column left, the target: .*data.negative"):
        write_splits(open_table(paths.RAW), rules, p, tmp_path)


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (
            ["1", "2", "3"],
            "note: w: '1', '2', '3' are numbers as texts, and are taken as categories",
        ),
        (["1,5", "2,5", " "], "are numbers as texts"),
        (["12 %", "15 %", "20 %"], "are numbers as texts"),
        (["2026-01-01", "2026-02-01", "2026-03-01"], "are dates as texts"),
        (["01", "02", "10"], ""),
        (["gold", "1", "2"], ""),
    ],
)
def test_categories_that_may_be_something_else_are_said(place, capsys, texts, says):
    """Few different texts are categories, and where they are numbers or dates, that is said."""
    text = place.infer(customers(w=np.array(texts)[np.arange(ROWS) % 3]))
    assert "    isin:" in text
    printed = capsys.readouterr().out
    assert says in printed and ("note:" in printed) == bool(says)


def arrow(values, arrow_type: pa.DataType) -> pa.Table:
    table = pa.Table.from_pandas(customers(), preserve_index=False)
    return table.append_column("w", pa.array(values, arrow_type))


NUMBERS = np.random.default_rng(3).integers(0, 50, ROWS)
TYPES = {
    "half": customers(w=NUMBERS.astype("float16")),
    "above 2^53": customers(w=2**53 + 1 + 3 * NUMBERS),
    "the ends of int64": customers(w=[-(2**63), 2**63 - 1, *NUMBERS[2:]]),
    "uint64": customers(w=np.append(NUMBERS[1:].astype("uint64"), np.uint64(2**64 - 1))),
    "a date as int64": customers(w=pd.date_range("2020-01-01", periods=ROWS).astype("int64")),
    "decimal": customers(w=[decimal.Decimal(int(n)) / 4 for n in NUMBERS]),
    "long decimal": arrow([decimal.Decimal(int(n)) for n in NUMBERS], pa.decimal256(50, 10)),
    "NaN beside null": arrow([float("nan"), None, *NUMBERS[2:].tolist()], pa.float64()),
    "whole with null": customers(w=pd.array([None, *NUMBERS[1:]], "Int64")),
    "flag with null": customers(w=pd.array([None, *(NUMBERS[1:] > 20)], "boolean")),
    "categories of numbers": customers(w=pd.Categorical(NUMBERS)),
    "categories of flags": customers(w=pd.Categorical(NUMBERS > 20)),
    "string view": arrow([f"t{n}" for n in NUMBERS], pa.string_view()),
    "large string": arrow([f"t{n}" for n in NUMBERS], pa.large_string()),
    "texts of signs that YAML takes for something else": customers(
        w=np.array(["\x85", "\u2028 a", "a\u2029", "\ufeffx", "a\tb", "\r\n", " ", "\u200b"])[
            NUMBERS % 8
        ]
    ),
    "texts that YAML takes for something else": customers(
        w=np.array(["No", "null", "1", "=", "~", "1e3"])[NUMBERS % 6]
    ),
}


@pytest.mark.parametrize("table", TYPES.values(), ids=TYPES.keys())
def test_types_that_a_model_takes(place, tmp_path, table):
    """The contract accepts every row, the model takes it, and so does scoring."""
    place.infer(table)
    rules, splits, _ = place.split(tmp_path)
    assert sum(map(len, splits.values())) == ROWS
    assert len(labelled_matrix(splits["train"], rules).get_label()) == len(splits["train"])
    # only operations
    from churn.data import customer_table, rejection
    from churn.data.checks import pandera_schema

    scored = customer_table.CustomerTable(str(paths.RAW), rules, ["id", "x", "y", "w"])
    checks = pandera_schema(rules, without={rules.target})
    for part in scored.batches():
        frame, faults = rejection.to_contract_types(part, rules)
        assert rejection.rejection_reasons(frame, checks, faults) == {}
    # end


# only operations
@pytest.mark.parametrize("ids", [*BIG_IDS.values(), [i + 0.5 for i in range(ROWS)]])
def test_scoring_rejects_ids_that_it_cannot_give_back(place, ids):
    """Where the contract has whole numbers, another id never becomes a wrong one."""
    from churn.data import customer_table, rejection

    place.infer(customers(id=range(ROWS)))
    rules = load_project_contract(load_params())
    customers(id=ids).to_parquet("new.parquet")
    (part,) = customer_table.CustomerTable("new.parquet", rules, ["id", "x"]).batches()
    _, faults = rejection.to_contract_types(part, rules)
    assert len(faults) == ROWS and faults[0, "id"].endswith("is not a whole number")


# end
NAMES = [
    "spend ($)",
    "rate%",
    "usage[GB]",
    "age<30",
    "age%3C30",
    "a:3A:b",
    "a:b",
    "größe",
    "日本",
    "a/b",
    "a//b",
    "../a",
    ".",
]
NAMES += [
    "$a$ and $b^$",
    "NA",
    "1",
    "null",
    "a\nb",
    "x.y",
    "tail ",
    "n" * 300,
    "n" * 301,
    "bias",
    "{x}",
    "'\"`",
]


def test_column_names_of_every_kind(place, tmp_path):
    """XGBoost and MLflow get names that they take, each its own; people see theirs in tables and
    pictures.
    """
    from mlflow.utils.validation import _validate_metric_name

    random = np.random.default_rng(4)
    place.infer(customers(**{name: random.normal(size=ROWS) for name in NAMES}))
    rules, splits, _ = place.split(tmp_path)
    names = [column.name for column in rules.features]
    assert names == ["x", "y", *NAMES]
    rows = labelled_matrix(splits["train"], rules)
    assert len(set(rows.feature_names)) == len(names)
    booster, _ = fit_booster(
        rows,
        {"train": rows, "valid": rows},
        load_params().train.model_copy(update={"rounds": 5}),
        1,
    )
    contributions = feature_contributions(booster, splits["test"], rules)
    assert contributions.columns[:-1].tolist() == names
    keys = [run_log.metric_key(f"train.nulls.{name}") for name in names]
    for key in keys:
        _validate_metric_name(key)
        assert len(key) <= 250
    assert len(set(keys)) == len(keys)

    probability = predict_probabilities(booster, splits["test"], rules)
    drawn = plot_data.plot_tables(
        encode_labels(splits["test"], rules), probability, 0.5, contributions
    )
    for name in ("importance", "explanation"):
        path = paths.PLOTS / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        drawn[name].to_csv(path, index=False)
        plots.draw_plot(
            name, pd.read_csv(path, keep_default_na=False, dtype={"feature": str})
        ).savefig("plot.png")
    (paths.CURVES).write_text("round,train_logloss,valid_logloss\n0,1,1\n")
    assert set(plot_files.read_plot_table(plot_files.plot_files()["importance"])["feature"]) == set(
        names
    )
    # only operations
    from churn.data.drift import fit_bins

    bins = {name: fit_bins(splits["train"][name]) for name in NAMES[13:19]}
    plots.draw_drift(
        {name: (b.labels, *[b.count(splits["test"][name])] * 2) for name, b in bins.items()}
    ).savefig("d.png")
    # end


def test_messages_are_bounded(place, tmp_path):
    """A cell of 10 MB, 5,000 unknown columns: a message fits on the screen and says how much more
    there is.
    """
    huge = "z" * 10_000_000
    for table in (
        customers(w=[huge, *TEXTS[1:]]),
        customers(left=[huge, *customers()["left"][1:]]),
        customers(id=[huge, huge, *customers()["id"][2:]]),
        customers(**{"n" * 1_000_000: [b"x"] * ROWS}),
    ):
        assert len(place.refused(table)) < 2000
    many = pd.DataFrame({f"c{i}": [datetime.date(2026, 1, 1)] * ROWS for i in range(200)})
    message = place.refused(pd.concat([customers(), many], axis=1))
    assert message.endswith("\n  and 150 more") and message.count("\n") == 51

    place.infer(customers())
    wide = pd.concat(
        [customers(), pd.DataFrame(0, range(ROWS), [f"c{i}" for i in range(5000)])], axis=1
    )
    wide.assign(id=[huge, huge, *wide["id"][2:]]).to_parquet(paths.RAW)
    with pytest.raises(UserError) as caught:
        place.split(tmp_path)
    assert len(str(caught.value)) < 20_000 and "and 4,95" in str(caught.value)


def test_every_error_is_bounded(capsys):
    """Whatever a command has to say: the last lines, which say what to do, stay."""
    lines = [f"line {i}" for i in range(10_000)]

    def fail():
        raise UserError("\n".join(["y" * 1_000_000, *lines, "do this"]))

    with pytest.raises(SystemExit) as caught:
        run_command(fail)
    message = caught.value.code
    assert (
        len(message) < 10_000
        and message.endswith("do this")
        and "... and 9,902 more lines ..." in message
    )


def test_damaged_table_is_refused(place, tmp_path):
    """A Parquet file whose pages are damaged: said, and nothing is written."""
    place.infer(customers())
    content = bytearray(paths.RAW.read_bytes())
    content[200:3000] = bytes(2800)
    paths.RAW.write_bytes(content)
    with pytest.raises(UserError, match="the Parquet file is damaged"):
        infer_schema.main([str(paths.RAW), "--check"])
    with pytest.raises(UserError, match="the Parquet file is damaged"):
        place.split(tmp_path)


def test_check_and_output_replace_no_contract(place, capsys):
    """--check writes nothing and --output elsewhere, also where there is a contract; umlauts stay
    umlauts.
    """
    table = customers(Größe=np.where(yes, "groß", "klein"))
    text = place.infer(table)
    assert "Größe:" in text and "- groß" in text
    capsys.readouterr()
    infer_schema.main([str(paths.RAW), "--check"])
    assert "nothing was written" in capsys.readouterr().out
    infer_schema.main([str(paths.RAW), "--output", "other.yaml"])
    assert Path("other.yaml").read_text(encoding="utf-8") == text
    for arguments in ([], ["--output", "other.yaml"]):
        with pytest.raises(
            UserError, match="exists; delete it first .* or use --check or --output FILE"
        ):
            infer_schema.main([str(paths.RAW), *arguments])
    customers(since=pd.Timestamp("2026-01-01")).to_parquet(paths.RAW)
    with pytest.raises(UserError, match="since: it holds dates"):
        infer_schema.main([str(paths.RAW), "--check"])
    assert paths.SCHEMA.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "- 'No'\n",
            "- No\n",
            "column left: `isin` of a text has False, which is no text; quote each value",
        ),
        ("  x:", "  1:", "column 1: the name is no text; quote it"),
        ("columns:", "columns: []\nx:", "is no pandera schema"),
        ("in_range:", "in_rang:", "column x: there is no rule in_rang; did you mean in_range?"),
    ],
)
def test_slips_in_a_contract_are_refused(place, tmp_path, old, new, says):
    """What a hand wrote into the contract is refused with the place."""
    text = place.infer(customers())
    assert old in text
    paths.SCHEMA.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        place.split(tmp_path)
    assert says in str(caught.value)


def test_the_pipeline_on_such_a_table(project: Project, inside, capsys):
    """Odd names, null labels: every stage runs, MLflow has the counts, the report says who was left
    out.
    """
    clone = inside(project)
    tree = read_yaml(clone.folder / "params.yaml")
    wanted = {f"data.{name}": value for name, value in (ROLES | {"unlabelled": "drop"}).items()}
    wanted |= TINY | {"gate.min_roc_auc": 0.0, "gate.max_calibration_error": 1.0}
    assert set(wanted) <= set(flat(tree))
    clone.set(**wanted)
    random = np.random.default_rng(5)
    table = customers(
        **{name: random.normal(size=ROWS) for name in ("spend ($)", "rate%", "usage[GB]", "age<30")}
    )
    table.loc[table.index % 3 == 0, "spend ($)"] = None
    missing_labels(table).to_parquet(paths.RAW)
    paths.SCHEMA.unlink()
    infer_schema.main([str(paths.RAW)])
    clone.out("dvc", "repro", "-q")

    (run,) = clone.runs("preprocess")
    assert (
        run.data.metrics["unlabelled"] == 120
        and run.data.metrics["train.nulls.spend :28::24::29:"] > 50
    )
    assert (
        run.data.tags["labels"]
        == "left: 'No' 332 (stayed), 'Yes' 148 (churned), no label 120 (left out)"
    )
    report.main()
    assert "left out    120 of 600 rows: they have no label" in capsys.readouterr().out
    assert (
        (clone.folder / "reports/plots/importance.csv").read_text().splitlines()[1].startswith("x,")
    )


def test_preprocess_refuses_what_the_contract_came_to_accept(project: Project, inside):
    """A contract of an earlier release that lists an index, a nullable target: refused by the
    stage, with the way out.
    """
    clone = inside(project)
    clone.set(**{f"data.{name}": value for name, value in ROLES.items()})
    table = missing_labels(customers(**{"__index_level_0__": range(ROWS)}))
    table.to_parquet(paths.RAW, index=False)
    columns = {
        "id": {"dtype": "str"},
        "left": {"dtype": "str", "isin": ["No", "Yes"], "nullable": True},
    }
    columns |= {name: {"dtype": "float64"} for name in ("x", "y")} | {
        "__index_level_0__": {"dtype": "int64"}
    }
    paths.SCHEMA.write_text(json.dumps({"schema_type": "dataframe", "columns": columns}))
    with pytest.raises(SystemExit) as caught:
        run_command(preprocess.main)
    says = [
        "__index_level_0__: a column without a name",
        "left: null where none is allowed; 120 rows: 1, 6",
    ]
    says += [
        "left: 120 customers without a label that is known: leave them out of the table, or set "
        "`unlabelled: drop`"
    ]
    assert [part for part in says if part not in caught.value.code] == [], caught.value.code
    assert not paths.SPLITS["train"].exists()
