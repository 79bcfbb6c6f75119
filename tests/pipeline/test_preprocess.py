"""The split keeps customers apart, and a table that breaks its contract is refused as a whole."""

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import preprocess
from churn import paths
from churn.console import run_command
from churn.data import parquet
from churn.data.parquet import open_table
from churn.data.project_contract import load_project_contract
from churn.data.split import write_splits
from churn.errors import UserError
from churn.files import md5
from churn.params import load_params
from conftest import place_empty_store

pytestmark = pytest.mark.sample


@pytest.fixture
def clone(project, inside, monkeypatch):
    """An entered project with the real table, and small batches, so that every test crosses
    several.
    """
    project.out("dvc", "pull", "-q", "data/raw.parquet.dvc")
    place_empty_store(project.folder)
    monkeypatch.setattr(parquet, "BATCH_ROWS", 1000)
    return inside(project)


def splits(table: pd.DataFrame, folder, seed: int = 42) -> dict[str, set[str]]:
    """The customer ids in each split of a table."""
    folder.mkdir()
    table.to_parquet(folder / "raw.parquet", index=False)
    p = load_params().model_copy(update={"seed": seed})
    rules = load_project_contract(p)
    write_splits(open_table(folder / "raw.parquet"), rules, p, folder)
    return {
        name: set(pd.read_parquet(folder / path.name)["customer_id"])
        for name, path in paths.SPLITS.items()
    }


def test_customers_stay_where_they_are(clone, tmp_path):
    """A new customer moves nobody; a shuffled table gives the same splits as sets; every customer
    is in one split.
    """
    table = pd.read_parquet(paths.RAW)
    first = splits(table, tmp_path / "a")
    assert sum(map(len, first.values())) == len(set.union(*first.values())) == len(table) == 7043
    assert splits(table.sample(frac=1, random_state=1), tmp_path / "b") == first
    newcomer = table.head(1).assign(customer_id="C9999")
    grown = splits(pd.concat([newcomer, table]), tmp_path / "c")
    assert {name: ids - {"C9999"} for name, ids in grown.items()} == first
    assert len(set.union(*grown.values())) == 7044


def test_seed_is_the_key_of_the_split(clone, tmp_path):
    """Another seed gives another split, of the same shares (within four standard errors)."""
    table = pd.read_parquet(paths.RAW)
    a, b = splits(table, tmp_path / "a", seed=42), splits(table, tmp_path / "b", seed=43)
    assert a["test"] != b["test"]
    for ids in (a, b):
        assert abs(len(ids["test"]) / 7043 - 0.2) < 4 * (0.2 * 0.8 / 7043) ** 0.5


def test_batches_change_no_row(clone, tmp_path, monkeypatch):
    """The size of a record batch is no input: the rows of the splits, in order, stay the same."""
    table = pd.read_parquet(paths.RAW)
    splits(table, tmp_path / "a")
    monkeypatch.setattr(parquet, "BATCH_ROWS", 7)
    splits(table.head(500), tmp_path / "b")
    small = pd.read_parquet(tmp_path / "b" / "train.parquet")
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "a" / "train.parquet").head(len(small)), small
    )


def put(table, row, column, value):
    table = table.astype({column: object})
    table.loc[row - 1, column] = value
    return table


# What is wrong with the table, how to make it so, and what the message must say.
BAD_TABLES = {
    "empty": (lambda t: t.head(0), ["data/raw.parquet is empty"]),
    "no id": (lambda t: t.drop(columns="customer_id"), ["customer_id: missing column"]),
    "no target": (lambda t: t.drop(columns="churn"), ["churn: missing column"]),
    "duplicate ids": (
        lambda t: pd.concat([t, t.iloc[[0, 5]]]),
        ["customer_id: duplicate id; 2 rows: 7044, 7045; found 'C0001', 'C0006'"],
    ),
    "null id": (
        lambda t: put(t, 2001, "customer_id", None),
        ["customer_id: null where none is allowed; 1 row: 2001"],
    ),
    "one class": (
        lambda t: t[t.churn == "No"],
        ["split has", "customers, 0 of them with churn = 'Yes'"],
    ),
    "target outside": (
        lambda t: put(t, 3, "churn", "Maybe"),
        ["churn: isin(['No', 'Yes']); 1 row: 3; found 'Maybe'"],
    ),
    "null target": (
        lambda t: put(t, 3, "churn", None),
        ["churn: null where none is allowed; 1 row: 3"],
    ),
    "unknown category": (
        lambda t: put(t, 1002, "contract", "Weekly"),
        ["contract: isin(", "1 row: 1002; found 'Weekly'"],
    ),
    "out of range": (
        lambda t: t.assign(tenure=t.tenure - 5),
        ["tenure: in_range(0, 120); ", " rows: 1, 3, 5", ", ...; found"],
    ),
    "text in a number": (
        lambda t: t.assign(tenure=t.tenure.astype(str)),
        ["tenure: must be int64 (number), the table has"],
    ),
    "fraction": (
        lambda t: t.assign(tenure=t.tenure + 0.5),
        ["tenure: whole number; 7043 rows: 1, 2, 3, 4, 5, ...; found 1.5"],
    ),
    "null in a required number": (
        lambda t: put(t, 9, "tenure", None).astype({"tenure": "Int64"}),
        ["tenure: null where none is allowed; 1 row: 9"],
    ),
    "unknown column": (lambda t: t.assign(shoe_size=42), ["shoe_size: unknown column"]),
    "several at once": (
        lambda t: put(put(t.drop(columns="partner"), 5, "contract", "Weekly"), 7, "churn", None),
        [
            "partner: missing column",
            "contract: isin(",
            "1 row: 5",
            "churn: null where none is allowed; 1 row: 7",
        ],
    ),
}


