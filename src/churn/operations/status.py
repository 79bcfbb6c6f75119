"""Where workspace, staging and production stand, and how production came to be what it is, as
tables. Writes nothing.
"""

from datetime import UTC, datetime

import pandas as pd

from churn import paths
from churn.files import md5, read_metrics
from churn.modeling.metrics import COMPARED_METRICS
from churn.operations import promotion
from churn.tracking import evaluation_record, git_state, registry


def history(name: str) -> str:
    """Every promotion and rollback as a table, the oldest first."""
    rows = [
        {
            "when (UTC)": move.when[:16].replace("T", " "),
            "what": move.kind,
            "from": move.old or "-",
            "to": move.new,
            "by": move.by,
            **{
                metric: f"{move.metrics[metric]:.4f}"
                for metric in COMPARED_METRICS
                if metric in move.metrics
            },
            "why": move.why,
        }
        for move in promotion.history(name)
    ]
    return (
        pd.DataFrame(rows).fillna("-").to_string(index=False)
        if rows
        else f"{name} was never promoted"
    )


def status(name: str) -> str:
    """Workspace, staging, production and the version before it as a table."""
    production = registry.version_with_alias(name, "production")
    before = (
        promotion.previous(promotion.history(name), str(production.version)) if production else None
    )
    versions = {
        "staging": registry.version_with_alias(name, "staging"),
        "production": production,
        "previous": registry.version_by_number(name, before) if before else None,
    }
    rows = [{name: "workspace", **workspace(name)}]
    for place, version in versions.items():
        rows.append({name: place, **(described(version) if version else {})})
    table = pd.DataFrame(rows).fillna("-").to_string(index=False)
    notes = {recorded_otherwise(name, version) for version in versions.values() if version}
    return "\n".join([table, *sorted(notes - {""})]).rstrip("\n")


def recorded_otherwise(name: str, version) -> str:
    """What the workspace's evaluation of a version gives that differs from the figures of its
    registration, in words; "" if nothing does, or if the workspace holds another model.
    """
    today = workspace_metrics()
    if not today:
        return ""
    found = registry.find_version(name, registry.workspace_identity(today["threshold"]))
    if found is None or found.version != version.version:
        return ""
    changes = evaluation_record.metric_changes(
        evaluation_record.registered_metrics(version), today, COMPARED_METRICS
    )
    if not changes:
        return ""
    why = f"`python src/why.py models:/{name}/{version.version} HEAD` shows what changed"
    return f"today's evaluation of version {version.version} is another one: {'; '.join(changes)}. {why}\n"


def workspace_metrics() -> dict[str, float]:
    """reports/metrics.json, or {} where the workspace holds no evaluated model."""
    if not (paths.MODEL.exists() and paths.METRICS.exists()):
        return {}
    return read_metrics(paths.METRICS)


def workspace(name: str) -> dict[str, str]:
    """The row of the model that lies in the workspace, registered or not."""
    measured = workspace_metrics()
    if not measured:
        return {}
    digest, commit = md5(paths.MODEL), git_state.code_tags()
    version = registry.find_version(name, registry.workspace_identity(measured["threshold"]))
    return {
        "version": str(version.version) if version else "not registered",
        **row(digest, measured, datetime.fromtimestamp(paths.MODEL.stat().st_mtime, UTC), commit),
    }


def described(version) -> dict[str, str]:
    """The row of a registered version."""
    made = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
    tags = version.tags
    return {
        "version": str(version.version),
        **row(tags["model_md5"], evaluation_record.registered_metrics(version), made, tags),
    }


def row(digest: str, measured: dict, made: datetime, commit: dict) -> dict[str, str]:
    """What `status` shows of any model; the commit is followed by + when the code differed from it."""
    minutes = int((datetime.now(UTC) - made).total_seconds() // 60)
    return {
        "model": digest[:8],
        **{metric: f"{measured[metric]:.4f}" for metric in COMPARED_METRICS if metric in measured},
        "age": f"{minutes} min"
        if minutes < 120
        else f"{minutes // 60} h"
        if minutes < 2880
        else f"{minutes // 1440} d",
        "commit": commit["git_commit"][:8] + ("+" if commit["git_dirty"] == "true" else ""),
    }
