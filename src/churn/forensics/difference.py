"""What is different between two models: code, data, parameters, randomness, environment.

Nothing is run here.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from churn import paths
from churn.data.contract import load_contract
from churn.data.drift import fit_bins, measure_drift
from churn.errors import UserError
from churn.files import is_intact, md5, read_yaml
from churn.forensics.recipe import Recipe
from churn.params import flatten
from churn.tracking import dvc_cache, git_state

LABELLING = {
    "data.negative": None,
    "data.unlabelled": "refuse",
}  # what holds where params.yaml lacks them
AXES = ("code", "data", "parameters", "randomness", "environment")


@dataclass(frozen=True)
class Side:
    """One of the two models: its recipe and a checkout of it, with what is read from there."""

    recipe: Recipe
    folder: Path
    code: dict[str, str]  # {path: md5} of the files that a stage runs, and the commands
    packages: dict[str, str]  # {package: version} of the lock
    own: dict[str, object]  # its params.yaml, by dotted name: every parameter that the code knows
    table: pd.DataFrame = field(repr=False, compare=False)

    @property
    def roles(self) -> tuple[str, str, object]:
        """The names that go with the data: id, target and positive label."""
        return tuple(self.own.get(f"data.{name}") for name in ("id", "target", "positive"))

    @property
    def labelling(self) -> dict[str, object]:
        """The rest of `data:`, which decides who is a row of the data; a checkout may be older than
        these.
        """
        return {name: self.own.get(name, default) for name, default in LABELLING.items()}

    @property
    def naming(self) -> list:
        """What belongs to the identity of the data beside its bytes: the roles, and what differs
        from LABELLING.
        """
        return [
            *self.roles,
            *(item for item in self.labelling.items() if item not in LABELLING.items()),
        ]

    @property
    def schema(self) -> Path:
        return self.folder / paths.SCHEMA

    @property
    def raw(self) -> Path:
        return self.folder / paths.RAW

    @property
    def leaves(self) -> dict[str, object]:
        """The parameters, without the seed and the names that go with the data."""
        return {
            name: v
            for name, v in self.recipe.params.items()
            if name != "seed" and not name.startswith("data.")
        }

    @property
    def seed(self) -> int:
        return self.own["seed"]


def side(recipe: Recipe, folder: Path) -> Side:
    """Read a checkout."""
    stages = read_yaml(folder / "dvc.yaml")["stages"]
    outs = {str(out) for stage in stages.values() for out in stage.get("outs", ())}
    data = {str(paths.RAW), str(paths.SCHEMA)}
    files = {path for stage in stages.values() for path in stage.get("deps", ())} - outs - data
    code = {path: md5(folder / path) for path in sorted(files) if (folder / path).is_file()}
    code |= {
        f"command of {name}": hashlib.md5(stage["cmd"].encode()).hexdigest()
        for name, stage in stages.items()
    }
    pins = re.findall(
        r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", (folder / "requirements.txt").read_text(), re.M
    )
    own = flatten(read_yaml(folder / "params.yaml"))
    return Side(recipe, folder, code, dict(pins), own, pd.read_parquet(folder / paths.RAW))


def digest(content: object) -> str:
    """md5 over anything that JSON can hold."""
    return hashlib.md5(json.dumps(content, sort_keys=True).encode()).hexdigest()


def md5s(one: Side) -> dict[str, str]:
    """A short identity of each axis of a model: two models that agree in one have that axis in
    common.
    """
    return {
        "code": digest(one.code),
        "data": digest([one.recipe.data_md5, md5(one.schema), one.naming]),
        "parameters": digest(one.leaves),
        "randomness": str(one.seed),
        "environment": digest(one.packages),
    }


def axes(a: Side, b: Side) -> list[str]:
    """The axes along which two models differ, in the order of AXES."""
    ours, theirs = md5s(a), md5s(b)
    return [axis for axis in AXES if ours[axis] != theirs[axis]]


def changed(ours: dict, theirs: dict) -> pd.DataFrame:
    """The names whose values differ, one a row: columns A and B, "-" where a side has no such name."""
    names = [name for name in {**ours, **theirs} if ours.get(name, "-") != theirs.get(name, "-")]
    sides = {"A": [ours.get(n, "-") for n in names], "B": [theirs.get(n, "-") for n in names]}
    return pd.DataFrame(
        sides, index=names, dtype=object
    )  # else a column of 4 and 0.1 would show 4.0


def commits(a: Side, b: Side) -> tuple[list[str], list[str]]:
    """The commits from A to B, newest first, one a line; and those of them that touch a file which
    a stage runs.

    Commits that only A has (B is no descendant of it) are marked with "-".
    """
    between = f"{a.recipe.commit}...{b.recipe.commit}"
    form = ("log", "--left-right", "--format=%m %h %s", between)
    here = (
        ("--", ".") if git_state.git("rev-parse", "--show-prefix").strip() else ()
    )  # of a bigger repository, this folder's
    lines = [
        text.splitlines()
        for text in (
            git_state.git(*form, *here),
            git_state.git(*form, "--", "dvc.yaml", *files(a, b)),
        )
    ]
    marked = [[line[2:] if line[0] == ">" else f"- {line[2:]}" for line in part] for part in lines]
    return marked[0], marked[1]


def files(a: Side, b: Side) -> list[str]:
    """The paths of the code of either side."""
    return sorted(path for path in {*a.code, *b.code} if not path.startswith("command of "))


def same_ids(a: Side, b: Side) -> bool:
    """Whether customers of the one table can be found in the other."""
    return a.roles == b.roles and a.roles[0] in a.table and a.roles[0] in b.table


def matched(a: Side, b: Side) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The customers who are in both tables, indexed by id, in the same order."""
    left, right = (one.table.drop_duplicates(a.roles[0]).set_index(a.roles[0]) for one in (a, b))
    both = left.index.intersection(right.index)
    return left.loc[both], right.loc[both]


