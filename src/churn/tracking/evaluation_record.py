"""The record of an evaluation in MLflow: what identifies it, where it is kept, and how today's figures differ from it.

A record is never changed by a later evaluation. The first evaluation of a training run completes that run, so that a
model is one row with everything. An evaluation with other code, test rows, settings or another production model is a
run of its own (tag `stage` = evaluate), linked to the model by its md5. The same evaluation again adds nothing. A
registered version carries the figures with which it was registered in its own tags.
"""

import json
import os

from churn import paths
from churn.files import md5
from churn.params import parameters_digest
from churn.tracking import git_state, runs

# What must be equal for an evaluation to belong to the training run that it completes.
STATE = ("git_commit", "git_dirty", "patch_md5", "lock_md5", "environment")
SAME = 1e-6  # metrics are written with six digits


def model_tags(leaves: dict[str, object]) -> dict[str, str]:
    """The tags by which the run of the workspace's model is found.

    Args:
        leaves: every parameter by its dotted name.
    """
    return {"model_md5": md5(paths.MODEL), "params_md5": parameters_digest(leaves)}


def evaluation_identity(leaves: dict[str, object], inputs: dict[str, str]) -> dict[str, str]:
    """The tags that identify the evaluation in the workspace: all that it read, and the figures that it wrote.

    Args:
        leaves: every parameter by its dotted name.
        inputs: {path: md5} of what the stage evaluate reads (lineage.inputs).
    """
    read = parameters_digest({"inputs": inputs, "parameters": leaves})
    return {**model_tags(leaves), "evaluation_md5": read, "metrics_md5": md5(paths.METRICS)}


def unfinished_training(leaves: dict[str, object], state: dict[str, str]):
    """The training run of this workspace that has no evaluation yet, or None.

    Args:
        state: tags of today's code and environment; a run of another state is not completed with today's figures.
    """
    found = runs.find_run(stage="train", **model_tags(leaves), **runs.workspace_tag())
    if found is None or "gate" in found.data.tags:
        return None
    unchanged = all(found.data.tags.get(name) == state.get(name) for name in STATE)
    return found if unchanged else None


def registered_metrics(version) -> dict[str, float]:
    """The test metrics with which a version was registered; empty if nobody knows them any more.

    A version that carries none in its tags was registered by an earlier release, which let a later evaluation write
    into the version's run: of such a run, the last values before the registration count.
    """
    import mlflow

    if "metrics" in version.tags:
        return json.loads(version.tags["metrics"])
    try:
        names = test_metrics(mlflow.get_run(version.run_id).data.metrics)
        return {name: _value_at_registration(version, name) for name in names}
    except mlflow.MlflowException:  # the run has been deleted for good
        return {}


def _value_at_registration(version, name: str) -> float:
    import mlflow

    history = mlflow.MlflowClient().get_metric_history(version.run_id, name)
    before = [point for point in history if point.timestamp <= version.creation_timestamp]
    return max(before or history, key=lambda point: point.timestamp).value


def test_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """What evaluate measured, without the learning curves that the same run holds."""
    return {
        name: value for name, value in metrics.items() if not name.startswith(("train_", "valid_"))
    }


def metric_changes(
    recorded: dict[str, float], today: dict[str, float], names: tuple[str, ...]
) -> list[str]:
    """One line for each of these metrics that today's evaluation of a version does not give as it was recorded."""
    lines = []
    for name in names:
        before, now = recorded.get(name), today.get(name)
        if before is None or now is None:
            if before is not now:
                state = (
                    "was not measured when it was registered"
                    if before is None
                    else "is no longer measured"
                )
                lines.append(f"{name} {state}")
        elif abs(before - now) > SAME:
            lines.append(f"{name} is {now:.4f} today and was {before:.4f} when it was registered")
    return lines


def compared_with_tag(production, made: dict[str, str]) -> dict[str, str]:
    """The tag that names the production model that a candidate was compared with. The model in production itself is
    compared with nothing new: any earlier record of it counts.

    Args:
        production: the version in production, or None.
        made: registry.identity of the candidate.
    """
    if production is None:
        return {"compared_with": "none"}
    if made.items() <= production.tags.items():
        return {}
    return {"compared_with": f"{production.name}/{production.version}"}


def is_experiment() -> bool:
    """Whether this stage runs as part of a DVC experiment, or on what one left that was killed."""
    return "DVC_EXP_NAME" in os.environ or git_state.unfinished_experiment()
