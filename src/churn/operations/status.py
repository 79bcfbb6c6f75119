"""Show where workspace, staging and production stand, and the history of production, as tables.

It writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from churn import paths
from churn.console import text_table
from churn.files import md5, read_metrics
from churn.modeling.metrics import COMPARED_METRICS
from churn.operations import promotion
from churn.tracking import git_state, registered_versions, registry

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

Row = dict[str, object]


def history_table(name: str) -> str:
    """Every promotion and rollback, the oldest first."""
    rows: list[Row] = []
    for move in promotion.history(name):
        row: Row = {
            "when (UTC)": move.when[:16].replace("T", " "),
            "what": move.kind,
            "from": move.old or "-",
            "to": move.new,
            "by": move.by,
        }
        rows.append({**row, **_compared(move.metrics), "why": move.why})
    return text_table(rows) if rows else f"{name} was never promoted"


def status_table(name: str) -> str:
    """Workspace, staging, production and the version to which a rollback goes back."""
    production = registry.version_with_alias(name, "production")
    before = None
    if production:
        number = promotion.previous(promotion.history(name), str(production.version))
        before = registered_versions.version_by_number(name, number) if number else None
    versions = {
        "staging": registry.version_with_alias(name, "staging"),
        "production": production,
        "previous": before,
    }

    rows: list[Row] = [{name: "workspace", **_workspace_row(name)}]
    notes = set()
    for stage, version in versions.items():
        row: Row = {name: stage}
        if version:
            row |= _version_row(version)
            notes.add(changed_metrics_note(name, version))
        rows.append(row)
    lines = [text_table(rows), *sorted(notes - {""})]
    return "\n".join(lines).rstrip("\n")


def changed_metrics_note(name: str, version: ModelVersion) -> str:
    """Say which metrics of a version today's evaluation of it gives otherwise than recorded.

    Returns:
        One line with its end; "" if nothing differs, or if the workspace holds another model.
    """
    today = _workspace_metrics()
    if not today:
        return ""
    in_workspace = registry.find_version(name, registry.workspace_identity(today["threshold"]))
    if in_workspace is None or in_workspace.version != version.version:
        return ""
    recorded = registered_versions.registered_metrics(version)
    changes = registered_versions.metric_changes(recorded, today, COMPARED_METRICS)
    if not changes:
        return ""
    difference = (
        f"today's evaluation of version {version.version} is another one: {'; '.join(changes)}"
    )
    # only forensics
    command = f"`python src/why.py models:/{name}/{version.version} HEAD`"
    difference += f". {command} shows what changed"
    # end
    return f"{difference}\n"


def _workspace_metrics() -> dict[str, float]:
    """The metrics of the workspace's model; empty where it has no evaluated one."""
    if not (paths.MODEL.exists() and paths.METRICS.exists()):
        return {}
    return read_metrics(paths.METRICS)


def _workspace_row(name: str) -> Row:
    metrics = _workspace_metrics()
    if not metrics:
        return {}
    version = registry.find_version(name, registry.workspace_identity(metrics["threshold"]))
    number = str(version.version) if version else "not registered"
    modified = datetime.fromtimestamp(paths.MODEL.stat().st_mtime, UTC)
    return {
        "version": number,
        "model": md5(paths.MODEL)[:8],
        **_compared(metrics),
        "age": _age(modified),
        "commit": _commit(git_state.code_tags()),
    }


def _version_row(version: ModelVersion) -> Row:
    created = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    return {
        "version": str(version.version),
        "model": version.tags["model_md5"][:8],
        **_compared(registered_versions.registered_metrics(version)),
        "age": _age(created),
        "commit": _commit(version.tags),
    }


def _compared(metrics: dict[str, float]) -> Row:
    """The metrics that people compare, in their order."""
    return {name: metrics[name] for name in COMPARED_METRICS if name in metrics}


def _age(since: datetime) -> str:
    minutes = int((datetime.now(UTC) - since).total_seconds() // 60)
    if minutes < 2 * 60:
        return f"{minutes} min"
    if minutes < 2 * 24 * 60:
        return f"{minutes // 60} h"
    return f"{minutes // (24 * 60)} d"


def _commit(tags: Mapping[str, str]) -> str:
    """The commit, followed by + if the code differed from it."""
    mark = "+" if tags["git_dirty"] == "true" else ""
    return tags["git_commit"][:8] + mark
