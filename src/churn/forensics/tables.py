"""Raw tables that are exchanged between models, and tables in between A's and B's."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from churn.files import md5
from churn.forensics.difference import kind_of_values
from churn.forensics.snapshot import Snapshot


@dataclass(frozen=True)
class LabelledTable:
    """A raw table with its contract, and the model whose id, target and labels belong to it."""

    raw: Path
    schema: Path
    owner: Snapshot

    @property
    def identity(self) -> list[object]:
        """What identifies the table in a cache key."""
        return [md5(self.raw), md5(self.schema), self.owner.data_settings]


def table_of(snapshot: Snapshot) -> LabelledTable:
    """The table of a model, apart from its checkout, in which tables are exchanged."""
    folder = snapshot.folder / ".dvc/tmp/own"
    if not folder.exists():
        folder.mkdir(parents=True)
        shutil.copyfile(snapshot.raw, folder / "raw.parquet")
        shutil.copyfile(snapshot.schema, folder / "schema.yaml")
    return LabelledTable(folder / "raw.parquet", folder / "schema.yaml", snapshot)


def restore_columns(a: Snapshot, b: Snapshot, names: list[str], folder: Path) -> LabelledTable:
    """Make B's table with A's values in these columns, by customer id.

    A customer who is not in A keeps B's value, or has none where B has no such column.

    Args:
        folder: where to write the table and its contract; it is created.
    """
    table = b.table.copy()
    source = a.table.set_index(a.key)
    rows = table.set_index(a.key).index
    is_in_a = pd.Series(rows.isin(source.index), table.index)
    for name in names:
        if name not in source:
            table = table.drop(columns=name)
            continue
        values = source[name].reindex(rows).set_axis(table.index)
        if name in table and kind_of_values(table[name]) == kind_of_values(source[name]):
            values = values.where(is_in_a, table[name])
        if not values.isna().any():
            values = values.astype(source[name].dtype)
        elif source[name].dtype.kind == "b":
            values = values.astype("boolean")
        table[name] = values

    folder.mkdir()
    table.to_parquet(folder / "raw.parquet", index=False)
    _mix_contracts(a, b, names, bool(is_in_a.all()), folder / "schema.yaml")
    return LabelledTable(folder / "raw.parquet", folder / "schema.yaml", b)


def _mix_contracts(a: Snapshot, b: Snapshot, names: list[str], only_a: bool, path: Path) -> None:
    """Write B's contract with A's rules for these columns.

    Args:
        only_a: whether these columns have values of A only; a column with values of both models
            gets the allowed values of both, and no range.
    """
    ours = yaml.load(table_of(a).schema.read_text(), yaml.CSafeLoader)
    theirs = yaml.load(table_of(b).schema.read_text(), yaml.CSafeLoader)
    if ours["columns"] == theirs["columns"]:
        shutil.copyfile(table_of(b).schema, path)
        return

    mixed = {}
    # In B's order, which is that of the model's features.
    for name in dict.fromkeys([*theirs["columns"], *names]):
        old, new = ours["columns"].get(name), theirs["columns"].get(name)
        if name not in names:
            mixed[name] = new
        elif old and (old == new or only_a):
            mixed[name] = old
        elif old:
            mixed[name] = {"dtype": old["dtype"], "nullable": True}
            allowed = dict.fromkeys([*old.get("isin", ()), *(new or {}).get("isin", ())])
            if allowed:
                mixed[name]["isin"] = list(allowed)
    theirs["columns"] = mixed
    path.write_text(yaml.safe_dump(theirs, sort_keys=False))
