"""Fit the churn model.

    python src/train.py    (as a stage: dvc repro train)

Reads data/prepared/{train,valid}.parquet; writes models/churn.ubj and the learning curves reports/training.csv;
logs the model run to MLflow, which evaluate resumes.
"""

import sys

import pandas as pd
from tqdm import tqdm

from churn import paths
from churn.console import run_command
from churn.data.contract import load_project_contract
from churn.modeling.booster import fit_booster, save_booster
from churn.modeling.encoding import labelled_matrix
from churn.params import load_params, parameters_digest, seed_global_generators
from churn.tracking import dvc_lock, launching_run, lineage, run_log, runs
from churn.tracking.store_errors import explain_store_error


def progress(rounds: int):
    """A callback that shows the rounds: a bar on a terminal, a line every 100 rounds in a log."""
    bar = tqdm(total=rounds, unit="round", disable=not sys.stderr.isatty(), leave=False)

    def each_round(number: int, scores: dict[str, float]) -> None:
        bar.update()
        bar.set_postfix_str(f"validation log loss {scores['valid_logloss']:.4f}")
        if bar.disable and number % 100 == 0:
            print(
                f"round {number:4}: validation log loss {scores['valid_logloss']:.4f}", flush=True
            )

    return each_round


def main() -> None:
    p = load_params()
    seed_global_generators(p.seed)
    leaves = p.flat()
    rules = load_project_contract(p)
    origin, tags = dvc_lock.data_tags(), lineage.stage_tags("train")
    launching_run.note_stage_executed("train")
    with runs.open_run(
        "train", {**tags, **runs.workspace_tag(), "params_md5": parameters_digest(leaves)}
    ):
        rows = {name: pd.read_parquet(paths.SPLITS[name]) for name in ("train", "valid")}
        watched = {
            name: labelled_matrix(table, rules, p.train.threads) for name, table in rows.items()
        }
        booster, curves = fit_booster(
            watched["train"], watched, p.train, p.seed, progress(p.train.rounds)
        )
        lineage.check_inputs_unchanged(tags)
        for path in (paths.MODEL, paths.CURVES):
            path.parent.mkdir(exist_ok=True)
        save_booster(booster, paths.MODEL)
        curves.to_csv(paths.CURVES, index=False, float_format="%.6f")
        run_log.log_training(leaves, origin, rules, booster)
    rounds, best = len(curves), booster.num_boosted_rounds()
    print(f"best of {rounds} rounds: {best}, validation ROC AUC {curves.valid_auc[best - 1]:.4f}")


if __name__ == "__main__":
    run_command(main, explain_store_error)
