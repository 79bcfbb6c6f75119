"""Fit the churn model.

    python src/train.py    (as a stage: dvc repro train)

Reads data/prepared/{train,valid}.parquet; writes models/churn.ubj and the learning curves reports/training.csv;
logs the model run to MLflow, which evaluate resumes.
"""

import sys

import pandas as pd
from tqdm import tqdm

from churn import contract, lineage, model, params, tracking
from churn.errors import run


def progress(rounds: int):
    """A callback that shows the rounds: a bar on a terminal, a line every 100 rounds in a log."""
    bar = tqdm(total=rounds, unit="round", disable=not sys.stderr.isatty(), leave=False)

    def each_round(number: int, scores: dict[str, float]) -> None:
        bar.update()
        bar.set_postfix_str(f"validation log loss {scores['valid_logloss']:.4f}")
        if bar.disable and number % 100 == 0:
            print(f"round {number:4}: validation log loss {scores['valid_logloss']:.4f}", flush=True)

    return each_round


def main() -> None:
    p = params.load()
    leaves = params.flatten(p.model_dump())
    rules = contract.load(lineage.SCHEMA, p.data.id, p.data.target, p.data.positive)
    origin, tags = lineage.data(), lineage.tags("train")
    tracking.note_executed("train")
    with tracking.run("train", {**tags, **tracking.workspace(), "params_md5": params.digest(leaves)}):
        rows = {name: pd.read_parquet(lineage.SPLITS[name]) for name in ("train", "valid")}
        watched = {name: model.matrix(table, rules, p.train.threads) for name, table in rows.items()}
        booster, curves = model.fit(watched["train"], watched, p.train, p.seed, progress(p.train.rounds))
        lineage.verify(tags)
        for path in (lineage.MODEL, lineage.CURVES):
            path.parent.mkdir(exist_ok=True)
        model.save(booster, lineage.MODEL)
        curves.to_csv(lineage.CURVES, index=False, float_format="%.6f")
        tracking.log_training(leaves, origin, rules, booster)
    rounds, best = len(curves), booster.num_boosted_rounds()
    print(f"best of {rounds} rounds: {best}, validation ROC AUC {curves.valid_auc[best - 1]:.4f}")


if __name__ == "__main__":
    run(main)
