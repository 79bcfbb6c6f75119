"""Search for better hyperparameters, or work off DVC's queue of experiments.

    python src/sweep.py                     a search: `sweep.trials` trials over `sweep.space` of
    params.yaml
    python src/sweep.py --resume            go on with the last search, after Ctrl-C, kill -9, or
    with more trials
    python src/sweep.py --jobs 2            two processes at work on one search
    python src/sweep.py --apply             and run the pipeline with the best parameters, as a DVC
    experiment
    python src/sweep.py --queue --jobs 2    run what `dvc exp run --queue` has queued, two
    experiments at a time

Several machines work on one search when each runs the same command with `--resume --storage URL`.
Every trial and every experiment is a child of this command's run in MLflow. The search never opens
the test split.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from churn import paths
from churn.console import run_command
from churn.data.contract import load_project_contract
from churn.errors import UserError
from churn.experiments import queue, search, trials
from churn.experiments.search import explain_search_error
from churn.params import Params, flatten, load_params
from churn.signals import held_back
from churn.tracking import dvc_lock, environment, git_state, registration, run_log, runs, store
from churn.tracking.store_errors import explain_store_error


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Search for better hyperparameters, or work off DVC's queue."
    )
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="processes at work at a time (default 1)"
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
    given = parser.parse_args()
    if given.jobs < 1:
        parser.error("--jobs must be 1 or more")
    if given.queue and (given.resume or given.storage or given.apply):
        parser.error("--queue takes no option but --jobs")
    return given


def threads(jobs: int) -> int:
    """The cores of this machine that each of several processes may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, cores // jobs)


def progress(study, trials: int):
    """A callback that shows the trials: a bar on a terminal, a line every 10 trials in a log."""
    done = search.counted(study)
    bar = tqdm(
        total=trials, initial=done, unit="trial", disable=not sys.stderr.isatty(), leave=False
    )
    tens = done // 10

    def each_trial(study, trial) -> None:
        nonlocal tens
        done = search.counted(study)  # with the trials of other processes
        best = f"best ROC AUC {study.best_value:.4f}"
        bar.set_postfix_str(best, refresh=False)
        bar.update(done - bar.n)
        if bar.disable and done // 10 > tens:
            print(f"trial {done:4} of {trials}: {best}", flush=True)
        tens = done // 10

    return each_trial


def summary(p: Params, study, found: dict, table: pd.DataFrame) -> str:
    """The end of a search as text: the best parameters, and their gain over today's beside its
    noise.
    """
    done, complete = (
        search.counted(study),
        len(study.get_trials(deepcopy=False, states=search.COUNTED[:1])),
    )
    best = study.best_trial
    where = "the validation split" if p.sweep.folds == 1 else f"{p.sweep.folds} folds"
    lines = [
        f"best of {done} trials ({done - complete} pruned): trial {best.number}, ROC AUC {best.value:.4f}",
        "",
    ]
    lines += [
        f"train.{name:<18} {getattr(p.train, name):>8} -> {value}" for name, value in found.items()
    ]
    lines += ["", f"ROC AUC on {where}, mean and standard deviation over {len(table)} other seeds:"]
    lines += [
        f"{name:<6} {values.mean():>8.4f} +- {values.std():.4f}" for name, values in table.items()
    ]
    return "\n".join(lines)


def find(p: Params, given: argparse.Namespace) -> tuple:
    """Run the search; its run in MLflow, and the best parameters by name."""
    import mlflow

    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = (
        "true"  # a server's links to every trial would bury the rest
    )
    rules = load_project_contract(p)
    origin = dvc_lock.data_tags("train", "valid")
    database = search.storage(given.storage or store.sqlite_uri(paths.project_root() / "sweep.db"))
    study = search.open_study(database, search.question(p, origin), given.resume)
    known = study.user_attrs.get("mlflow_run")
    if known and not runs.run_exists(known):
        raise UserError(
            f"study {study.study_name} logs into a run of another MLflow store than {store.tracking_uri()}; set "
            "MLFLOW_TRACKING_URI to the store it began with, or start a new search without --resume"
        )
    tags = {
        "stage": "sweep",
        "study": study.study_name,
        **origin,
        **git_state.code_tags(),
        **environment.environment_tags(),
    }
    with held_back() as check, runs.open_run("sweep", tags, run_id=known) as parent:
        if known is None:
            study.set_user_attr("mlflow_run", parent.info.run_id)
            mlflow.log_params(
                flatten({**p.model_dump(), "sweep": p.sweep.model_dump(exclude={"trials"})})
            )
            for name, context in (("train", "training"), ("valid", "validation")):
                run_log.log_dataset(paths.SPLITS[name], origin[f"{name}_md5"], name, context)
        print(
            f"study {study.study_name}: {search.counted(study)} of {p.sweep.trials} trials done",
            flush=True,
        )
        try:
            rest = (parent, p, rules, threads(given.jobs))
            with search.helpers(given.jobs - 1, database.url, study.study_name, *rest):
                search.work(study, *rest, progress(study, p.sweep.trials), check)
            finished = study.get_trials(deepcopy=False, states=search.COUNTED)
            trials.close_trials(parent, {str(trial.number) for trial in finished})
            found = search.choose(study.best_trial, p.sweep.space)
            print("scoring the best and today's parameters with 5 other seeds", flush=True)
            seeds = tqdm(
                range(p.seed + 1, p.seed + 6),
                unit="seed",
                disable=not sys.stderr.isatty(),
                leave=False,
            )
            table = search.compare(p, rules, p.train.model_copy(update=found), seeds, check)
        except KeyboardInterrupt:
            print("\nstopped; `python src/sweep.py --resume` goes on", file=sys.stderr)
            raise
        with tempfile.TemporaryDirectory() as pictures:
            search.draw(study, Path(pictures))
            mlflow.log_artifacts(pictures, "plots")
        gain = table.best - table.today
        mlflow.log_metrics(
            {
                "best_trial": study.best_value,
                **table.mean(),
                "gain": gain.mean(),
                "gain_sd": gain.std(),
            }
        )
        print(summary(p, study, found, table.assign(gain=gain)))
    return parent, found


def work_off(jobs: int) -> None:
    """Run DVC's queue of experiments under one run in MLflow.

    Raises:
        UserError: nothing is queued, or not every experiment succeeded.
    """
    queue.check_queue()
    before = queue.tasks()
    with runs.open_run(
        "queue", {"stage": "queue", **git_state.code_tags(), **environment.environment_tags()}
    ) as parent:
        failed = queue.run_queue(jobs, queue.environment(parent, threads(jobs)))
        now = queue.tasks().items()
        done = {
            name
            for rev, (name, state) in now
            if state == "Success" and before.get(rev, ("", ""))[1] != state
        }
        if done:
            print(f"\n{queue.table(done)}", flush=True)
        if failed:
            raise UserError(f"{', '.join(failed)}: failed or left behind; the others succeeded")


def main() -> None:
    given = arguments()
    p = load_params()
    if given.queue:
        work_off(given.jobs)
    else:
        parent, found = find(p, given)
        if given.apply:
            queue.run({f"train.{name}": value for name, value in found.items()}, parent)
            registration.stage_workspace(
                p.registry.model
            )  # --apply asks for it; an experiment by itself is not staged


if __name__ == "__main__":
    run_command(main, explain_store_error, explain_search_error)
