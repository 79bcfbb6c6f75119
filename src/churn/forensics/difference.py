"""What is different between two models, A and B: code, data, parameters, randomness, environment.

Nothing is run here.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from churn import paths
from churn.data.contract import Contract, load_contract
from churn.data.drift import fit_bins, measure_drift
from churn.errors import UserError
from churn.files import is_intact
from churn.forensics.snapshot import AXES, COMMAND_OF, Snapshot
from churn.tracking import dvc_cache, git_state

NOT_THERE = "-"


def check_different(a: Snapshot, b: Snapshot) -> None:
    """Refuse two models between which nothing differs.

    Raises:
        UserError: that is so.
    """
    if not different_axes(a, b):
        raise UserError(
            f"{a.recipe.label} and {b.recipe.label} are made of the same code, data, parameters, "
            "seed and environment"
        )


def different_axes(a: Snapshot, b: Snapshot) -> list[str]:
    """The axes along which two models differ, in the order of AXES."""
    ours, theirs = a.axis_md5s(), b.axis_md5s()
    return [axis for axis in AXES if ours[axis] != theirs[axis]]


def changed_values(ours: Mapping[str, object], theirs: Mapping[str, object]) -> pd.DataFrame:
    """The names whose values differ, one per row, with the columns A and B.

    A name that one of the two does not have is NOT_THERE.
    """
    rows = {}
    for name in {**ours, **theirs}:
        values = (ours.get(name, NOT_THERE), theirs.get(name, NOT_THERE))
        if values[0] != values[1]:
            rows[name] = values
    # As objects: a column of 4 and 0.1 would show 4.0.
    return pd.DataFrame.from_dict(rows, orient="index", columns=["A", "B"], dtype=object)


def commits(a: Snapshot, b: Snapshot) -> tuple[list[str], list[str]]:
    """The commits from A to B, newest first, and those of them that touch what a stage runs.

    Commits that only A has (B is no descendant of it) begin with "-".
    """
    between = f"{a.recipe.commit}...{b.recipe.commit}"
    log = ("log", "--left-right", "--format=%m %h %s", between)
    is_subfolder = git_state.git("rev-parse", "--show-prefix").strip() != ""
    of_project = ("--", ".") if is_subfolder else ()
    every = git_state.git(*log, *of_project)
    of_stages = git_state.git(*log, "--", "dvc.yaml", *code_files(a, b))
    return _marked(every), _marked(of_stages)


def _marked(log: str) -> list[str]:
    lines = []
    for line in log.splitlines():
        side, commit = line[0], line[2:]
        if side == "<":
            commit = f"- {commit}"
        lines.append(commit)
    return lines


def code_files(a: Snapshot, b: Snapshot) -> list[str]:
    """The paths of the code of either model."""
    return sorted(path for path in {*a.code, *b.code} if not path.startswith(COMMAND_OF))


def can_match_customers(a: Snapshot, b: Snapshot) -> bool:
    """Whether customers of one table can be found in the other."""
    if a.roles != b.roles or a.key != b.key:
        return False
    return all(name in a.table and name in b.table for name in a.key)


def customer_counts(a: Snapshot, b: Snapshot) -> dict[str, int]:
    """How many customers are in A and in B, came, went, or have another value in a common column.

    Only where `can_match_customers`.
    """
    left, right = _common_customers(a, b)
    is_changed = pd.Series(False, left.index)
    for name in left:
        if name in right and kind_of_values(left[name]) == kind_of_values(right[name]):
            is_changed |= _differ(left[name], right[name])
    keys = [one.table.set_index(a.key).index for one in (a, b)]
    return {
        "A": len(a.table),
        "B": len(b.table),
        "came": int((~keys[1].isin(keys[0])).sum()),
        "went": int((~keys[0].isin(keys[1])).sum()),
        "changed": int(is_changed.sum()),
    }


def split_sizes(snapshot: Snapshot) -> dict[str, int]:
    """How many customers each split of a model has, by the md5s of the splits.

    Returns:
        Nothing where DVC's cache does not have all of them, intact.
    """
    sizes = {}
    for name, path in paths.SPLITS.items():
        digest = snapshot.recipe.outs[str(path)]
        cached = dvc_cache.cache_path(digest)
        if not is_intact(cached, digest):
            return {}
        sizes[name] = pq.read_metadata(cached).num_rows
    return sizes


def churn_rate(snapshot: Snapshot) -> float:
    """The churn rate among customers with a label that their contract lists."""
    contract = _contract_of(snapshot)
    labels = snapshot.table[contract.target]
    known = labels[labels.isin(contract.labels)]
    return float((known == contract.positive).mean())


def column_changes(a: Snapshot, b: Snapshot) -> pd.DataFrame:
    """What happened to every column that does not identify a row, the most drifted first.

    Only where `can_match_customers`.

    Returns:
        One row per column: `what` (added, removed, retyped or ""); `changed`, the share of the
        common customers who have another value; `psi` between all rows of A and all of B, and its
        `noise` (drift.measure_drift). These are NaN where a column is only in one table, or of
        another kind.
    """
    contract = _contract_of(a)
    left, right = (snapshot.table.drop(columns=a.key) for snapshot in (a, b))
    common_left, common_right = _common_customers(a, b)
    rows = {}
    for name in dict.fromkeys([*left.columns, *right.columns]):
        row: dict[str, object] = {"what": "", "changed": np.nan, "psi": np.nan, "noise": np.nan}
        rows[name] = row
        if name not in left:
            row["what"] = "added"
        elif name not in right:
            row["what"] = "removed"
        elif kind_of_values(left[name]) != kind_of_values(right[name]):
            row["what"] = "retyped"
        else:
            bins = fit_bins(left[name], contract.columns.get(name))
            counts = bins.count(left[name]), bins.count(right[name])
            drift = measure_drift(*counts, columns=len(left.columns))
            row["psi"], row["noise"] = drift.psi, drift.noise
            row["changed"] = 0.0
            if len(common_left):
                is_changed = _differ(common_left[name], common_right[name])
                row["changed"] = float(is_changed.mean())
    return pd.DataFrame.from_dict(rows, orient="index").sort_values(
        ["psi", "changed"], ascending=False, na_position="first", kind="stable"
    )


def restoration_order(changes: pd.DataFrame) -> list[str]:
    """The columns that differ for the same customers, in the order in which they are restored.

    Added, removed and retyped columns come first, then by drift; a column whose rows were only
    mixed up has none, so these come by the share of changed values.

    Args:
        changes: of `column_changes`.
    """
    is_structural = changes.what != ""
    moved = changes[is_structural | (changes.changed > 0)]
    drift = moved.psi.where(moved.psi > moved.noise, 0.0)
    order = pd.DataFrame(
        {
            "drift": drift.where(moved.what == "", np.inf),
            "changed": moved.changed.fillna(1.0),
        }
    )
    ordered = order.sort_values(["drift", "changed"], ascending=False, kind="stable")
    return [str(name) for name in ordered.index]


def kind_of_values(values: pd.Series) -> str:
    """number or text: what a column holds, whatever width it is stored in."""
    return "number" if values.dtype.kind in "iufb" else "text"


def _contract_of(snapshot: Snapshot) -> Contract:
    ids, target, positive = snapshot.roles
    time = snapshot.own_parameters.get("data.time")
    return load_contract(snapshot.schema, ids, target, positive, time)  # type: ignore[arg-type]


def _common_customers(a: Snapshot, b: Snapshot) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The customers who are in both tables, indexed by id, in the same order."""
    left, right = (one.table.drop_duplicates(a.key).set_index(a.key) for one in (a, b))
    common = left.index.intersection(right.index)
    return left.loc[common], right.loc[common]


def _differ(left: pd.Series, right: pd.Series) -> pd.Series:
    """Where two columns have different values; two nulls are equal."""
    are_equal = (left == right).fillna(False).astype(bool)
    both_null = left.isna() & right.isna()
    return ~(are_equal | both_null)
