"""What is said and drawn of a change of a metric: one sentence, tables, a waterfall."""

from pathlib import Path

import pandas as pd

from churn import paths
from churn.files import md5
from churn.forensics import difference
from churn.forensics.comparison import Cause

NAMES = {"roc_auc": "AUC"}


def sentence(metric: str, ends: tuple[float, float], noise: float, causes: list[Cause]) -> str:
    """The answer: by how much the metric changed, and because of what.

    `±` is one standard deviation over seeds.
    """
    change = ends[1] - ends[0]
    name, moved = NAMES.get(metric, metric), "fell" if change < 0 else "rose"
    digits = 3 if abs(change) < 1 else 2
    text = (
        f"{name} {moved} by {abs(change):.{digits}f} ± {noise:.{digits}f}"
        if change
        else f"{name} did not change"
    )
    real = [cause for cause in causes if not cause.within_noise]
    if not real:
        return f"{text}: {'the whole of it' if change else 'whatever differs'} is within noise."
    way = 1 if change > 0 else -1
    with_it = [cause for cause in real if cause.contribution * way > 0]
    against = [cause for cause in real if cause.contribution * way <= 0]
    parts = [f"{abs(c.contribution):.{digits}f} of it because {c.because}" for c in with_it]
    parts += [
        f"{abs(c.contribution):.{digits}f} the other way because {c.because}" for c in against
    ]
    if len(real) < len(causes):
        parts[-1] += "; the rest is within noise"
    return f"{text}: {', '.join(parts)}."


def causes_table(causes: list[Cause], ends: tuple[float, float], reruns: int) -> str:
    """Each cause with what it contributed, its share of the change, its noise and the verdict; and
    how it was found.
    """
    change = ends[1] - ends[0]
    rows = {
        cause.what: {
            "axis": cause.axis,
            "contribution": f"{cause.contribution:+.4f}",
            "share": f"{cause.contribution / change:.0%}" if change else "-",
            "noise": f"± {cause.noise:.4f}",
            "verdict": "within noise" if cause.within_noise else "a cause",
        }
        for cause in causes
    }
    rows["A to B"] = {
        "axis": "",
        "contribution": f"{sum(cause.contribution for cause in causes):+.4f}",
        "share": "100%" if change else "-",
        "noise": "",
        "verdict": f"{ends[0]:.4f} to {ends[1]:.4f}",
    }
    noise = f"noise: one standard deviation over {reruns} reruns with other seeds"
    return (
        f"{pd.DataFrame(rows).T.to_string()}\n({noise}; a cause: Student's t-test over them, 95 %)"
    )


def squares(figures: list[list[float | None]], counts: list[list[int]]) -> str:
    """Both models on both test splits: did the model get worse, or the test harder?"""

    def cell(model: int, test: int) -> str:
        figure = figures[model][test]
        return "cannot score it" if figure is None else f"{figure:.4f} ({counts[model][test]:,})"

    table = pd.DataFrame(
        [[cell(m, t) for t in (0, 1)] for m in (0, 1)],
        index=["model A", "model B"],
        columns=["test split of A", "test split of B"],
    )
    text = f"{table.to_string()}\n(in brackets: customers; a model is asked about none that it was trained on)"
    if None in (*figures[0], *figures[1]):
        return text
    (aa, ab), (ba, bb) = figures
    text += f"\nmodel B against model A: {ba - aa:+.4f} on the test split of A, {bb - ab:+.4f} on that of B"
    text += f"\ntest split of B against that of A: {ab - aa:+.4f} for model A, {bb - ba:+.4f} for model B"
    return text


def differences(a: difference.Side, b: difference.Side) -> str:
    """What differs along each axis, with the md5s."""
    ours, theirs = difference.md5s(a), difference.md5s(b)
    moved, blocks = difference.axes(a, b), []
    for axis in difference.AXES:
        one, other = ours[axis][:8], theirs[axis][:8]
        if axis not in moved:
            blocks.append(f"{axis:<12} the same ({one})")
            continue
        details = {
            "code": _code,
            "data": _data,
            "parameters": lambda a, b: difference.changed(a.leaves, b.leaves).to_string(),
            "randomness": lambda a, b: "",
            "environment": lambda a, b: difference.changed(a.packages, b.packages).to_string(),
        }[axis](a, b)
        head = f"{axis:<12} differs: {one} → {other}"
        blocks.append(head + "".join(f"\n    {line}" for line in details.splitlines()))
    if a.recipe.outs | {str(paths.MODEL): ""} != b.recipe.outs | {str(paths.MODEL): ""}:
        blocks.append(
            f"{'splits':<12} differ"
            + "".join(f"\n    {line}" for line in _splits(a, b).splitlines())
        )
    machines = (
        difference.changed(a.recipe.machine, b.recipe.machine)
        if a.recipe.machine and b.recipe.machine
        else []
    )
    if len(machines):
        details = "".join(f"\n    {line}" for line in machines.to_string().splitlines())
        blocks.append(f"machine      differs, and cannot be put back here:{details}")
    return "\n".join(blocks)


