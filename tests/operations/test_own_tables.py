"""Other people's tables: every type of id and label from Parquet and CSV, columns that are called
like the product's own, and CSV files as they come.
"""

import decimal
import gzip
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from churn.data import customer_table, output
from churn.data.contract import load_contract
from churn.data.csv_table import BLOCK_BYTES, NULLS
from churn.data.csv_types import read_csv
from churn.data.drift import fit_bins
from churn.errors import UserError
from churn.modeling import plot_data
from churn.modeling.booster import feature_contributions, fit_booster, predict_probabilities
from churn.modeling.bootstrap import Resampling
from churn.modeling.encoding import encode_labels, labelled_matrix
from churn.modeling.metrics import point_metrics
from churn.operations.labelled_customers import labelled_customers, labelled_metrics
from churn.operations.monitoring import count_batch
from churn.operations.scoring import Scorer, score_table
from churn.params import Params, read_yaml, validate_params
from conftest import ROOT
from infer_schema import infer_contract

ROWS = 300


def ignore(rows: int) -> None:
    """No progress is shown."""


IDS = {
    "text": [f"{i:06}" for i in range(ROWS)],
    "whole": [2**60 + i for i in range(ROWS)],
    "float": [i + 0.5 for i in range(ROWS)],
    "single": np.arange(ROWS, dtype="float32") / np.float32(10),
    "decimal": [decimal.Decimal(i) / 100 for i in range(ROWS)],
    "half": np.arange(ROWS, dtype="float16") / np.float16(10),
}
TARGETS = {"text": ("yes", "no"), "whole": (1, 0), "float": (1.5, 0.5), "bool": (True, False)}


