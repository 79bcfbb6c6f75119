"""The MLflow runs of a search's trials."""

import time

from churn.tracking import run_log, runs


def log_trial(
    parent, number: int, state: str, start: int, params: dict, results: dict, curves
) -> None:
    """Write one trial of a search as a child of the search's run, in three calls.

    A child is made when its trial is over: a process that is killed in the middle of a trial leaves none behind.

    Args:
        parent: the search's run.
        start: when the trial began, in milliseconds since 1970.
        curves: as `curve_points` takes them.
    """
    import mlflow
    from mlflow.entities import Metric, Param

    client = mlflow.MlflowClient()
    now = int(time.time() * 1000)
    tags = {
        "mlflow.parentRunId": parent.info.run_id,
        "stage": "trial",
        "trial": str(number),
        "trial_state": state,
    }
    made = []

    def create() -> list[str]:
        child = client.create_run(
            parent.info.experiment_id, start, tags, run_name=f"trial {number}"
        )
        made.append(child.info.run_id)
        return made

    with runs.hold_runs(create):
        (child,) = made
        try:
            client.log_batch(
                child,
                metrics=[Metric(name, value, now, 0) for name, value in results.items()]
                + run_log.curve_points(curves, now),
                params=[Param(name, str(value)) for name, value in params.items()],
            )
            client.set_terminated(child)
        except BaseException:
            client.set_terminated(child, "KILLED")
            raise


def close_trials(parent, finished: set[str]) -> None:
    """Set to KILLED the trials' runs that a killed process left open, or wrote for a trial that does not count.

    Args:
        finished: the numbers of the trials that count.
    """
    import mlflow

    where = f"tags.mlflow.parentRunId = '{parent.info.run_id}' and tags.stage = 'trial'"
    for child in mlflow.search_runs([parent.info.experiment_id], where, output_format="list"):
        if child.data.tags["trial"] not in finished and child.info.status != "KILLED":
            mlflow.MlflowClient().set_terminated(child.info.run_id, "KILLED")
