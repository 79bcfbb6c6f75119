"""Fit the churn model.

    python src/train.py    (as a stage: dvc repro train)

Reads data/prepared/{train,valid}.parquet; writes models/churn.ubj and the learning curves
reports/training.csv; logs the model run to MLflow, which evaluate resumes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from churn import paths
from churn.console import progress, run_command
from churn.data.contract import Contract
from churn.data.project_contract import load_project_contract
from churn.modeling.booster import fit_booster, save_booster
from churn.modeling.encoding import labelled_matrix
from churn.params import Params, load_params, parameters_digest, seed_global_generators
from churn.tracking import dvc_lock, launching_run, leftovers, lineage, run_log, runs
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    import xgboost as xgb


def main() -> None:
    leftovers.end_with_dvc()
    # What this run is made of, noted before contract and splits are read.
    params = load_params()
    seed_global_generators(params.seed)
    parameters = params.flat()
    data_tags = dvc_lock.data_tags()
    stage_tags = lineage.stage_tags("train")
    tags = {**stage_tags, "params_md5": parameters_digest(parameters)}
    contract = load_project_contract(params)

    launching_run.note_stage_executed("train")
    with runs.open_run("train", tags):
        booster, curves = fit(params, contract)
        lineage.check_inputs_unchanged(stage_tags, parameters)
        write_outputs(booster, curves)
        run_log.log_training(parameters, data_tags, contract, booster)

    best = booster.num_boosted_rounds()
    auc = curves["valid_auc"][best - 1]
    print(f"best of {len(curves)} rounds: {best}, validation ROC AUC {auc:.4f}")


def fit(params: Params, contract: Contract) -> tuple[xgb.Booster, pd.DataFrame]:
    """Fit the booster on the training split; the validation split decides when to stop.

    Returns:
        The booster and its learning curves, as `fit_booster` does.
    """
    matrices = {}
    for name in ("train", "valid"):
        rows = pd.read_parquet(paths.SPLITS[name])
        matrices[name] = labelled_matrix(rows, contract, params.train.threads)

    show = progress(params.train.rounds, "round", line_every=100)

    def after_round(number: int, scores: dict[str, float]) -> None:
        show(number + 1, f"validation log loss {scores['valid_logloss']:.4f}")

    return fit_booster(matrices["train"], matrices, params.train, params.seed, after_round)


def write_outputs(booster: xgb.Booster, curves: pd.DataFrame) -> None:
    """Write what DVC tracks: the booster and its learning curves."""
    for path in (paths.MODEL, paths.CURVES):
        path.parent.mkdir(exist_ok=True)
    save_booster(booster, paths.MODEL)
    curves.to_csv(paths.CURVES, index=False, float_format="%.6f")


if __name__ == "__main__":
    run_command(main, explain_store_error)