class Own:
    """A table of one's own, its contract and a model of it."""

    def __init__(
        self,
        folder,
        frame: pd.DataFrame,
        id_column: str = "id",
        target: str = "left",
        positive: object = "yes",
    ):
        self.frame, self.folder = frame, folder
        frame.to_parquet(folder / "all.parquet")
        tree = read_yaml(ROOT / "params.yaml")
        tree["train"]["rounds"] = 10
        tree["split"] |= {"by": "customer", "gap": 0}
        tree["evaluate"] |= {"bootstrap": 100, "backtest": None}
        tree["gate"]["min_backtest_auc"] = None
        tree["data"] = {
            "id": id_column,
            "time": None,
            "target": target,
            "positive": positive,
            "negative": None,
            "unlabelled": "refuse",
        }
        self.params = validate_params(tree, "params.yaml")
        (folder / "schema.yaml").write_text(
            infer_contract(folder / "all.parquet", self.params.data)[0]
        )
        self.rules = load_contract(folder / "schema.yaml", id_column, target, positive)
        matrix = labelled_matrix(frame, self.rules)
        booster, _ = fit_booster(matrix, {"train": matrix, "valid": matrix}, self.params.train, 1)
        self.scorer = SimpleNamespace(booster=booster, threshold=0.5, predict=self.predict)

    def predict(self, _, rows: pd.DataFrame) -> pd.DataFrame:
        probability = predict_probabilities(self.scorer.booster, rows, self.rules)
        return pd.DataFrame({"churn_probability": probability, "churn": probability >= 0.5})

    def table(
        self, frame: pd.DataFrame, name: str, columns: list[str]
    ) -> customer_table.CustomerTable:
        path = self.folder / name
        frame.to_csv(path, index=False) if name.endswith(".csv") else frame.to_parquet(path)
        return customer_table.CustomerTable(str(path), self.rules, columns)

    def score(
        self, table: customer_table.CustomerTable, explain: bool = True
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        paths = (self.folder / "s.parquet", self.folder / "r.parquet")
        scorer = Scorer(self.scorer, self.rules, explain, self.params.evaluate.costs)
        score_table(table, scorer, paths, {}, ignore)
        return pd.read_parquet(paths[0]), pd.read_parquet(paths[1])

    def customers(
        self, name: str, frame: pd.DataFrame | None = None
    ) -> customer_table.CustomerTable:
        frame = self.frame if frame is None else frame
        return self.table(frame, name, [self.rules.id, *(c.name for c in self.rules.features)])


def own_frame(**columns) -> pd.DataFrame:
    random = np.random.default_rng(0)
    x = random.normal(size=ROWS)
    left = np.where(x + random.normal(size=ROWS) > 0.5, "yes", "no")
    return pd.DataFrame({"id": IDS["text"], "x": x, "left": left}).assign(**columns)


def measure(
    labels: customer_table.CustomerTable, own: Own, scores: pd.DataFrame, params: Params
) -> dict[str, float]:
    """The metrics of the scored customers in a table of labels."""
    customers = labelled_customers(labels, own.rules, scores, params)
    resampling = Resampling(params.evaluate.bootstrap, params.seed)
    return labelled_metrics(customers, 0.5, params.evaluate.costs, resampling)


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", IDS)
def test_every_type_of_id_and_label(tmp_path, kind, target, form):
    """Each customer is scored under the very id, and the labels are found again."""
    yes, no = TARGETS[target]
    ids = IDS[kind]
    if kind in ("single", "half", "decimal"):
        ids = [float(str(value)) for value in ids]
    frame = own_frame(id=IDS[kind])
    frame["left"] = [yes if value == "yes" else no for value in frame["left"]]
    own = Own(tmp_path, frame, positive=yes)
    customers = own.customers(f"c.{form}")
    scores, rejected = own.score(customers, explain=False)
    assert scores["id"].tolist() == ids and len(rejected) == 0
    counts = count_batch(
        customers, own.rules, {"x": fit_bins(frame["x"], own.rules.columns["x"])}, ignore
    )
    invalid, rows = counts.invalid, counts.rows
    assert rows == ROWS and not invalid
    labels = own.table(frame, f"l.{form}", ["id", "left"])
    found = measure(labels, own, scores, own.params)
    assert found["roc_auc"] > 0.6


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_null_leaves_the_other_ids_as_they_are(tmp_path, form):
    """Whole ids that no float holds: one customer without an id is rejected, the others keep
    theirs, in the scores and in the labels."""
    ids = [2**60 + 1001 * row + 1 for row in range(ROWS)]
    own = Own(tmp_path, own_frame(id=ids))
    frame = own.frame.assign(id=pd.array([*ids[:2], None, *ids[3:]], dtype="Int64"))
    scores, rejected = own.score(own.customers(f"c.{form}", frame))
    assert scores["id"].tolist() == ids[:2] + ids[3:]
    assert rejected["reason"].tolist() == ["id: null where none is allowed"]
    labels = own.table(frame, f"l.{form}", ["id", "left"])
    known = frame.drop(index=2).merge(scores.assign(id=scores["id"].astype("Int64")), on="id")
    y, probability = encode_labels(known, own.rules), known["churn_probability"].to_numpy()
    expected = point_metrics(y, probability, 0.5, own.params.evaluate.costs)
    found = measure(labels, own, scores, own.params)
    assert found["roc_auc"] == expected["roc_auc"]


def test_single_precision_is_what_its_text_says(tmp_path):
    """0.1 of a float32 is 0.1 of a CSV and of a double: at the ends of a range, and for drift."""
    frame = own_frame(x=np.float32([0.1, 0.3, 0.7] * (ROWS // 3)))
    own = Own(tmp_path, frame)
    column = own.rules.columns["x"]
    assert (column.low, column.high) == (0.1, 0.7)
    bins, counts = fit_bins(pd.Series([0.1, 0.3, 0.7]), column), []
    for form in ("parquet", "csv"):
        customers = own.customers(f"c.{form}")
        scores, rejected = own.score(customers, explain=False)
        assert len(scores) == ROWS and len(rejected) == 0
        counts.append(count_batch(customers, own.rules, {"x": bins}, ignore).bins["x"].tolist())
    assert counts[0] == counts[1] == [100, 100, 100, 0, 0]
    assert (
        len(predict_probabilities(own.scorer.booster, frame, own.rules)) == ROWS
    )  # a caller who has the very float32


def test_labels_that_cannot_be_used(tmp_path):
    """A cell that is no label of that type, a broken line and a repeated id are said, not passed
    over.
    """
    frame = own_frame()
    frame["left"] = (frame["left"] == "yes").astype(int)
    own = Own(tmp_path, frame, positive=1)
    scores, _ = own.score(own.customers("c.csv"))
    lines = frame[["id", "left"]].to_csv(index=False).splitlines()
    for line, says in (
        ("000007,maybe", "left: 'maybe' is not a number"),
        ("000007", "row 8: the line has 1 cells"),
        ("000006,1", "1 row with the id of an earlier row, such as '000006'"),
    ):
        (tmp_path / "l.csv").write_text("\n".join([*lines[:8], line, *lines[9:]]))
        labels = customer_table.CustomerTable(str(tmp_path / "l.csv"), own.rules, ["id", "left"])
        with pytest.raises(UserError, match=says):
            measure(labels, own, scores, own.params)


@pytest.mark.parametrize("form", ["parquet", "csv"])
@pytest.mark.parametrize("kind", IDS)
def test_customers_without_an_id(tmp_path, kind, form):
    """Two of them are rejected for that, and not for being the same one."""
    own = Own(tmp_path, own_frame(id=IDS[kind]))
    ids = pd.Series(IDS[kind], dtype="Int64" if kind == "whole" else None).where(
        own.frame.index > 1
    )
    _, rejected = own.score(own.customers(f"c.{form}", own.frame.assign(id=ids)), explain=False)
    assert rejected["reason"].tolist() == ["id: null where none is allowed"] * 2


def test_unknown_labels_are_left_out_on_request(tmp_path, capsys):
    """As in training: with `unlabelled: drop` a third label counts for nothing, and that is
    said.
    """
    own = Own(tmp_path, own_frame())
    scores, _ = own.score(own.customers("c.csv"))
    third = own.frame.assign(left=own.frame["left"].where(own.frame.index % 5 != 0, "paused"))
    labels = own.table(third, "l.csv", ["id", "left"])
    with pytest.raises(
        UserError,
        match="left is 'paused', not one of 'no', 'yes'; `unlabelled: drop` under `data:`",
    ):
        measure(labels, own, scores, own.params)
    data = own.params.data.model_copy(update={"unlabelled": "drop"})
    dropping = own.params.model_copy(update={"data": data})
    found = measure(labels, own, scores, dropping)
    assert "60 such customers left out of the metrics" in capsys.readouterr().out
    known = own.table(own.frame[third["left"] != "paused"], "k.csv", ["id", "left"])
    assert found == measure(known, own, scores, own.params)


def test_columns_called_like_the_products(tmp_path):
    """bias, row, reason and the names of the scores' columns: the user's columns keep their names
    and their values.
    """
    random = np.random.default_rng(1)
    names = [
        "bias",
        "row",
        "reason",
        "churn_probability",
        "churn",
        "expected_value",
        "action",
        "reason_1",
        "contribution_1",
        "index",
        "feature",
    ]
    frame = own_frame(**{name: random.normal(size=ROWS) for name in names})
    frame = frame.rename(columns={"left": "probability"})
    own = Own(tmp_path, frame, target="probability")
    broken = frame.drop(columns="probability")
    broken["bias"] = broken["bias"].mask(broken.index == 3)
    scores, rejected = own.score(own.customers("c.csv", broken))
    assert list(rejected)[-2:] == ["row_", "reason_"] and len(scores) == ROWS - 1
    assert rejected["row_"].tolist() == [4] and rejected["reason_"].tolist() == [
        "bias: null where none is allowed"
    ]
    assert float(rejected["row"][0]) == pytest.approx(frame["row"][3])
    values = feature_contributions(own.scorer.booster, frame, own.rules)
    assert values.columns[-1] == "bias_"
    strongest = values.iloc[0, :-1].abs().idxmax()
    assert scores["reason_1"][0].startswith(f"{strongest} = ")
    y, p = encode_labels(frame, own.rules), own.predict(None, frame)["churn_probability"].to_numpy()
    assert set(plot_data.plot_tables(y, p, 0.5, values)["importance"]["feature"]) == {*names, "x"}
    for name in ("churn", "expected_value", "action"):
        with pytest.raises(UserError, match=f"data.id is '{name}', which is a column of the score"):
            load_contract(own.rules.path, name, "probability", "yes")


@pytest.mark.parametrize("features", [1, 2])
def test_few_features_and_nulls_among_the_reasons(tmp_path, features):
    """As many reasons as there are features; a null is one."""
    auto = pd.array([None, True, False] * (ROWS // 3), "boolean")
    frame = own_frame(x=own_frame()["x"].mask(np.arange(ROWS) % 2 == 0), auto=auto)
    frame = frame if features == 2 else frame.drop(columns="auto")
    own = Own(tmp_path, frame)
    found = []
    for form in ("csv", "parquet"):
        scores, _ = own.score(own.customers(f"c.{form}"))
        reasons = [name for name in scores if name.startswith("reason_")]
        assert (
            reasons == [f"reason_{place}" for place in range(1, features + 1)]
            and len(scores) == ROWS
        )
        assert not scores[reasons].isna().any().any()
        assert "x = null" in scores[reasons].iloc[0].tolist()
        found.append(scores)
    assert found[0].equals(found[1])
    shown = {text for name in reasons for text in found[0][name] if text.startswith("auto")}
    assert shown == ({"auto = True", "auto = False", "auto = null"} if features == 2 else set())


def test_null_tokens_mean_the_same_when_training_and_when_scoring(tmp_path):
    """NA and its like are null at intake and at scoring; where the contract lists NA as a value, it
    is that value.
    """
    random = np.random.default_rng(2)
    frame = own_frame(
        usage=random.choice(["1.5", "2", *NULLS], ROWS), plan=random.choice(["a", "NA"], ROWS)
    )
    frame.to_csv(tmp_path / "raw.csv", index=False)
    taken = read_csv(str(tmp_path / "raw.csv"))
    assert taken["usage"].null_count == frame["usage"].isin(NULLS).sum()
    assert taken["plan"].null_count == (frame["plan"] == "NA").sum()
    trained = taken.to_pandas().assign(plan=frame["plan"])
    own = Own(tmp_path, trained)
    from_csv, rejected = own.score(
        customer_table.CustomerTable(
            str(tmp_path / "raw.csv"), own.rules, ["id", "x", "usage", "plan"]
        )
    )
    from_parquet, _ = own.score(own.customers("c.parquet"))
    assert len(rejected) == 0
    pd.testing.assert_frame_equal(from_csv, from_parquet)


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["000001", "000002"], "string"),  # ids
        (["01234", "99999"], "string"),  # postal codes
        (["+49", "7"], "string"),
        (["1e5", "2"], "string"),  # a code
        (["9007199254740993", "1"], "string"),  # a double would change it
        (["-", "1"], "string"),
        (["1,000", "2"], "string"),
        (["1_000", "2"], "string"),
        (["0x10", "2"], "string"),
        (["-3", "0", "NA"], "int64"),
        (["29.50", "1e-05", ".5", ""], "double"),
        (["True", "false"], "bool"),
        (["2026-01-01", "2026-02-01"], "date32[day]"),
    ],
)
def test_types_are_those_that_give_every_cell_back(tmp_path, cells, kind):
    pd.DataFrame({"n": range(len(cells)), "c": cells}).to_csv(tmp_path / "t.csv", index=False)
    taken = read_csv(str(tmp_path / "t.csv"))["c"]
    assert str(taken.type) == kind
    if kind == "string":
        assert taken.to_pylist() == cells
    named = read_csv(str(tmp_path / "t.csv"), id_column="c")["c"]
    assert named.type == ("string" if kind.startswith("date") else taken.type), (
        "a date can name a customer"
    )


HEAD = b"id,x,left\n"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("latin.csv", "id,x,left\nJörg,1,yes\n".encode("latin-1"), "is not UTF-8"),
        ("header.csv", "id,x,größe\na,1,yes\n".encode("latin-1"), "is not UTF-8"),
        ("sixteen.csv", "id,x,left\na,1,yes\n".encode("utf-16"), "is not UTF-8"),
        ("semicolons.csv", b"id;x;left\na;1,5;yes\n", "separated by semicolons"),
        ("tabs.csv", b"id\tx\tleft\na\t1\tyes\n", "separated by tabs"),
        ("long.csv", HEAD + b"x" * (40 * 2**20) + b",1,yes\n", "a line of more than 16 MiB"),
        (
            "bomb.csv.gz",
            gzip.compress(bytes(100 * 2**20)),
            "its first line has more than 1,048,576 bytes",
        ),
        ("bomb2.csv.gz", gzip.compress(HEAD + bytes(100 * 2**20)), "a line of more than 16 MiB"),
        (
            "quote.csv",
            b'id,x,left\na,"1,yes\nb,2,no\nc,"3",yes\n',
            "line 2: a cell runs over several lines",
        ),
        (
            "quote2.csv",
            b'id,x,left\na,1,yes\nb,2,"no\nc,3,yes\n',
            "line 3: a cell runs over several lines",
        ),
        (
            "quote3.csv",
            b'id,x,left,note\na,1,yes,"x\nb,2,no,y\nc,3,yes,"z"\n',
            "line 2: a cell runs over several",
        ),
        ("cut.csv.gz", gzip.compress(HEAD + bytes(2**20))[:200], "cannot be read"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_csv_files_that_cannot_be_read(tmp_path, name, content, says):
    """One sentence, at intake and at scoring."""
    own = Own(tmp_path, own_frame())
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_csv(str(tmp_path / name))
    with pytest.raises(UserError, match=says):
        own.score(customer_table.CustomerTable(str(tmp_path / name), own.rules, ["id", "x"]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"sep=,\nid,x,left\na,1,yes\n",
            "line 2 has 3 cells, the header 2: id,x,left\n  is the first line the header",
        ),
        (
            b"id,x,x,left\na,1,2,yes\n",
            "several columns have the same name: 'x'; give each a name of its own",
        ),
    ],
)
def test_csv_files_that_cannot_be_taken_in(tmp_path, content, says):
    (tmp_path / "raw.csv").write_bytes(content)
    with pytest.raises(UserError, match=says):
        read_csv(str(tmp_path / "raw.csv"))


def test_columns_of_a_csv_are_left_out(tmp_path):
    """Also those that stand in it twice, as the empty columns at the end of a spreadsheet do."""
    (tmp_path / "raw.csv").write_text("id,,x,,left\na,,1,,yes\n")
    taken = read_csv(str(tmp_path / "raw.csv"), left_out=[""])
    assert taken.to_pylist() == [{"id": "a", "x": 1, "left": "yes"}]


def test_blank_lines(tmp_path):
    """At the end, also a whole block of them: no row and no fault."""
    own = Own(tmp_path, own_frame())
    text = own.frame.to_csv(index=False) + "\n" * (BLOCK_BYTES + 100)
    (tmp_path / "c.csv").write_text(text)
    (tmp_path / "c.csv").rename(tmp_path / "C.CSV")
    scores, rejected = own.score(
        customer_table.CustomerTable(str(tmp_path / "C.CSV"), own.rules, ["id", "x"]), explain=False
    )
    assert len(scores) == ROWS and len(rejected) == 0


def test_cells_of_several_lines(tmp_path):
    """In quotes that are closed, a text may have several lines: nobody is lost."""
    frame = own_frame(
        plan=np.where(np.arange(ROWS) % 2, "a\nb", "c"), note='said:\n"so", and\n\nleft'
    )
    frame.to_csv(tmp_path / "c.csv", index=False)
    assert read_csv(str(tmp_path / "c.csv")).to_pandas().equals(frame)
    own = Own(tmp_path, frame.drop(columns="note"))
    scores, rejected = own.score(
        customer_table.CustomerTable(str(tmp_path / "c.csv"), own.rules, ["id", "x", "plan"])
    )
    assert len(scores) == ROWS and len(rejected) == 0


def test_scores_that_cannot_be_written(tmp_path):
    """A folder, or a folder that takes no file, is refused before anything is scored."""
    with (
        pytest.raises(UserError, match="is a folder; name a file"),
        output.atomic_output(str(tmp_path)),
    ):
        pytest.fail("it went to work")
    with (
        pytest.raises(UserError, match="cannot be written"),
        output.atomic_output("/proc/scores.parquet"),
    ):
        pytest.fail("it went to work")
