"""The model of the workspace against that of a git revision, as Markdown for a pull request.

Pure: facts in, text out. GitHub and GitLab show no picture that is not at an address: pictures are
no part of the text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from churn.modeling.metrics_table import has_own_row, interval_text, value_text
from churn.tracking.revision import Comparison, Revision

MISSING = "-"
Row = Mapping[str, object]


@dataclass(frozen=True)
class Report:
    """What there is to say about the model of the workspace."""

    results: dict[str, float]  # the numbers of reports/metrics.json
    parameters: dict[str, object]  # by dotted name
    gate: str  # the decision with its reason
    version: str  # the version with this model, or that there is none
    changed_outputs: list[str]  # files that the pipeline wrote and nobody committed
    warning: str  # a column that alone separates the target; "" if there is none
    tables: dict[str, list[dict[str, str]]]  # more tables by title, one mapping per row
    what_changed: str  # plain text; "" where it is not known


def render(report: Report, revision: Revision, comparison: Comparison) -> str:
    """The report, from the decision down to the details."""
    blocks = [
        f"## The model against `{revision.name}`",
        summary(report, revision),
        "### Metrics of the test split",
        markdown_table(metric_rows(report.results, revision, comparison)),
    ]
    if comparison.reason:
        blocks.append(f"No interval for the differences: {escape(comparison.reason)}.")
    blocks += ["### Parameters", parameters_text(report.parameters, revision)]
    for title, rows in report.tables.items():
        blocks += [f"### {title}", markdown_table(rows)]
    if report.what_changed:
        changes = f"A is `{revision.name}`, B is here.\n\n````text\n{report.what_changed}\n````"
        blocks += ["### What changed", changes]
    return "\n\n".join(blocks)


def summary(report: Report, revision: Revision) -> str:
    """One line each for the gate, the version, the revision, and what needs attention."""
    lines = [
        f"- Gate: **{escape(report.gate)}**",
        f"- Version: {escape(report.version)}",
        f"- Compared with `{revision.name}` at {revision.commit[:8]}",
    ]
    if report.warning:
        lines.append(f"- Warning: {escape(report.warning)}")
    if report.changed_outputs:
        names = ", ".join(f"`{name}`" for name in report.changed_outputs)
        lines.append(f"- **Not committed as the pipeline writes it: {names}.** `dvc repro`, commit")
    return "\n".join(lines)


def metric_rows(
    results: dict[str, float], revision: Revision, comparison: Comparison
) -> list[dict[str, str]]:
    """One row per metric: the revision's, the workspace's, and the difference, with intervals."""
    rows = []
    for name in filter(has_own_row, {**revision.metrics, **results}):
        row = {
            "metric": name,
            revision.name: _with_interval(revision.metrics, name),
            "here": _with_interval(results, name),
            "difference": _difference(name, results, revision, comparison),
        }
        rows.append(row)
    return rows


def _with_interval(metrics: dict[str, float], name: str) -> str:
    if name not in metrics:
        return MISSING
    text = value_text(name, metrics[name])
    interval = interval_text(metrics, name)
    return f"{text} ({interval})" if interval else text


def _difference(
    name: str, results: dict[str, float], revision: Revision, comparison: Comparison
) -> str:
    if name in comparison.differences:
        difference, low, high = comparison.differences[name]
        return f"{difference:+.4f} ({low:+.4f} to {high:+.4f})"
    if name not in results or name not in revision.metrics:
        return MISSING
    return value_text(name, results[name] - revision.metrics[name], sign="+")


def parameters_text(parameters: dict[str, object], revision: Revision) -> str:
    """The parameters that differ, as a table, and how many do not."""
    rows = []
    names = {**revision.parameters, **parameters}
    for name in names:
        before, here = revision.parameters.get(name, MISSING), parameters.get(name, MISSING)
        if before != here:
            rows.append({"parameter": name, revision.name: before, "here": here})
    if not rows:
        return f"All {len(names)} are those of `{revision.name}`."
    return f"{markdown_table(rows)}\n\nThe other {len(names) - len(rows)} are equal."


def markdown_table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table, with the columns of the first row."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names)]
    for row in rows:
        lines.append([escape(str(row[name])) for name in names])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def escape(text: str) -> str:
    """A text as Markdown that shows it as it is: it may be a value of somebody's table.

    It stays in its cell, and neither becomes HTML nor notifies anyone (`@name`).
    """
    for character, shown in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("@", "&#64;")):
        text = text.replace(character, shown)
    return " ".join(text.split())