def unlike(x: pd.Series, y: pd.Series) -> pd.Series:
    """Where two values differ; two nulls do not."""
    return ~((x == y).fillna(False).astype(bool) | (x.isna() & y.isna()))


def customers(a: Side, b: Side) -> dict[str, int]:
    """Customers in A, in B, those who came, those who went, and those of whom another value is
    known (in columns of both tables). Only where `same_ids`.
    """
    id, (left, right) = a.roles[0], matched(a, b)
    came, went = ~b.table[id].isin(a.table[id]), ~a.table[id].isin(b.table[id])
    names = [name for name in left if name in right and kind(left[name]) == kind(right[name])]
    moved = sum((unlike(left[name], right[name]) for name in names), pd.Series(False, left.index))
    counted = {"came": came, "went": went, "changed": moved > 0}
    return {
        "A": len(a.table),
        "B": len(b.table),
        **{what: int(rows.sum()) for what, rows in counted.items()},
    }


def split_rows(one: Side) -> dict[str, int]:
    """Customers in each split of a model, by the splits' md5s; empty where DVC's cache does not
    have them all, intact.
    """
    digests = {name: one.recipe.outs[str(path)] for name, path in paths.SPLITS.items()}
    cached = {name: dvc_cache.cache_path(digest) for name, digest in digests.items()}
    if not all(is_intact(cached[name], digest) for name, digest in digests.items()):
        return {}
    return {name: pq.read_metadata(path).num_rows for name, path in cached.items()}


def churn_rate(one: Side) -> float:
    """Of the customers with a label that their contract knows."""
    rules = load_contract(one.schema, *one.roles)
    target = one.table[rules.target]
    return float((target[target.isin(rules.labels)] == rules.positive).mean())


def columns(a: Side, b: Side) -> pd.DataFrame:
    """What became of every column but the id, the most drifted first. Only where `same_ids`.

    Columns of the table, indexed by column: `what` (added, removed, retyped or ""), `changed`: the
    share of the customers in both tables whose value is another one, `psi` between all rows of A
    and all of B and its `noise` (drift.compare; NaN where a column is only in one, or of another
    kind).
    """
    rules = load_contract(a.schema, *a.roles)
    left, right = (one.table.drop(columns=a.roles[0]) for one in (a, b))
    left_both, right_both = matched(a, b)
    found = {}
    for name in dict.fromkeys([*left.columns, *right.columns]):
        what, share, index = "", np.nan, None
        if name not in left or name not in right:
            what = "added" if name not in left else "removed"
        elif kind(left[name]) != kind(right[name]):
            what = "retyped"
        else:
            share = (
                float(unlike(left_both[name], right_both[name]).mean()) if len(left_both) else 0.0
            )
            bins = fit_bins(left[name], rules.columns.get(name))
            index = measure_drift(
                bins.count(left[name]), bins.count(right[name]), len(left.columns)
            )
        found[name] = {
            "what": what,
            "changed": share,
            "psi": index.psi if index else np.nan,
            "noise": index.noise if index else np.nan,
        }
    return pd.DataFrame.from_dict(found, orient="index").sort_values(
        ["psi", "changed"], ascending=False, na_position="first", kind="stable"
    )


def kind(values: pd.Series) -> str:
    """number or text: what a column holds, whatever width it is stored in."""
    return "number" if values.dtype.kind in "iufb" else "text"


def to_put_back(table: pd.DataFrame) -> list[str]:
    """The columns that differ for the same customers, in the order in which they are put back:
    added, removed and retyped ones, then by drift, then (a column whose rows were only mixed up has
    none) by the share of changed values.
    """
    moved = table[(table.what != "") | (table.changed > 0)]
    drifted = moved.psi.where(moved.psi > moved.noise, 0.0).where(moved.what == "", np.inf)
    order = pd.DataFrame({"drift": drifted, "changed": moved.changed.fillna(1.0)})
    return order.sort_values(["drift", "changed"], ascending=False, kind="stable").index.tolist()


def check(a: Side, b: Side) -> None:
    """Refuse two models between which nothing differs."""
    if not axes(a, b):
        raise UserError(
            f"{a.recipe.label} and {b.recipe.label} are made of the same code, data, parameters, seed and environment"
        )