def _code(a: difference.Side, b: difference.Side) -> str:
    every, touching = difference.commits(a, b)
    lines = [f"commits between: {len(every)}, {len(touching)} of them change what a stage runs"]
    lines += [f"  {commit}" for commit in touching[:10]] + (
        [f"  and {len(touching) - 10} more"] * (len(touching) > 10)
    )
    for name, side in (("A", a), ("B", b)):
        if side.recipe.patch is None:
            lines.append(f"{name} was made of code that was not committed, and the patch is lost")
        elif side.recipe.patch:
            lines.append(f"{name} was made of code that was not committed: its patch is applied")
    return "\n".join(
        [
            *lines,
            "md5 of each file",
            difference.changed(a.code, b.code).map(lambda md5: md5[:8]).to_string(),
        ]
    )


def _data(a: difference.Side, b: difference.Side) -> str:
    md5s = [
        {"raw.parquet": side.recipe.data_md5[:8], "schema.yaml": md5(side.schema)[:8]}
        for side in (a, b)
    ]
    lines = difference.changed(*md5s).to_string().splitlines()
    if not difference.same_ids(a, b):
        return "\n".join(
            [
                *lines,
                "the customers cannot be matched: id, target or positive label have other names",
            ]
        )
    people = difference.customers(a, b)
    lines.append(
        f"customers {people['A']:,} → {people['B']:,}: {people['came']:,} came, {people['went']:,} went, "
        f"{people['changed']:,} changed; churn rate {difference.churn_rate(a):.1%} → {difference.churn_rate(b):.1%}"
    )
    table = difference.columns(a, b)
    moved = table[(table.what != "") | (table.changed > 0) | (table.psi > table.noise)]
    if len(moved):
        shown = moved.head(10).to_string(
            formatters={
                "psi": "{:.4f}".format,
                "noise": "{:.4f}".format,
                "changed": "{:.1%}".format,
            },
            na_rep="-",
        )
        lines += shown.splitlines() + (
            [f"and {len(moved) - 10} more columns"] if len(moved) > 10 else []
        )
    return "\n".join(lines)


def _splits(a: difference.Side, b: difference.Side) -> str:
    """How many customers each split has, and which share that is."""
    counts = [difference.split_rows(side) for side in (a, b)]
    if not all(counts):
        return "how many customers each has is not known: DVC's cache lacks them (`dvc fetch`)"
    said = [
        {name: f"{rows:,} ({rows / sum(count.values()):.1%})" for name, rows in count.items()}
        for count in counts
    ]
    return pd.DataFrame(said, index=["A", "B"]).T.to_string()


def waterfall(metric: str, ends: tuple[float, float], causes: list[Cause], path: Path) -> None:
    """Draw how the causes lead from A's figure to B's, as a PNG; bars within noise are grey."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 + 0.45 * (len(causes) + 2)), layout="constrained")
    axes, place = figure.subplots(), ends[0]
    low = min(
        [
            *ends,
            *(ends[0] + sum(c.contribution for c in causes[: i + 1]) for i in range(len(causes))),
        ]
    )
    high = max(
        [
            *ends,
            *(ends[0] + sum(c.contribution for c in causes[: i + 1]) for i in range(len(causes))),
        ]
    )
    margin = max(high - low, 0.001) * 0.25
    axes.barh(0, ends[0] - (low - margin), left=low - margin, color="tab:blue")
    for row, cause in enumerate(causes, 1):
        colour = (
            "lightgray"
            if cause.within_noise
            else "tab:red"
            if cause.contribution < 0
            else "tab:green"
        )
        axes.barh(
            row,
            cause.contribution,
            left=place,
            color=colour,
            xerr=cause.noise,
            ecolor="gray",
            capsize=3,
        )
        axes.text(
            high + margin * 0.9,
            row,
            f"{cause.contribution:+.4f}",
            va="center",
            ha="right",
            fontsize=9,
        )
        place += cause.contribution
    axes.barh(len(causes) + 1, ends[1] - (low - margin), left=low - margin, color="tab:blue")
    axes.set_yticks(
        range(len(causes) + 2),
        [f"A: {ends[0]:.4f}", *(c.what for c in causes), f"B: {ends[1]:.4f}"],
    )
    axes.set(xlim=(low - margin, high + margin), xlabel=metric.replace("_", " "))
    axes.invert_yaxis()
    axes.set_title(
        "From A to B; whiskers: one standard deviation over seeds; grey: within noise", fontsize=10
    )
    part = path.with_name(f".{path.name}.part")
    figure.savefig(part, dpi=100, format="png")
    part.replace(path)
