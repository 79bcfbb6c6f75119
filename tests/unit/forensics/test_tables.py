"""Tables in between A's and B's: some columns of one model's table in the other's."""

from pathlib import Path

import pandas as pd
import pytest
import yaml

from churn.forensics import difference
from churn.forensics.snapshot import Snapshot
from churn.forensics.tables import restore_columns

LABEL = {"dtype": "str", "isin": ["No", "Yes"]}
COLUMNS_OF_BOTH = {"id": {"dtype": "str"}, "y": LABEL}


def snapshot_of(folder: Path, table: pd.DataFrame, columns: dict) -> Snapshot:
    """A model without a recipe: a table and its contract only."""
    (folder / "data").mkdir(parents=True)
    table.to_parquet(folder / "data/raw.parquet", index=False)
    contract = yaml.safe_dump({"columns": columns}, sort_keys=False)
    (folder / "data/schema.yaml").write_text(contract)
    roles = {"data.id": "id", "data.target": "y", "data.positive": "Yes"}
    return Snapshot(None, folder, {}, {}, roles, table)


@pytest.fixture
def a(tmp_path) -> Snapshot:
    """Customers 1, 2 and 3, with a column that B does not have."""
    table = pd.DataFrame(
        {
            "id": ["1", "2", "3"],
            "y": ["No", "Yes", "No"],
            "x": [1, 2, 3],
            "old": [True, False, True],
        }
    )
    columns = {
        **COLUMNS_OF_BOTH,
        "x": {"dtype": "int64", "isin": [1, 2, 3]},
        "old": {"dtype": "bool"},
    }
    return snapshot_of(tmp_path / "a/project", table, columns)


@pytest.fixture
def b(tmp_path) -> Snapshot:
    """One customer came and one went; the other two are in another order."""
    table = pd.DataFrame(
        {
            "id": ["4", "3", "2"],
            "y": ["No", "No", "No"],
            "x": [9, 3, 7],
            "new": [0.5, 1.5, 2.5],
        }
    )
    columns = {
        **COLUMNS_OF_BOTH,
        "x": {"dtype": "int64", "isin": [3, 7, 9]},
        "new": {"dtype": "float64"},
    }
    return snapshot_of(tmp_path / "b/project", table, columns)


def test_changes_of_columns_and_customers(a, b):
    """What happened to each column, how many customers came, went or changed, what is restored."""
    changes = difference.column_changes(a, b)
    assert dict(changes.what) == {"old": "removed", "new": "added", "x": "", "y": ""}
    assert changes.changed["x"] == 0.5
    assert changes.changed["y"] == 0.5

    counts = difference.customer_counts(a, b)
    assert counts == {"A": 3, "B": 3, "came": 1, "went": 1, "changed": 1}
    assert set(difference.restoration_order(changes)) == {"x", "y", "old", "new"}


def test_columns_are_put_back_by_customer(a, b, tmp_path):
    """Known customers get A's values, a new one keeps B's or has none; the contract takes both."""
    restored = restore_columns(a, b, ["x", "old", "new"], tmp_path / "restored")

    table = pd.read_parquet(restored.raw)
    assert table.id.tolist() == ["4", "3", "2"]
    assert table.y.tolist() == ["No", "No", "No"]
    assert table.x.tolist() == [9, 3, 2]
    assert table.old.isna()[0]
    assert table.old[1]
    assert "new" not in table

    columns = yaml.safe_load(restored.schema.read_text())["columns"]
    assert list(columns) == ["id", "y", "x", "old"]
    assert columns["old"]["nullable"]
    assert set(columns["x"]["isin"]) == {1, 2, 3, 7, 9}
