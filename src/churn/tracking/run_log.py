"""What the stages write into the active MLflow run."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from churn import paths
from churn.data.contract import Contract
from churn.files import md5, text_md5
from churn.modeling.signature import model_signature
from churn.tracking import environment, runs
from churn.tracking.write_conflicts import retry_write

if TYPE_CHECKING:
    import pandas as pd
    import xgboost as xgb
    from mlflow.entities import Metric

# What the name of a metric cannot have; `/` and `:` mean something to MLflow or to us.
REFUSED = re.compile(r"[^\w.\- ]")
LONGEST_KEY = 250
LARGEST_BATCH = 1000  # metrics in one call
SPLIT_CONTEXTS = {"train": "training", "valid": "validation", "test": "testing"}
# How SQLite and PostgreSQL report that a table is an input of this run already: the call succeeded,
# its answer was lost, and MLflow's client sent it again.
IS_INPUT = re.compile(r"UNIQUE constraint failed: inputs\.|unique constraint \"inputs_pk\"")


def log_parameters(parameters: dict[str, object]) -> None:
    """Log parameters, by dotted name, into the active run."""
    import mlflow

    mlflow.log_params(parameters)


def log_dataset(path: Path, digest: str, name: str, context: str) -> None:
    """Log a table as an input of the active run, with its DVC md5 as the digest.

    MLflow's own digest reads only the first 10,000 rows.
    """
    import mlflow
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset

    with warnings.catch_warnings():  # MLflow has two names for this kind of source
        warnings.simplefilter("ignore")
        source = resolve_dataset_source(str(path))
    dataset = MetaDataset(source, name=name, digest=digest)  # type: ignore[abstract]

    def log() -> None:
        try:
            mlflow.log_input(dataset, context=context)
        except mlflow.MlflowException as error:
            if not IS_INPUT.search(str(error)):
                raise

    retry_write(log)  # another process may log the same table for the first time


def metric_key(name: str) -> str:
    """The name of a metric that has a user's text in it (a column, a label), as MLflow accepts it.

    `$` becomes `:24:`, and a long name ends with its md5: two names stay two keys.
    """
    key = REFUSED.sub(lambda sign: f":{ord(sign[0]):X}:", name)
    if len(key) <= LONGEST_KEY:
        return key
    return f"{key[: LONGEST_KEY - 33]}:{text_md5(name)}"


def log_metrics(metrics: dict[str, float]) -> None:
    """Log metrics into the active run, by names that may have a user's text in them."""
    import mlflow

    items = [(metric_key(name), value) for name, value in metrics.items()]
    for start in range(0, len(items), LARGEST_BATCH):
        mlflow.log_metrics(dict(items[start : start + LARGEST_BATCH]))


def curve_points(curves: pd.DataFrame, time: int) -> list[Metric]:
    """Learning curves as MLflow metrics, one per round.

    Args:
        curves: a column `round`, and one curve per other column.
        time: when all of them were logged, in milliseconds since 1970.
    """
    from mlflow.entities import Metric

    points = []
    for name in curves.columns.drop("round"):
        for step, value in zip(curves["round"].tolist(), curves[name], strict=True):
            points.append(Metric(name, value, time, int(step)))
    return points


def log_inputs(parameters: dict[str, object], data_tags: dict[str, str]) -> None:
    """Log into the active run what an evaluated model is made of: parameters and tables.

    Args:
        parameters: every parameter by its dotted name.
        data_tags: dvc_lock.data_tags().
    """
    log_parameters(parameters)
    for name, context in SPLIT_CONTEXTS.items():
        log_dataset(paths.SPLITS[name], data_tags[f"{name}_md5"], name, context)


def log_training(
    parameters: dict[str, object],
    data_tags: dict[str, str],
    contract: Contract,
    booster: xgb.Booster,
) -> None:
    """Log a training into the active run: parameters, tables, learning curves and the booster.

    The curves are read from the file, so that a model from DVC's cache has them too.

    Args:
        parameters: every parameter by its dotted name.
        data_tags: dvc_lock.data_tags().
    """
    import mlflow
    import pandas as pd

    log_inputs(parameters, data_tags)
    mlflow.set_tags({**data_tags, "model_md5": md5(paths.MODEL)})

    run = runs.active_run().info
    points = curve_points(pd.read_csv(paths.CURVES), run.start_time)
    client = mlflow.MlflowClient()
    for start in range(0, len(points), LARGEST_BATCH):
        client.log_batch(run.run_id, metrics=points[start : start + LARGEST_BATCH])

    mlflow.xgboost.log_model(
        booster,
        name="booster",
        model_format="ubj",
        signature=model_signature(contract),
        pip_requirements=environment.pinned_requirements(*environment.MODEL_PACKAGES),
    )


def log_evaluation(results: dict[str, float], pictures: Path | None) -> None:
    """Log an evaluation into the active run: test metrics, plots, and the files that DVC tracks.

    Args:
        results: the numbers of reports/metrics.json.
        pictures: a folder of PNG files; None, if nothing was drawn.
    """
    import mlflow

    mlflow.log_metrics(results)
    if pictures:
        mlflow.log_artifacts(str(pictures), "plots")
    for path in ("params.yaml", paths.METRICS, paths.SCHEMA, paths.CARD):
        mlflow.log_artifact(str(path))
