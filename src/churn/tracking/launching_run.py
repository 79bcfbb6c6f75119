"""The run that launched this process: a run of `mlflow run`, of a search or of a queue.

A launcher hands its run on in the environment variable MLFLOW_RUN_ID. The variable stays as the
launcher set it: whoever needs the launching run asks `launching_run_id`, in any order.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from churn.tracking import store

if TYPE_CHECKING:
    from mlflow.entities import Run

STAGES = ("preprocess", "train", "evaluate")
VARIABLE = "MLFLOW_RUN_ID"
GENERATED_NAME = re.compile(r"[a-z]+-[a-z]+-\d+")  # "rumbling-hog-756", where nobody gave a name
LONGEST_NAME = 100


def launching_run_id() -> str | None:
    """The id of the run under which this process was launched, or None."""
    return os.environ.get(VARIABLE)


@contextmanager
def hidden_from_mlflow() -> Iterator[None]:
    """Hide the launching run from `mlflow.start_run`, which would resume it.

    All stages would then log into one run. The variable is back after the `with`.
    """
    with kept():
        os.environ.pop(VARIABLE, None)
        yield


@contextmanager
def kept() -> Iterator[None]:
    """Keep the variable over the end of a run, at which MLflow deletes it."""
    run_id = launching_run_id()
    try:
        yield
    finally:
        if run_id is not None:
            os.environ[VARIABLE] = run_id


def name_launching_run() -> None:
    """Let the launching run, if there is one, have a name that says what it launched.

    A name that somebody gave it (`mlflow run --run-name`) stays.
    """
    run_id = launching_run_id()
    if run_id is None:
        return
    store.connect()
    import mlflow

    run = mlflow.get_run(run_id)
    if GENERATED_NAME.fullmatch(run.info.run_name):
        mlflow.MlflowClient().update_run(run_id, name=launched_name(run))


def launched_name(run: Run) -> str:
    """What a run of `mlflow run` launched: "pipeline", "train max_depth=6"."""
    entry_point = run.data.tags.get("mlflow.project.entryPoint", "main")
    if entry_point == "main":
        entry_point = "pipeline"
    words = [entry_point]
    for name, value in sorted(run.data.params.items()):
        if value:
            words.append(f"{name}={value}")
    return " ".join(words)[:LONGEST_NAME]


def mark_refused(run_id: str) -> None:
    """Let the name of a launching run say that nothing ran: its parameters were refused."""
    import mlflow

    name = f"refused: {mlflow.get_run(run_id).info.run_name}"
    mlflow.MlflowClient().update_run(run_id, name=name[:LONGEST_NAME])


def note_stage_executed(stage: str) -> None:
    """Tag the launching run, if there is one: this stage ran, it did not come from DVC's cache."""
    run_id = launching_run_id()
    if run_id is None:
        return
    store.connect()
    import mlflow

    mlflow.MlflowClient().set_tag(run_id, f"executed.{stage}", "true")


def executed_stages(run_id: str) -> list[str]:
    """The stages that ran under a launching run; the others came from DVC's cache."""
    import mlflow

    tags = mlflow.get_run(run_id).data.tags
    return [stage for stage in STAGES if f"executed.{stage}" in tags]


def stage_failure(run_id: str) -> str:
    """Why a stage failed under a launching run, or "" if none did."""
    import mlflow

    failed = "attributes.status != 'FINISHED' and attributes.status != 'RUNNING'"
    children = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.mlflow.parentRunId = '{run_id}' and {failed}",
        output_format="list",
    )
    return children[0].data.tags.get("error", "") if children else ""


def log_pipeline_run(
    run_id: str, parameters: dict[str, object], results: dict[str, float], tags: dict[str, str]
) -> None:
    """Log parameters, metrics, tags and dvc.lock into a launching run.

    Args:
        parameters: every parameter by its dotted name.
        results: the numbers of reports/metrics.json.
    """
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient()
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in results.items()],
        params=[Param(name, str(value)) for name, value in parameters.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    client.log_artifact(run_id, "dvc.lock")
