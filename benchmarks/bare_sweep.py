"""Comparator *bare loop*: the search of src/sweep.py as one script with Optuna alone, no database
and no MLflow.

    python bare_sweep.py TRIALS [lean]    (in the root of a project whose splits are made)

Space, folds and pruning are those of the search, and so is the sampler: both draw the very same
trials, else chance would decide which is faster. As most people write it, each fit makes its
matrices anew; `lean` makes them once.
"""

import sys

sys.path.insert(0, "src")

import numpy as np
import optuna
import pandas as pd
import xgboost as xgb
from sklearn.metrics import roc_auc_score

from churn.experiments.objective import assign_folds, draw_parameters
from churn.experiments.search import Sampler
from churn.params import load_params

trials, lean = int(sys.argv[1]), sys.argv[2:] == ["lean"]
p = load_params()
table = pd.concat(
    [pd.read_parquet(f"data/prepared/{name}.parquet") for name in ("train", "valid")],
    ignore_index=True,
)
y = (table["churn"] == "Yes").to_numpy(dtype=float)
x = table.drop(columns=["customer_id", "churn"])
x = x.astype({column: "category" for column in x if x[column].dtype == "str"})
fold = assign_folds(y, p.sweep.folds, p.seed)


def matrices(number):
    return [
        xgb.DMatrix(x[rows], y[rows], enable_categorical=True)
        for rows in (fold != number, fold == number)
    ]


once = [matrices(number) for number in range(p.sweep.folds)] if lean else None


def objective(trial):
    settings = {
        "objective": "binary:logistic",
        "tree_method": "hist",
        "eval_metric": ["auc", "logloss"],
        "seed": p.seed,
    }
    settings |= draw_parameters(trial, p.sweep.space)
    aucs = []
    for number in range(p.sweep.folds):
        train, valid = once[number] if lean else matrices(number)
        stop = xgb.callback.EarlyStopping(
            rounds=p.train.early_stopping, metric_name="logloss", save_best=True
        )
        booster = xgb.train(
            settings,
            train,
            num_boost_round=p.train.rounds,
            evals=[(valid, "valid")],
            callbacks=[stop],
            verbose_eval=0,
        )
        aucs.append(roc_auc_score(y[fold == number], booster.predict(valid)))
        if 0 < number < p.sweep.folds - 1:
            trial.report(np.mean(aucs), number)
            if trial.should_prune():
                raise optuna.TrialPruned
    return np.mean(aucs)


study = optuna.create_study(
    direction="maximize", sampler=Sampler(p.seed), pruner=optuna.pruners.MedianPruner()
)
study.optimize(objective, n_trials=trials)
print(study.best_trial.number, study.best_value)
