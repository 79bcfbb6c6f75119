"""Search for better hyperparameters, or run DVC's queue of experiments.

    python src/sweep.py                    `sweep.trials` trials over `sweep.space` of params.yaml
    python src/sweep.py --resume           go on after Ctrl-C, kill -9, or with more trials
    python src/sweep.py --jobs 2           two processes work on one search
    python src/sweep.py --apply            then run the best parameters as a DVC experiment
    python src/sweep.py --queue --jobs 2   run what `dvc exp run --queue` has queued, two at a time

Several machines work on one search when each runs the same command with `--resume --storage URL`.
Every trial and every experiment is a child of this command's run in MLflow. The search never opens
the test split.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import optuna
import pandas as pd
from optuna.trial import FrozenTrial, TrialState

from churn import paths
from churn.console import progress, run_command
from churn.data.project_contract import load_project_contract
from churn.errors import UserError
from churn.experiments import dvc_queue, experiment, queue, trials
from churn.experiments.objective import Search, draw_parameters
from churn.experiments.search import AfterTrial, run_trials
from churn.experiments.search_run import check_run_exists, log_result, log_search
from churn.experiments.seed_comparison import OTHER_SEEDS, compare_over_seeds
from churn.experiments.study import (
    COUNTED_STATES,
    RUN_ID,
    count_trials,
    explain_study_error,
    open_database,
    open_study,
    study_cache_key,
)
from churn.experiments.workers import worker_processes
from churn.params import Params, load_params
from churn.signals import delayed_interrupt
from churn.tracking import dvc_lock, environment, git_state, runs, store
from churn.tracking.store_errors import explain_store_error

if TYPE_CHECKING:
    from mlflow.entities import Run

LINE_EVERY = 10  # trials, in a log


def main() -> None:
    arguments = parse_arguments()
    parameters = load_params()
    if arguments.queue:
        run_queue(arguments.jobs)
        return

    run, best = search_parameters(parameters, arguments)
    if arguments.apply:
        experiment.check_parameters_unchanged(parameters)
        experiment.run_experiment({f"train.{name}": value for name, value in best.items()}, run)
        # An experiment by itself moves no alias; --apply asks for it.
        experiment.stage_workspace(parameters.registry.model)


def parse_arguments() -> argparse.Namespace:
    """Read and check the command line."""
    parser = argparse.ArgumentParser(
        description="Search for better hyperparameters, or run DVC's queue of experiments."
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes at a time (default 1)"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="go on with the last search, or start it if there is none",
    )
    parser.add_argument(
        "--storage", metavar="URL", help="database of the trials (default: SQLite, sweep.db)"
    )
    parser.add_argument(
        "--apply", action="store_true", help="run the pipeline with the best parameters found"
    )
    parser.add_argument(
        "--queue", action="store_true", help="run the experiments that `dvc exp run --queue` queued"
    )
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error("--jobs must be 1 or more")
    if arguments.queue and (arguments.resume or arguments.storage or arguments.apply):
        parser.error("--queue takes no option but --jobs")
    return arguments


def search_parameters(
    parameters: Params, arguments: argparse.Namespace
) -> tuple[Run, dict[str, int | float]]:
    """Run the search; returns its run in MLflow, and the best parameters of `train` by name."""
    # A server's links to every trial would bury the rest.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    contract = load_project_contract(parameters)
    data_tags = dvc_lock.data_tags("train", "valid")
    database = open_database(
        arguments.storage or store.sqlite_uri(paths.project_root() / "sweep.db")
    )
    study = open_study(database, study_cache_key(parameters, data_tags), arguments.resume)
    check_run_exists(study)

    run_id = study.user_attrs.get(RUN_ID)
    tags = {"stage": "sweep", "study": study.study_name, **data_tags, **origin_tags()}
    with delayed_interrupt() as check_interrupt, runs.open_run("sweep", tags, run_id) as run:
        if run_id is None:
            study.set_user_attr(RUN_ID, run.info.run_id)
            log_search(parameters, data_tags)
        search = Search(run, parameters, contract, threads_per_job(arguments.jobs))
        wanted = parameters.sweep.trials
        print(f"study {study.study_name}: {count_trials(study)} of {wanted} trials done")
        sys.stdout.flush()

        try:
            with worker_processes(arguments.jobs - 1, database.url, study.study_name, search):
                run_trials(study, database, search, trial_progress(study, wanted), check_interrupt)
            close_uncounted_trials(study, run)
            best = draw_parameters(study.best_trial, parameters.sweep.space)
            comparison = compare_with_today(search, best, check_interrupt)
        except KeyboardInterrupt:
            print("\nstopped; `python src/sweep.py --resume` goes on", file=sys.stderr)
            raise

        log_result(study, comparison)
        print(search_summary(parameters, study, best, comparison))
    return run, best


def origin_tags() -> dict[str, str]:
    """The tags of a run that name its code and its environment."""
    return {**git_state.code_tags(), **environment.environment_tags()}


def threads_per_job(jobs: int) -> int:
    """The cores of this machine that each of several processes may use."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, cores // jobs)


