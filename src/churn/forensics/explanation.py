"""Show the attribution of a change: one sentence and tables."""

import numpy as np
import pandas as pd

from churn import paths
from churn.console import text_table
from churn.files import md5
from churn.forensics import difference
from churn.forensics.causes import Cause
from churn.forensics.comparison import ModelsByTestSplit
from churn.forensics.snapshot import AXES, Snapshot

SHORT_NAMES = {"roc_auc": "AUC"}
MOST_COMMITS, MOST_COLUMNS = 10, 10
MODELS, TEST_SPLITS = ("model A", "model B"), ("test split of A", "test split of B")


def sentence(metric: str, both: tuple[float, float], noise: float, causes: list[Cause]) -> str:
    """The answer: by how much the metric changed, and because of what.

    `±` is one standard deviation over seeds.

    Args:
        both: the metric of A and of B.
    """
    change = both[1] - both[0]
    name = SHORT_NAMES.get(metric, metric)
    digits = 3 if abs(change) < 1 else 2
    text = f"{name} did not change"
    if change:
        direction = "fell" if change < 0 else "rose"
        text = f"{name} {direction} by {abs(change):.{digits}f} ± {noise:.{digits}f}"

    real = [cause for cause in causes if not cause.within_noise]
    if not real:
        subject = "the whole of it" if change else "whatever differs"
        return f"{text}: {subject} is within noise."
    along, against = [], []
    for cause in real:
        size = f"{abs(cause.contribution):.{digits}f}"
        if (cause.contribution > 0) == (change > 0):
            along.append(f"{size} of it because {cause.names.clause}")
        else:
            against.append(f"{size} the other way because {cause.names.clause}")
    reasons = ", ".join([*along, *against])
    if len(real) < len(causes):
        reasons += "; the rest is within noise"
    return f"{text}: {reasons}."


def causes_table(causes: list[Cause], both: tuple[float, float], reruns: int) -> str:
    """Each cause with its contribution, its share of the change, its noise and the verdict."""
    change = both[1] - both[0]
    rows = []
    for cause in causes:
        share = f"{cause.contribution / change:.0%}" if change else "-"
        verdict = "within noise" if cause.within_noise else "a cause"
        rows.append(
            {
                "": cause.what,
                "axis": cause.axis,
                "contribution": f"{cause.contribution:+.4f}",
                "share": share,
                "noise": f"± {cause.noise:.4f}",
                "verdict": verdict,
            }
        )
    total = sum(cause.contribution for cause in causes)
    whole = "100%" if change else "-"
    rows.append(
        {
            "": "A to B",
            "axis": "",
            "contribution": f"{total:+.4f}",
            "share": whole,
            "noise": "",
            "verdict": f"{both[0]:.4f} to {both[1]:.4f}",
        }
    )
    noise = f"noise: one standard deviation over {reruns} reruns with other seeds"
    return f"{text_table(rows)}\n({noise}; a cause: Student's t-test over them, 95 %)"


def models_by_test_split_text(table: ModelsByTestSplit) -> str:
    """Both models on both test splits: did the model get worse, or the test harder?"""
    rows = []
    for model, name in enumerate(MODELS):
        row = {"": name}
        for split, column in enumerate(TEST_SPLITS):
            metric = table.metrics[model][split]
            row[column] = "cannot score it"
            if metric is not None:
                row[column] = f"{metric:.4f} ({table.customers[model][split]:,})"
        rows.append(row)
    note = "(in brackets: customers; a model is asked about none that it was trained on)"
    lines = [text_table(rows), note]

    metrics = np.array(table.metrics, dtype=float)  # [model][test split], NaN for None
    if not np.isnan(metrics).any():
        by_model = metrics[1] - metrics[0]
        by_split = metrics[:, 1] - metrics[:, 0]
        lines.append(
            f"model B against model A: {by_model[0]:+.4f} on the test split of A, "
            f"{by_model[1]:+.4f} on that of B"
        )
        lines.append(
            f"test split of B against that of A: {by_split[0]:+.4f} for model A, "
            f"{by_split[1]:+.4f} for model B"
        )
    return "\n".join(lines)


