"""Run the trials of a search with Optuna, in any number of processes."""

import time
from collections.abc import Callable

import optuna
import xgboost as xgb
from optuna.trial import FrozenTrial, TrialState

from churn.experiments.heartbeats import fail_trials_without_heartbeat
from churn.experiments.objective import Objective, Search
from churn.experiments.study import count_trials

AfterTrial = Callable[[optuna.Study, FrozenTrial], None]


class Sampler(optuna.samplers.TPESampler):
    """Tree-structured Parzen estimator (Bergstra et al., NIPS 2011) with one seed per trial.

    What it draws depends on the seed, the number of the trial and the earlier trials alone: a
    resumed search draws nothing twice, and two processes do not draw the same.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(seed=seed)
        self.seed = seed

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Begin with the generator of this trial; `reseed_rng` would draw a seed by chance."""
        super().__init__(seed=self.seed + trial.number)


def run_trials(
    study: optuna.Study,
    database: optuna.storages.RDBStorage,
    search: Search,
    after_trial: AfterTrial,
    check_interrupt: Callable[..., None],
) -> None:
    """Run trials until `sweep.trials` of the study count, whoever ran them, and none is running.

    Args:
        database: the study's.
        after_trial: called after each trial of this process.
        check_interrupt: from `signals.delayed_interrupt`.
    """
    xgb.set_config(nthread=search.threads)
    parameters = search.parameters
    study.sampler = Sampler(parameters.seed)
    study.pruner = optuna.pruners.MedianPruner()
    objective = Objective(search, check_interrupt)
    wanted = parameters.sweep.trials
    stop_when_enough = optuna.study.MaxTrialsCallback(
        wanted, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
    )

    while True:
        begun = count_trials(study, TrialState.RUNNING)
        if begun < wanted:
            study.optimize(objective, callbacks=[after_trial, stop_when_enough])
        elif begun > count_trials(study):
            # Other processes are at the last trials, or were killed at them.
            time.sleep(1)
            check_interrupt()
            optuna.storages.fail_stale_trials(study)
            fail_trials_without_heartbeat(study, database)
        else:
            return
