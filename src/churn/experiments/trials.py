"""The MLflow runs of a search's trials."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from churn.tracking import held_runs, run_log

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class TrialRecord:
    """What MLflow keeps of a trial."""

    number: int
    state: str  # complete or pruned
    started: int  # milliseconds since 1970
    parameters: dict[str, object]  # by dotted name
    metrics: dict[str, float]
    curves: pd.DataFrame  # as run_log.curve_points takes them


def log_trial(search_run: Run, trial: TrialRecord) -> None:
    """Write one trial as a child of the search's run, in three calls.

    The child is created when its trial is over: a process that is killed in the middle of a trial
    leaves none behind.
    """
    import mlflow
    from mlflow.entities import Metric, Param

    client = mlflow.MlflowClient()
    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in trial.metrics.items()]
    metrics += run_log.curve_points(trial.curves, now)
    params = [Param(name, str(value)) for name, value in trial.parameters.items()]
    tags = {
        "mlflow.parentRunId": search_run.info.run_id,
        "stage": "trial",
        "trial": str(trial.number),
        "trial_state": trial.state,
    }
    run_ids: list[str] = []

    def create_run() -> list[str]:
        experiment_id = search_run.info.experiment_id
        name = f"trial {trial.number}"
        run = client.create_run(experiment_id, trial.started, tags, run_name=name)
        run_ids.append(run.info.run_id)
        return run_ids

    with held_runs.hold_runs(create_run):
        (run_id,) = run_ids
        try:
            client.log_batch(run_id, metrics=metrics, params=params)
            client.set_terminated(run_id)
        except BaseException:
            client.set_terminated(run_id, "KILLED")
            raise


def close_trials(search_run: Run, finished: set[str]) -> None:
    """Set to KILLED the runs of trials that do not count: a killed process left them.

    Args:
        finished: the numbers of the trials that count.
    """
    import mlflow

    children = mlflow.search_runs(
        [search_run.info.experiment_id],
        f"tags.mlflow.parentRunId = '{search_run.info.run_id}' and tags.stage = 'trial'",
        output_format="list",
    )
    for child in children:
        if child.data.tags["trial"] not in finished and child.info.status != "KILLED":
            mlflow.MlflowClient().set_terminated(child.info.run_id, "KILLED")
