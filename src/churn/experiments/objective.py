"""What a trial is worth: its mean ROC AUC over the folds of the training and validation splits.

The test split is never opened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import optuna
import pandas as pd
import xgboost as xgb

from churn import paths
from churn.data.contract import Contract
from churn.experiments import trials
from churn.modeling.booster import fit_booster
from churn.modeling.encoding import encode_labels, labelled_matrix
from churn.params import Params, Range, Train, flatten

if TYPE_CHECKING:
    from mlflow.entities import Run

LONGEST_CURVE = 50  # points of a trial's learning curve in MLflow
Fold = tuple[xgb.DMatrix, xgb.DMatrix]  # the rows to fit, the rows to score


@dataclass(frozen=True)
class Search:
    """What every process that works on a search needs."""

    run: Run  # of the search, the parent of its trials' runs
    parameters: Params
    contract: Contract
    threads: int  # that XGBoost may use


@dataclass(frozen=True)
class FoldScore:
    """The scores on the rows left out, at the round that the model keeps."""

    roc_auc: float
    log_loss: float
    curves: pd.DataFrame  # fit_booster's


def assign_folds(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Assign rows to stratified folds: each class is shuffled and dealt out.

    Args:
        labels: 0 or 1, shape (rows,).
        count: how many folds.

    Returns:
        The fold of each row, from 0, shape (rows,).
    """
    generator = np.random.default_rng(seed)
    folds = np.empty(len(labels), int)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        folds[generator.permutation(rows)] = np.arange(len(rows)) % count
    return folds


def assign_folds_by_customer(ids: pd.Series, count: int, seed: int) -> np.ndarray:
    """Assign all rows of a customer to one fold: a model must not know the customers it is asked
    about from other months.

    Args:
        ids: shape (rows,).
        count: how many folds.

    Returns:
        The fold of each row, from 0, shape (rows,).
    """
    customers, numbers = np.unique(ids, return_inverse=True)
    folds = np.random.default_rng(seed).permutation(len(customers)) % count
    return np.asarray(folds[numbers])


def load_folds(parameters: Params, contract: Contract, seed: int) -> list[Fold]:
    """Read the training and validation splits, and cut them into the folds of `sweep.folds`.

    A single fold is the split itself: fit the training rows, score the validation rows.
    """
    train = pd.read_parquet(paths.SPLITS["train"])
    valid = pd.read_parquet(paths.SPLITS["valid"])
    threads = parameters.train.threads
    if parameters.sweep.folds == 1:
        return [
            (labelled_matrix(train, contract, threads), labelled_matrix(valid, contract, threads))
        ]

    rows = pd.concat([train, valid], ignore_index=True)
    count = parameters.sweep.folds
    if contract.time is None:
        assigned = assign_folds(encode_labels(rows, contract), count, seed)
    else:
        assigned = assign_folds_by_customer(rows[contract.id], count, seed)
    folds = []
    for number in range(count):
        fitted = labelled_matrix(rows[assigned != number], contract, threads)
        scored = labelled_matrix(rows[assigned == number], contract, threads)
        folds.append((fitted, scored))
    return folds


def score_folds(
    train: Train, folds: list[Fold], seed: int, check_interrupt: Callable[..., None] | None = None
) -> Iterator[FoldScore]:
    """Fit and score fold after fold.

    Args:
        check_interrupt: called after every boosting round.
    """
    for fitted, scored in folds:
        booster, curves = fit_booster(fitted, {"valid": scored}, train, seed, check_interrupt)
        best = curves.iloc[booster.num_boosted_rounds() - 1]
        yield FoldScore(float(best["valid_auc"]), float(best["valid_logloss"]), curves)


def mean_roc_auc(scores: list[FoldScore]) -> float:
    """The mean ROC AUC over folds."""
    return float(np.mean([score.roc_auc for score in scores]))


def draw_parameters(
    trial: optuna.Trial | optuna.trial.FrozenTrial, space: dict[str, Range]
) -> dict[str, int | float]:
    """The parameters of a trial, by their names in the section `train`.

    A trial that runs draws them from the space; a finished one returns what it drew. Numbers have
    four digits: enough, and legible.
    """
    drawn: dict[str, int | float] = {}
    for name, limits in space.items():
        if Train.model_fields[name].annotation is int:
            low, high = int(limits.low), int(limits.high)
            drawn[name] = trial.suggest_int(name, low, high, log=limits.log)
        else:
            value = trial.suggest_float(name, limits.low, limits.high, log=limits.log)
            drawn[name] = float(f"{value:.4g}")
    return drawn


class Objective:
    """The function that Optuna maximizes."""

    def __init__(self, search: Search, check_interrupt: Callable[..., None]) -> None:
        """Load the folds.

        Args:
            check_interrupt: from `signals.delayed_interrupt`; Ctrl-C ends a trial while it fits,
                not while it is written to the database or to MLflow.
        """
        self.search = search
        self.check_interrupt = check_interrupt
        self.folds = load_folds(search.parameters, search.contract, search.parameters.seed)

    def __call__(self, trial: optuna.Trial) -> float:
        """Score a trial, and log it into MLflow; returns its mean ROC AUC.

        Raises:
            TrialPruned: its mean so far is below the median of the earlier trials after as many
                folds.
        """
        started = int(time.time() * 1000)
        parameters = self.search.parameters
        drawn = draw_parameters(trial, parameters.sweep.space)
        train = parameters.train.model_copy(update=drawn)

        scores, pruned = self._score(trial, train)
        state = "pruned" if pruned else "complete"

        trials.log_trial(
            self.search.run,
            trials.TrialRecord(
                number=trial.number,
                state=state,
                started=started,
                parameters=flatten({"seed": parameters.seed, "train": train.model_dump()}),
                metrics=summarize_scores(scores),
                curves=mean_curves(scores),
            ),
        )
        if pruned:
            raise optuna.TrialPruned
        return mean_roc_auc(scores)

    def _score(self, trial: optuna.Trial, train: Train) -> tuple[list[FoldScore], bool]:
        """The scores of the folds, and whether the trial was pruned before the last of them."""
        scores: list[FoldScore] = []
        seed = self.search.parameters.seed
        for score in score_folds(train, self.folds, seed, self.check_interrupt):
            scores.append(score)
            if 1 < len(scores) < len(self.folds):  # a single fold says too little
                trial.report(mean_roc_auc(scores), len(scores))
                if trial.should_prune():
                    return scores, True
        return scores, False


def summarize_scores(scores: list[FoldScore]) -> dict[str, float]:
    """The metrics of a trial: mean and standard deviation over its folds."""
    return {
        "roc_auc": mean_roc_auc(scores),
        "roc_auc_sd": float(np.std([score.roc_auc for score in scores])),
        "log_loss": float(np.mean([score.log_loss for score in scores])),
    }


def mean_curves(scores: list[FoldScore]) -> pd.DataFrame:
    """The mean of the folds' learning curves, thinned out to LONGEST_CURVE points or fewer."""
    every_fold = pd.concat([score.curves for score in scores])
    curves = every_fold.groupby("round", as_index=False).mean()

    # Beyond the shortest curve, the mean would be over other folds.
    shortest = min(len(score.curves) for score in scores)
    curves = curves.iloc[:shortest]
    return curves.iloc[:: len(curves) // LONGEST_CURVE + 1]