@pytest.mark.parametrize("spoil, says", BAD_TABLES.values(), ids=BAD_TABLES.keys())
def test_bad_tables_are_refused(clone, capsys, spoil, says):
    """Exit code 1, one message that names column, rule, count and rows, and nothing written."""
    spoil(pd.read_parquet(paths.RAW)).to_parquet(paths.RAW, index=False)
    refused(clone, says)


def test_file_that_is_no_parquet_is_refused(clone):
    paths.RAW.write_text("customer_id,churn\nC0001,No\n")
    refused(clone, ["data/raw.parquet is not a Parquet file"])


def refused(clone, says: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_command(preprocess.main)
    message = caught.value.code  # a text: Python prints it to stderr and exits with 1
    for part in says:
        assert part in message
    written = {path.name for path in (clone.folder / "data").rglob("*") if path.is_file()}
    assert written == {
        "README.md",
        "raw.parquet",
        "raw.parquet.dvc",
        "schema.yaml",
        ".gitignore",
        "15b2735d3b55fd536faa99218c4d80",
    }
    (run,) = clone.runs("preprocess")
    assert (run.info.status, run.data.tags["error"]) == (
        "FAILED",
        f"UserError: {message.removeprefix('error: ')}"[:5000],
    )


def test_exit_code_of_a_refusal(project):
    """As DVC sees it: the stage fails, says why without a traceback, and dvc.lock stays."""
    (project.folder / "data/raw.parquet").write_text("no table")
    result = project.run("dvc", "repro", "preprocess")
    assert result.returncode != 0
    assert (
        "error: data/raw.parquet is not a Parquet file" in result.stderr
        and "Traceback" not in result.stderr
    )
    assert project.out("git", "status", "--short", "dvc.lock") == ""


def test_numbers_of_other_widths_and_dictionaries_pass(clone, tmp_path):
    """int32, float32 without loss and dictionary-encoded text are the same table; the splits are
    the same files.
    """
    table = pq.read_table(paths.RAW)
    splits(table.to_pandas(), tmp_path / "a")
    narrow = [f.with_type(pa.int32()) if f.type == pa.int64() else f for f in table.schema]
    narrow = [
        f.with_type(pa.dictionary(pa.int32(), pa.string())) if f.name == "contract" else f
        for f in narrow
    ]
    (tmp_path / "b").mkdir()
    pq.write_table(table.cast(pa.schema(narrow)), tmp_path / "b" / "raw.parquet")
    p = load_params()
    rules = load_project_contract(p)
    write_splits(open_table(tmp_path / "b" / "raw.parquet"), rules, p, tmp_path / "b")
    for path in paths.SPLITS.values():
        assert md5(tmp_path / "a" / path.name) == md5(tmp_path / "b" / path.name)


def test_inferred_contract_fits_its_table(clone):
    """infer_schema.py writes a contract that the table passes and a changed table does not, and
    overwrites none.
    """
    exists = clone.run("python", "src/infer_schema.py", "data/raw.parquet")
    assert exists.returncode == 1 and "data/schema.yaml exists" in exists.stderr
    paths.SCHEMA.unlink()
    clone.out("python", "src/infer_schema.py", "data/raw.parquet")
    p = load_params()
    rules = load_project_contract(p)
    assert rules.columns["contract"].allowed == ("Month-to-month", "One year", "Two year")
    assert rules.columns["total_charges"].nullable and not rules.columns["tenure"].nullable
    (clone.folder / "new").mkdir()
    counts, _ = write_splits(open_table(paths.RAW), rules, p, clone.folder / "new")
    assert sum(count["rows"] for count in counts.values()) == 7043
    pd.read_parquet(paths.RAW).assign(tenure=73).to_parquet(paths.RAW, index=False)
    with pytest.raises(UserError, match=r"tenure: in_range\(0, 72\)"):
        write_splits(open_table(paths.RAW), rules, p, clone.folder / "new")
