"""The record of an evaluation in MLflow: what identifies it, and where it is kept.

A record is never changed by a later evaluation. The first evaluation of a training run completes
that run, so that a model is one row with everything. An evaluation with other code, test rows,
settings or another production model is a run of its own (tag `stage` = evaluate), linked to the
model by its md5. The same evaluation again adds nothing. A registered version carries the metrics
with which it was registered in its own tags.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from churn import paths
from churn.data.contract import Contract
from churn.files import md5
from churn.modeling.booster import load_booster
from churn.params import Params, parameters_digest
from churn.tracking import git_state, held_runs, lineage, registry, run_log, runs

if TYPE_CHECKING:  # MLflow takes two seconds to import, and evaluate has other work to begin with
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

# What must be equal for an evaluation to complete a training run.
STATE = ("git_commit", "git_dirty", "patch_md5", "lock_md5", "environment")
TOLERANCE = 1e-6  # metrics are written with six digits


@dataclass(frozen=True)
class Evaluation:
    """What an evaluation read, and what it measured."""

    params: Params
    contract: Contract
    data_tags: dict[str, str]  # dvc_lock.data_tags()
    stage_tags: dict[str, str]  # lineage.stage_tags("evaluate")
    results: dict[str, float]  # the numbers of reports/metrics.json
    test: pd.DataFrame  # the rows of the test split
    probabilities: np.ndarray  # of the test rows, shape (rows,)

    @property
    def model_name(self) -> str:
        """The name of the registered model."""
        return self.params.registry.model

    @property
    def customers(self) -> pd.DataFrame:
        """The test rows as a caller of the model has them: its features alone."""
        return self.test[[column.name for column in self.contract.features]]

    @property
    def model_identity(self) -> dict[str, str]:
        """The tags by which an equal version is found."""
        return registry.workspace_identity(self.results["threshold"])

    def tags(self, production: ModelVersion | None) -> dict[str, str]:
        """The tags by which an equal evaluation is found, compared with this production model."""
        inputs = json.loads(self.stage_tags["evaluate.inputs"])
        identity = evaluation_identity(self.params.flat(), inputs)
        return identity | compared_with_tag(production, self.model_identity)


def model_tags(parameters: dict[str, object]) -> dict[str, str]:
    """The tags by which the run of the workspace's model is found.

    Args:
        parameters: every parameter by its dotted name.
    """
    return {"model_md5": md5(paths.MODEL), "params_md5": parameters_digest(parameters)}


def evaluation_identity(parameters: dict[str, object], inputs: dict[str, str]) -> dict[str, str]:
    """The tags that identify the workspace's evaluation: all that it read, and what it measured.

    Args:
        parameters: every parameter by its dotted name.
        inputs: {path: md5} of what the stage evaluate reads (dvc_lock.stage_inputs).
    """
    digest = parameters_digest({"inputs": inputs, "parameters": parameters})
    tags = {"evaluation_md5": digest, "metrics_md5": md5(paths.METRICS)}
    return model_tags(parameters) | tags


def compared_with_tag(
    production: ModelVersion | None, model_identity: dict[str, str]
) -> dict[str, str]:
    """The tag that names the production model with which a model was compared.

    The model in production itself has no such tag: any earlier record of it matches.

    Args:
        model_identity: registry.workspace_identity of the model.
    """
    if production is None:
        return {"compared_with": "none"}
    if model_identity.items() <= production.tags.items():
        return {}
    return {"compared_with": f"{production.name}/{production.version}"}


def unfinished_training(parameters: dict[str, object], stage_tags: dict[str, str]) -> Run | None:
    """The training run of this workspace that has no evaluation yet.

    Args:
        stage_tags: the tags of today's code and environment; a run of another state is not
            completed with today's metrics.
    """
    run = runs.find_run(stage="train", **model_tags(parameters), **held_runs.workspace_tag())
    if run is None or "gate" in run.data.tags:
        return None
    unchanged = all(run.data.tags.get(name) == stage_tags.get(name) for name in STATE)
    return run if unchanged else None


def find_record(
    params: Params,
    model_identity: dict[str, str],
    evaluation_tags: dict[str, str],
    stage_tags: dict[str, str],
) -> Run | None:
    """The run that records the workspace's evaluation, if nothing is missing of it.

    Something is missing where a training run waits for its evaluation, or where the model passed
    and has no version.

    Args:
        model_identity: registry.workspace_identity of the workspace's model.
        evaluation_tags: the tags to find; without `compared_with` any production model counts.
        stage_tags: the tags of today's code and environment.
    """
    if unfinished_training(params.flat(), stage_tags):
        return None
    record = runs.find_run(**evaluation_tags)
    if record is None or "gate" not in record.data.tags:
        return None
    passed = record.data.tags["gate"] == "passed"
    if passed and registry.find_version(params.registry.model, model_identity) is None:
        return None
    return record


@contextmanager
def evaluation_run(evaluation: Evaluation) -> Iterator[None]:
    """Open the run that records an evaluation (see the module).

    It is the training run that waits for its evaluation, or a run of its own. Where the store does
    not know the model (a new store, a model from DVC's cache, other parameters that only evaluate
    reads), a training run is made from the files that training left.
    """
    parameters = evaluation.params.flat()
    training = unfinished_training(parameters, evaluation.stage_tags)
    if training:
        tags = {**evaluation.stage_tags, "stage": "train"}
        with runs.open_run("train", tags, run_id=training.info.run_id):
            yield
        return

    tags_of_model = model_tags(parameters)
    tags = {
        **evaluation.data_tags,
        **lineage.stage_tags("train"),
        **evaluation.stage_tags,
        **tags_of_model,
    }
    if runs.find_run(stage="train", **tags_of_model):
        with runs.open_run("evaluate", tags):
            run_log.log_inputs(parameters, evaluation.data_tags)
            yield
        return

    with runs.open_run("train", {**tags, "stage": "train", "restored": "true"}):
        booster = load_booster(paths.MODEL)
        run_log.log_training(parameters, evaluation.data_tags, evaluation.contract, booster)
        yield


def is_experiment() -> bool:
    """Whether this stage runs as part of a DVC experiment, or on what a killed one left."""
    return "DVC_EXP_NAME" in os.environ or git_state.unfinished_experiment()
