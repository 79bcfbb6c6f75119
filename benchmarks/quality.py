"""How good a model the search finds from a cold start: ROC AUC, cross-validated with other seeds,
beside the defaults.

    python benchmarks/quality.py [--trials 100] [--seeds 42 1 2]

Each seed is a search of its own, on splits of its own, that never opens its test split. What it
found and params.yaml's defaults are then scored by 5 folds, mean over 5 seeds that no search used:
of the training and validation split together, as the search itself scores, and of the whole table.
"""

import argparse
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from run import ROOT, call, project

sys.path.insert(0, str(ROOT / "src"))

from churn import paths
from churn.data.contract import Contract, load_contract
from churn.experiments.objective import (
    assign_folds,
    draw_parameters,
    mean_roc_auc,
    score_folds,
)
from churn.modeling.encoding import encode_labels, labelled_matrix
from churn.params import Train, load_params

FOLDS, DRAWS = 5, range(101, 106)


def cross_validate(rows: pd.DataFrame, rules: Contract, train: Train) -> list[float]:
    """Mean ROC AUC over the folds, for each seed."""
    found = []
    for seed in DRAWS:
        fold = assign_folds(encode_labels(rows, rules), FOLDS, seed)
        parts = ((rows[fold != number], rows[fold == number]) for number in range(FOLDS))
        pairs = [tuple(labelled_matrix(part, rules) for part in pair) for pair in parts]
        found.append(mean_roc_auc(list(score_folds(train, pairs, seed))))
    return found


def measure(folder: Path, seed: int, trials: int) -> None:
    """One search in a project, and its rows of the table."""
    text = Path("params.yaml").read_text()
    text = re.sub(
        r"(?m)^seed: \d+", f"seed: {seed}", re.sub(r"trials: \d+", f"trials: {trials}", text)
    )
    Path("params.yaml").write_text(text)
    call(folder, "dvc", "repro", "-q", "preprocess")
    (folder / "sweep.db").unlink(missing_ok=True)
    call(folder, sys.executable, "src/sweep.py")
    p = load_params()
    rules = load_contract(paths.SCHEMA, p.data.id, p.data.target, p.data.positive)
    database = f"sqlite:///{folder}/sweep.db"
    study = optuna.load_study(study_name=optuna.get_all_study_names(database)[0], storage=database)
    best = p.train.model_copy(update=draw_parameters(study.best_trial, p.sweep.space))
    splits = {name: pd.read_parquet(path) for name, path in paths.SPLITS.items()}
    tables = {"train and valid": pd.concat([splits["train"], splits["valid"]], ignore_index=True)}
    tables["whole table"] = pd.concat(splits.values(), ignore_index=True)
    for name, rows in tables.items():
        default, found = (np.array(cross_validate(rows, rules, train)) for train in (p.train, best))
        cells = [f"{x.mean():.4f} ± {x.std(ddof=1):.4f}" for x in (default, found, found - default)]
        print(f"| {seed} | {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="How good a model the search finds.")
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 1, 2])
    given = parser.parse_args()
    print("| seed | rows | defaults | found | gain |\n| --- | --- | --- | --- | --- |", flush=True)
    with tempfile.TemporaryDirectory() as base:
        folder = project(Path(base), ROOT)
        shutil.copy2(ROOT / "data/raw.parquet", folder / "data/raw.parquet")
        os.chdir(folder)
        for seed in given.seeds:
            measure(folder, seed, given.trials)


if __name__ == "__main__":
    main()
