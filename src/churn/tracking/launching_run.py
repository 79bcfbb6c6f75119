"""What the run that launched the pipeline (`mlflow run`, a sweep) learns of it."""

import os
import time

from churn.tracking import store


def note_stage_executed(stage: str) -> None:
    """Tell the launching run (`mlflow run`, a sweep), if there is one, that a stage ran rather than
    came from DVC's cache.
    """
    if "MLFLOW_RUN_ID" in os.environ:
        import mlflow

        store.connect()
        mlflow.MlflowClient().set_tag(os.environ["MLFLOW_RUN_ID"], f"executed.{stage}", "true")


def executed_stages(launcher: str) -> list[str]:
    """The stages that ran under a launcher's run, rather than come from DVC's cache."""
    import mlflow

    tags = mlflow.get_run(launcher).data.tags
    return [stage for stage in ("preprocess", "train", "evaluate") if f"executed.{stage}" in tags]


def stage_failure(launcher: str) -> str:
    """Why a stage failed under a launcher's run, or "" if none did."""
    import mlflow

    ended = "attributes.status != 'FINISHED' and attributes.status != 'RUNNING'"
    where = f"tags.mlflow.parentRunId = '{launcher}' and {ended}"
    failed = mlflow.search_runs(
        search_all_experiments=True, filter_string=where, output_format="list"
    )
    return failed[0].data.tags.get("error", "") if failed else ""


def log_pipeline_run(
    run_id: str, leaves: dict, results: dict[str, float], tags: dict[str, str]
) -> None:
    """Write parameters, metrics, tags and dvc.lock into the run that launched the pipeline."""
    import mlflow
    from mlflow.entities import Metric, Param, RunTag

    client = mlflow.MlflowClient()
    now = int(time.time() * 1000)
    client.log_batch(
        run_id,
        metrics=[Metric(name, value, now, 0) for name, value in results.items()],
        params=[Param(name, str(value)) for name, value in leaves.items()],
        tags=[RunTag(name, value) for name, value in tags.items()],
    )
    client.log_artifact(run_id, "dvc.lock")
