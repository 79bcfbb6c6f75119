"""What people see on MLflow's page: the view of an experiment, the description of a run.

MLflow documents none of the experiment's tags. They are what its page wrote and read in releases
3.16 and 3.17. Where another release does not know them, the page opens as it does for any
experiment, and nothing else changes.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from churn.modeling.gate import Decision

if TYPE_CHECKING:
    from mlflow.entities import Experiment

KIND = "mlflow.experimentKind"  # which of the page's two menus: model training, not GenAI
VIEW = "models"  # the id of the saved view
VIEW_COLUMNS = [
    "metrics.`roc_auc`",
    "metrics.`average_precision`",
    "metrics.`log_loss`",
    "metrics.`value_per_customer`",
    "tags.`gate`",
    "tags.`model_version`",
    "attributes.`Source`",
]
VIEW_WIDTHS = {"metrics.`average_precision`": 150, "metrics.`value_per_customer`": 160}  # pixels
DESCRIPTION = "mlflow.note.content"  # the tag that holds a run's description, in Markdown
LONGEST_TEXT = 5000  # characters of a tag or of a version's description


def prepare_experiment(experiment: Experiment) -> None:
    """Give an experiment its kind and the saved view "Models", unless it has them.

    No run depends on them: where the user may only read the store, they stay away.
    """
    import mlflow

    client = mlflow.MlflowClient()
    for tag, value in experiment_tags().items():
        if tag not in experiment.tags:
            with contextlib.suppress(mlflow.MlflowException):
                client.set_experiment_tag(experiment.experiment_id, tag, value)


def experiment_tags() -> dict[str, str]:
    """The tags of an experiment that MLflow's page reads.

    A saved view has its columns in the order of the list; by itself the page sorts them by name.
    """
    state = {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "selectedColumns": VIEW_COLUMNS,
        "columnOrder": VIEW_COLUMNS,
        "columnWidths": VIEW_WIDTHS,
    }
    view = {"name": "Models", "createdAt": 0, "state": json.dumps(state)}
    return {KIND: "custom_model_development", f"mlflow.sharedViewState.{VIEW}": json.dumps(view)}


def page_link(server: str, experiment_id: str) -> str:
    """The address of the experiment's runs in the model-training menu, with the view "Models"."""
    query = f"workflowType=machine_learning&viewStateShareKey={VIEW}"
    return f"{server}/#/experiments/{experiment_id}/runs?{query}"


def describe_evaluation(tags: dict[str, str], decision: Decision, version: str | None) -> str:
    """The description of the run of an evaluated model: gate, version, and how to reproduce it.

    Args:
        tags: those of the run: model_md5, git_commit and git_dirty.
        version: "NAME/NUMBER" of the registered version, None if there is none.
    """
    reproduce = f"`git checkout {tags['git_commit'][:8]} && dvc repro`"
    if tags["git_dirty"] == "true":
        reproduce += ", with the difference applied that is among this run's artifacts (*.patch)"
    lines = [
        f"Churn model {tags['model_md5'][:8]}, trained, and measured on the test split.",
        f"- Gate: {decision}",
        f"- Version: {version or 'not registered'}",
        f"- Reproduce: {reproduce}",
    ]
    return "\n".join(lines)


def shortened(text: str) -> str:
    """A text as long as MLflow takes it for a tag or a description."""
    if len(text) <= LONGEST_TEXT:
        return text
    return f"{text[: LONGEST_TEXT - 4]}\n..."
