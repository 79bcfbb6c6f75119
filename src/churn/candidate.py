"""A model on its way into the registry: its one run, the gate's decision, its version. Shared by evaluate, which
takes it there, and by report, which mends what a new store or a cached stage left out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from churn import gate, lineage, metrics, model, params, registry, tracking
from churn.contract import Contract
from churn.errors import UserError


@contextmanager
def model_run(p: params.Params, contract: Contract, origin: dict[str, str], tags: dict[str, str]) -> Iterator:
    """The one run of this model under these parameters: resumed if the store knows it, else made from the files
    that training left (a new store, a model from DVC's cache, a change that only evaluate reads).

    Args:
        origin: lineage.data().
        tags: lineage.tags("evaluate").
    """
    leaves = params.flatten(p.model_dump())
    known = tracking.find_run(model_md5=lineage.md5(lineage.MODEL), params_md5=params.digest(leaves))
    if known:
        with tracking.run("train", {**tags, "stage": "train"}, run_id=known.info.run_id) as opened:
            yield opened
    else:
        tags = {**tags, **lineage.tags("train"), "params_md5": params.digest(leaves), "restored": "true"}
        with tracking.run("train", tags) as opened:
            tracking.log_training(leaves, origin, contract, model.load(lineage.MODEL))
            yield opened


def compare(p: params.Params, contract: Contract, test: pd.DataFrame, ours) -> tuple[tuple | None, str]:
    """How this model stands to production on the same test rows.

    Args:
        ours: this model's probabilities of the test rows, shape (rows,).

    Returns:
        The difference in ROC AUC with its interval (metrics.differences), or None and why there is none.
    """
    production = registry.alias(p.registry.model, "production")
    if production is None:
        return None, "no production model to compare with"
    try:
        theirs = registry.scores(production, test)["churn_probability"].to_numpy()
    except UserError as error:  # the contract has moved on: a person decides at promotion
        return None, str(error)
    gaps = metrics.differences(model.labels(test, contract), ours, theirs, p.evaluate.bootstrap, p.seed)
    return gaps["roc_auc"], ""


def scoring_model(p: params.Params, contract: Contract, threshold: float, example: pd.DataFrame) -> str:
    """The URI of the scoring model of today's files: the registered version if they were registered before, else
    logged into the active run."""
    known = registry.find(p.registry.model, registry.identity(threshold))
    return known.source if known else registry.log_scoring_model(contract, threshold, example).model_uri


def publish(p: params.Params, model_uri: str, results: dict, pictures: Path, comparison: tuple):
    """Log the evaluation into the active model run, let the gate judge, and register what passes.

    Registration is idempotent: the same booster, contract, scoring code and threshold are one version, whoever asks.

    Args:
        results: the numbers of reports/metrics.json.
        pictures: a folder with the plots as PNG.
        comparison: what `compare` returned.

    Returns:
        gate.Decision, and the model version or None when the gate refused.
    """
    import mlflow

    tracking.log_evaluation(results, pictures)
    decision = gate.decide(results, p.gate, *comparison)
    mlflow.set_tags({"gate": "passed" if decision.passed else "failed", "gate_reason": str(decision)})
    if not decision.passed:
        return decision, None
    made = registry.identity(results["threshold"])
    known = registry.find(p.registry.model, made)
    if known is None:
        run = mlflow.get_run(mlflow.active_run().info.run_id)
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.") and key != "stage"}
        leaves = params.flatten(p.model_dump())
        tags |= {**made, "seed": str(p.seed), "params": json.dumps(leaves)}
        known = registry.register(p.registry.model, model_uri, tags)
    mlflow.set_tag("model_version", f"{known.name}/{known.version}")
    return decision, known