def trial_progress(study: optuna.Study, wanted: int) -> AfterTrial:
    """A callback for Optuna that shows how many trials are done, those of other processes too."""
    show = progress(wanted, "trial", line_every=LINE_EVERY, done=count_trials(study))

    def after_trial(study: optuna.Study, trial: FrozenTrial) -> None:
        show(count_trials(study), f"best ROC AUC {study.best_value:.4f}")

    return after_trial


def close_uncounted_trials(study: optuna.Study, run: Run) -> None:
    """Close the runs of trials that do not count, since their process was killed."""
    counted = study.get_trials(deepcopy=False, states=COUNTED_STATES)
    trials.close_trials(run, {str(trial.number) for trial in counted})


def compare_with_today(
    search: Search, best: dict[str, int | float], check_interrupt: Callable[..., None]
) -> pd.DataFrame:
    """ROC AUC of today's and the best parameters: one row per seed; columns today, best, gain."""
    print(f"scoring the best and today's parameters with {OTHER_SEEDS} other seeds", flush=True)
    parameters = search.parameters
    comparison = compare_over_seeds(
        parameters,
        search.contract,
        parameters.train.model_copy(update=best),
        progress(OTHER_SEEDS, "seed", line_every=OTHER_SEEDS),
        check_interrupt,
    )
    return comparison.assign(gain=comparison["best"] - comparison["today"])


def search_summary(
    parameters: Params,
    study: optuna.Study,
    best: dict[str, int | float],
    comparison: pd.DataFrame,
) -> str:
    """The best parameters, and their gain over today's beside its noise, as text."""
    trial = study.best_trial
    done = count_trials(study)
    pruned = len(study.get_trials(deepcopy=False, states=(TrialState.PRUNED,)))
    lines = [
        f"best of {done} trials ({pruned} pruned): "
        f"trial {trial.number}, ROC AUC {study.best_value:.4f}",
        "",
    ]
    for name, value in best.items():
        today = getattr(parameters.train, name)
        lines.append(f"train.{name:<18} {today:>8} -> {value}")

    folds = parameters.sweep.folds
    rows = "the validation split" if folds == 1 else f"{folds} folds"
    seeds = len(comparison)
    lines += ["", f"ROC AUC on {rows}, mean and standard deviation over {seeds} other seeds:"]
    for name, values in comparison.items():
        lines.append(f"{name:<6} {values.mean():>8.4f} +- {values.std():.4f}")
    return "\n".join(lines)


def run_queue(jobs: int) -> None:
    """Run DVC's queue of experiments under one run in MLflow.

    Raises:
        UserError: nothing is queued, or not every experiment succeeded.
    """
    queue.check_queue()
    before = dvc_queue.list_tasks()
    with runs.open_run("queue", {"stage": "queue", **origin_tags()}) as run:
        failed = queue.run_queue(jobs, experiment.child_environment(run, threads_per_job(jobs)))

        succeeded = set()
        for revision, task in dvc_queue.list_tasks().items():
            if task.state == "Success" and before.get(revision) != task:
                succeeded.add(task.name)
        if succeeded:
            print(f"\n{experiment.experiments_table(succeeded)}", flush=True)
        if failed:
            raise UserError(f"{', '.join(failed)}: failed or left behind; the others succeeded")


if __name__ == "__main__":
    run_command(main, explain_store_error, explain_study_error)
