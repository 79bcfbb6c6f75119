"""A model on its way into the registry: its one run, the gate's decision, its version. Shared by evaluate, which
takes it there, and by report, which mends what a new store or a cached stage left out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from churn import gate, lineage, metrics, model, params, registry, tracking
from churn.contract import Contract


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
        metrics.difference of the two, or None and why there is none.
    """
    import mlflow

    production = registry.alias(p.registry.model, "production")
    if production is None:
        return None, "no production model to compare with"
    scorer = registry.load(f"models:/{p.registry.model}/{production.version}")
    try:
        theirs = scorer.predict(test)["churn_probability"].to_numpy()
    except mlflow.MlflowException as error:  # the contract has moved on: a person decides at promotion
        return None, f"production, version {production.version}, cannot score today's test rows: {error}"
    return metrics.difference(model.labels(test, contract), ours, theirs, p.evaluate.bootstrap, p.seed), ""


def scoring_model(p: params.Params, contract: Contract, threshold: float, example: pd.DataFrame) -> str:
    """The URI of the scoring model of today's files: the registered version if they were registered before, else
    logged into the active run."""
    known = registry.find(p.registry.model, lineage.md5(lineage.MODEL), lineage.md5(lineage.SCHEMA), threshold)
    return known.source if known else registry.log_scoring_model(contract, threshold, example).model_uri


def publish(p: params.Params, origin: dict, model_uri: str, results: dict, pictures: Path, comparison: tuple):
    """Log the evaluation into the active model run, let the gate judge, and register what passes.

    Registration is idempotent: the same booster, contract and threshold are one version, whoever asks.

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
    known = registry.find(p.registry.model, lineage.md5(lineage.MODEL), origin["schema_md5"], results["threshold"])
    if known is None:
        run = mlflow.get_run(mlflow.active_run().info.run_id)
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
        leaves = params.flatten(p.model_dump())
        tags |= {"threshold": repr(results["threshold"]), "seed": str(p.seed), "params": json.dumps(leaves)}
        known = registry.register(p.registry.model, model_uri, tags)
    mlflow.set_tag("model_version", f"{known.name}/{known.version}")
    return decision, known