def differences_text(a: Snapshot, b: Snapshot) -> str:
    """What differs along each axis, with the md5s."""
    ours, theirs = a.axis_md5s(), b.axis_md5s()
    different = difference.different_axes(a, b)
    blocks = []
    for axis in AXES:
        if axis in different:
            title = f"{axis:<12} differs: {ours[axis][:8]} → {theirs[axis][:8]}"
            blocks.append(_block(title, _axis_details(axis, a, b)))
        else:
            blocks.append(f"{axis:<12} the same ({ours[axis][:8]})")

    splits = [str(path) for path in paths.SPLITS.values()]
    if any(a.recipe.outs[path] != b.recipe.outs[path] for path in splits):
        blocks.append(_block(f"{'splits':<12} differ", _split_sizes(a, b)))
    if a.recipe.machine and b.recipe.machine:
        machines = difference.changed_values(a.recipe.machine, b.recipe.machine)
        if len(machines):
            title = "machine      differs, and cannot be put back here:"
            blocks.append(_block(title, _changes_table(machines)))
    return "\n".join(blocks)


def _block(title: str, details: str) -> str:
    lines = [f"    {line}" for line in details.splitlines()]
    return "\n".join([title, *lines])


def _axis_details(axis: str, a: Snapshot, b: Snapshot) -> str:
    if axis == "code":
        return _code_details(a, b)
    if axis == "data":
        return _data_details(a, b)
    if axis == "parameters":
        return _changes_table(difference.changed_values(a.parameters, b.parameters))
    if axis == "environment":
        return _changes_table(difference.changed_values(a.packages, b.packages))
    return ""  # the seeds stand in the title


def _changes_table(changes: pd.DataFrame) -> str:
    """The table of difference.changed_values as text."""
    rows = []
    for name, values in changes.iterrows():
        rows.append({"": name, "A": str(values["A"]), "B": str(values["B"])})
    return text_table(rows)


def _code_details(a: Snapshot, b: Snapshot) -> str:
    every, of_stages = difference.commits(a, b)
    count = f"commits between: {len(every)}"
    lines = [f"{count}, {len(of_stages)} of them change what a stage runs"]
    lines += [f"  {commit}" for commit in of_stages[:MOST_COMMITS]]
    if len(of_stages) > MOST_COMMITS:
        lines.append(f"  and {len(of_stages) - MOST_COMMITS} more")
    for name, snapshot in (("A", a), ("B", b)):
        text = f"{name} was made of code that was not committed"
        if snapshot.recipe.patch is None:
            lines.append(f"{text}, and the patch is lost")
        elif snapshot.recipe.patch:
            lines.append(f"{text}: its patch is applied")
    files = difference.changed_values(a.code, b.code).map(lambda digest: digest[:8])
    return "\n".join([*lines, "md5 of each file", _changes_table(files)])


def _data_details(a: Snapshot, b: Snapshot) -> str:
    files = []
    for snapshot in (a, b):
        raw, schema = snapshot.recipe.data_md5[:8], md5(snapshot.schema)[:8]
        files.append({"raw.parquet": raw, "schema.yaml": schema})
    lines = _changes_table(difference.changed_values(*files)).splitlines()
    if not difference.can_match_customers(a, b):
        text = "the customers cannot be matched"
        return "\n".join([*lines, f"{text}: id, target or positive label have other names"])

    customers = difference.customer_counts(a, b)
    rates = f"{difference.churn_rate(a):.1%} → {difference.churn_rate(b):.1%}"
    lines.append(
        f"customers {customers['A']:,} → {customers['B']:,}: {customers['came']:,} came, "
        f"{customers['went']:,} went, {customers['changed']:,} changed; churn rate {rates}"
    )
    changes = difference.column_changes(a, b)
    has_drifted = changes.psi > changes.noise
    moved = changes[(changes.what != "") | (changes.changed > 0) | has_drifted]
    rows = []
    for name, row in moved.head(MOST_COLUMNS).iterrows():
        changed = None if pd.isna(row.changed) else f"{row.changed:.1%}"
        rows.append(
            {"": name, "what": row.what, "changed": changed, "psi": row.psi, "noise": row.noise}
        )
    if rows:
        lines += text_table(rows).splitlines()
    if len(moved) > MOST_COLUMNS:
        lines.append(f"and {len(moved) - MOST_COLUMNS} more columns")
    return "\n".join(lines)


def _split_sizes(a: Snapshot, b: Snapshot) -> str:
    """How many customers each split has, and which share that is."""
    sizes_a, sizes_b = difference.split_sizes(a), difference.split_sizes(b)
    if not sizes_a or not sizes_b:
        return "how many customers each has is not known: DVC's cache lacks them (`dvc fetch`)"
    rows = []
    for name in sizes_a:
        row = {"": name}
        for model, sizes in (("A", sizes_a), ("B", sizes_b)):
            row[model] = f"{sizes[name]:,} ({sizes[name] / sum(sizes.values()):.1%})"
        rows.append(row)
    return text_table(rows)
