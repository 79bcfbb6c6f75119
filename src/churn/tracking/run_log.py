"""What the stages write into the active MLflow run."""

import hashlib
import re
import warnings
from pathlib import Path

from churn import paths
from churn.files import md5
from churn.modeling.signature import model_signature
from churn.tracking import environment


def log_parameters(parameters: dict[str, object]) -> None:
    """Log parameters, by dotted name, into the active run."""
    import mlflow

    mlflow.log_params(parameters)


def log_dataset(path: Path, digest: str, name: str, context: str) -> None:
    """Name a table as an input of the active run, with its DVC md5 as the digest (MLflow's own
    digest reads only the first 10,000 rows).
    """
    import mlflow
    from mlflow.data.dataset_source_registry import resolve_dataset_source
    from mlflow.data.meta_dataset import MetaDataset

    with warnings.catch_warnings():  # it knows two names of one kind of source
        warnings.simplefilter("ignore")
        source = resolve_dataset_source(str(path))
    mlflow.log_input(MetaDataset(source, name=name, digest=digest), context=context)


REFUSED = re.compile(
    r"[^\w.\- ]"
)  # what a metric's name cannot have; `/` and `:` mean something to MLflow or to us
LONGEST_KEY = 250


def metric_key(name: str) -> str:
    """The name of a metric that has a user's text in it (a column, a label), as MLflow takes it:
    `$` is `:24:`, and what is too long ends with a hash. Two names stay two keys.
    """
    text = REFUSED.sub(lambda sign: f":{ord(sign[0]):X}:", name)
    if len(text) <= LONGEST_KEY:
        return text
    return f"{text[: LONGEST_KEY - 33]}:{hashlib.md5(name.encode()).hexdigest()}"


def log_metrics(numbers: dict[str, float]) -> None:
    """Log metrics into the active run, by names that may have a user's text in them."""
    import mlflow

    items = [(metric_key(name), number) for name, number in numbers.items()]
    for start in range(0, len(items), 1000):  # the most that one call takes
        mlflow.log_metrics(dict(items[start : start + 1000]))


def curve_points(curves, time: int) -> list:
    """Learning curves (a column `round`, and a curve in every other column) as MLflow metrics, all
    logged at `time`, in milliseconds since 1970.
    """
    from mlflow.entities import Metric

    rounds = curves["round"].astype(int).tolist()
    return [
        Metric(name, y, time, x)
        for name in curves.columns.drop("round")
        for x, y in zip(rounds, curves[name])
    ]


def log_inputs(leaves: dict, origin: dict[str, str]) -> None:
    """Log into the active run what an evaluated model was made with and of: parameters and tables."""
    import mlflow

    mlflow.log_params(leaves)
    for name, context in (("train", "training"), ("valid", "validation"), ("test", "testing")):
        log_dataset(paths.SPLITS[name], origin[f"{name}_md5"], name, context)


def log_training(leaves: dict, origin: dict[str, str], contract, booster) -> None:
    """Log the model run's first half into the active run: parameters, data, learning curves (from
    the file that training left) and the booster in its framework flavor.
    """
    import mlflow
    import pandas as pd

    opened = mlflow.active_run()
    log_inputs(leaves, origin)
    mlflow.set_tags({**origin, "model_md5": md5(paths.MODEL)})
    points = curve_points(pd.read_csv(paths.CURVES), opened.info.start_time)
    client = mlflow.MlflowClient()
    for start in range(0, len(points), 1000):  # the most that one log_batch takes
        client.log_batch(opened.info.run_id, metrics=points[start : start + 1000])
    mlflow.xgboost.log_model(
        booster,
        name="booster",
        model_format="ubj",
        signature=model_signature(contract),
        pip_requirements=environment.pinned_requirements(*environment.MODEL_PACKAGES),
    )


def log_evaluation(results: dict[str, float], pictures: Path) -> None:
    """Log the model run's second half into the active run: test metrics, plots as PNG, and the
    files that made them.

    Args:
        results: the numbers of reports/metrics.json.
        pictures: a folder of PNG files.
    """
    import mlflow

    mlflow.log_metrics(results)
    mlflow.log_artifacts(str(pictures), "plots")
    for path in ("params.yaml", paths.METRICS, paths.SCHEMA):
        mlflow.log_artifact(str(path))
