"""A model on its way into the registry: its one run, the gate's decision, its version. Shared by evaluate, which
takes it there, and by report, which mends what a new store or a cached stage left out."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

from churn import paths
from churn.data.contract import Contract
from churn.errors import UserError
from churn.files import read_metrics
from churn.modeling import gate
from churn.modeling.booster import load_booster
from churn.modeling.bootstrap import paired_differences
from churn.modeling.encoding import encode_labels
from churn.params import Params
from churn.tracking import evaluation_record, lineage, logged_model, registry, run_log, runs


@contextmanager
def evaluation_run(
    p: Params, contract: Contract, origin: dict[str, str], tags: dict[str, str]
) -> Iterator:
    """The run that an evaluation writes its record into (churn/evaluation.py): the training run that it completes, or
    a run of its own; where the store does not know the model (a new store, a model from DVC's cache, other
    parameters that only evaluate reads), that run is made from the files that training left.

    Args:
        origin: lineage.data().
        tags: lineage.tags("evaluate").
    """
    leaves = p.flat()
    if training := evaluation_record.unfinished_training(leaves, tags):
        with runs.open_run(
            "train", {**tags, "stage": "train"}, run_id=training.info.run_id
        ) as opened:
            yield opened
        return

    found = evaluation_record.model_tags(leaves)
    tags = {**origin, **lineage.stage_tags("train"), **tags, **found, **runs.workspace_tag()}
    if runs.find_run(stage="train", **found):
        with runs.open_run("evaluate", tags) as opened:
            run_log.log_inputs(leaves, origin)
            yield opened
        return

    with runs.open_run("train", {**tags, "stage": "train", "restored": "true"}) as opened:
        run_log.log_training(leaves, origin, contract, load_booster(paths.MODEL))
        yield opened


def compare_with_production(
    p: Params, contract: Contract, test: pd.DataFrame, ours, production
) -> tuple[tuple | None, str]:
    """How this model stands to production on the same test rows.

    Args:
        ours: this model's probabilities of the test rows, shape (rows,).
        production: the version in production, or None.

    Returns:
        The difference in ROC AUC with its interval (metrics.differences), or None and why there is none.

    Raises:
        UserError: the production model is not what was registered.
    """
    if production is None:
        return None, "no production model to compare with"
    predictor = production_predictor(production)
    try:
        theirs = logged_model.score_rows(production, predictor, test)[
            "churn_probability"
        ].to_numpy()
    except UserError as error:  # the contract has moved on: a person decides at promotion
        return None, str(error)
    gaps = paired_differences(
        encode_labels(test, contract), ours, theirs, p.evaluate.bootstrap, p.seed
    )
    return gaps["roc_auc"], ""


def find_record(p: Params, identity: dict[str, str], made: dict[str, str], state: dict[str, str]):
    """The record of the workspace's evaluation with what the gate decided, if there is nothing to add to it, or None.

    Something is to be added where a training run waits for its evaluation, or where the model passed and has no version.

    Args:
        identity: evaluation.identity, with or without evaluation.production_key.
        made: registry.identity of the workspace's model.
        state: tags of today's code and environment.
    """
    leaves = p.flat()
    if evaluation_record.unfinished_training(leaves, state):
        return None
    found = runs.find_run(**identity)
    if found is None or "gate" not in found.data.tags:
        return None
    passed = found.data.tags["gate"] == "passed"
    return None if passed and registry.find_version(p.registry.model, made) is None else found


def production_predictor(version):
    """The scoring model in production, checked.

    Raises:
        UserError: it is not what was registered; nothing may be compared with it, and nothing passes without that.
    """
    try:
        return logged_model.load_predictor(version)
    except UserError as error:
        cure = "`python src/promote.py --rollback` takes production back, `--stage VERSION` and a promotion replace it"
        raise UserError(
            f"no model can be compared with the one in production: {error}. {cure}"
        ) from None


def verified_scoring_model(
    p: Params,
    contract: Contract,
    threshold: float,
    customers: pd.DataFrame,
    probability: np.ndarray,
) -> tuple[str, str]:
    """The scoring model of today's files: the registered version if they were registered before, else logged into the
    active run. It is loaded as a consumer does, and must say of the test rows what was measured.

    Args:
        customers: the test rows without id and target.
        probability: what was measured of them, shape (rows,).

    Returns:
        Its URI, and the digest of its files.
    """
    made = registry.workspace_identity(threshold)
    known = registry.find_version(p.registry.model, made)
    uri = (
        known.source
        if known
        else logged_model.log_scoring_model(contract, threshold, customers.head(3))
    )
    with logged_model.verified_copy(
        uri, known.tags if known else made, "the scoring model of this evaluation"
    ) as folder:
        digest = logged_model.files_digest(folder)
        served = logged_model.load_scoring_model(folder).predict(customers)
    if not np.array_equal(served["churn_probability"], probability):
        raise AssertionError(
            "the scoring model gives other probabilities than the booster that was measured"
        )
    return uri, digest


def record_and_register(
    p: Params,
    logged: tuple[str, str],
    results: dict[str, float],
    decision: gate.Decision,
    identity: dict[str, str],
):
    """Write what the gate decided into the active run, which is a whole record from then on, and register what passed.

    Registration is idempotent: the same booster, contract, scoring code and threshold are one version, whoever asks.

    Args:
        logged: what `scoring_model` returned.
        results: the numbers of reports/metrics.json.
        identity: evaluation.identity with evaluation.production_key.

    Returns:
        The model version, or None when the gate refused.
    """
    import mlflow

    verdict = {"gate": "passed" if decision.passed else "failed", "gate_reason": str(decision)}
    mlflow.set_tags({**identity, **verdict})
    if not decision.passed:
        return None
    made = registry.workspace_identity(results["threshold"])
    version = registry.find_version(p.registry.model, made)
    if version is None:
        run = mlflow.get_run(mlflow.active_run().info.run_id)
        tags = {
            key: value
            for key, value in run.data.tags.items()
            if not key.startswith("mlflow.") and key != "stage"
        }
        leaves = p.flat()
        tags |= {
            **made,
            "seed": str(p.seed),
            "params": json.dumps(leaves),
            "metrics": json.dumps(results),
        }
        model_uri, tags[logged_model.SEAL] = logged
        version = registry.register_version(p.registry.model, model_uri, tags)
    mlflow.set_tag("model_version", f"{version.name}/{version.version}")
    return version


def stage_version(version, experiment: bool) -> str:
    """Let `staging` name a version that passed. An experiment gets it only in a registry that has neither staging nor
    production: trying something out must not displace a candidate (`promote.py --stage` does that when asked).

    Returns:
        Where the version stands, in words.
    """
    if not experiment or registry.has_no_stage(version.name):
        return registry.set_staging(version.name, version.version)
    holders = (
        registry.version_with_alias(version.name, alias) for alias in ("staging", "production")
    )
    if any(holder and holder.version == version.version for holder in holders):
        return "where it was"
    return f"registered, and not staged, as an experiment: `python src/promote.py --stage {version.version}` does that"


def stage_workspace(name: str) -> None:
    """Let `staging` name the version of the workspace's model, if it passed and so has one."""
    threshold = read_metrics(paths.METRICS)["threshold"]
    if version := registry.find_version(name, registry.workspace_identity(threshold)):
        print(f"{name} version {version.version} is {registry.set_staging(name, version.version)}")
