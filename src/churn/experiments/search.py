"""The search for hyperparameters: Optuna over `sweep.space`, scored on the training and validation splits alone."""

import contextlib
import functools
import hashlib
import json
import multiprocessing
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
from optuna.trial import TrialState

from churn import paths
from churn.console import run_command
from churn.data.contract import Contract
from churn.errors import UserError
from churn.experiments import trials
from churn.modeling.booster import fit_booster, xgb
from churn.modeling.encoding import encode_labels, labelled_matrix
from churn.params import Params, Range, Train, flatten
from churn.signals import held_back
from churn.tracking import store

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)


class Sampler(optuna.samplers.TPESampler):
    """The tree-structured Parzen estimator (Bergstra et al., NIPS 2011), whose draws depend on seed, trial number and
    history alone: a resumed search draws nothing twice, and two processes do not draw the same."""

    def __init__(self, seed: int):
        super().__init__(seed=seed)
        self.seed = seed

    def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        super().__init__(seed=self.seed + trial.number)


def storage(url: str) -> optuna.storages.RDBStorage:
    """The database that keeps the trials. A running trial sends a sign of life every 5 s; one that sent none for
    15 s is dead, and the next process to look marks it as failed.

    Raises:
        UserError: nobody answers at the URL, or its driver is not installed.
    """
    import sqlalchemy

    try:
        opened = optuna.storages.RDBStorage(
            url,
            engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None,
            heartbeat_interval=5,
            grace_period=15,
        )
    except (ImportError, sqlalchemy.exc.SQLAlchemyError, RuntimeError) as error:
        why = str(error.__cause__ or error).splitlines()[
            0
        ]  # the cause names the driver that is missing
        anew = (
            "; `rm sweep.db*` begins anew (the trials so far are in MLflow)"
            if url.startswith("sqlite")
            else ""
        )
        raise UserError(f"{url.split('@')[-1]} is no database for a search: {why}{anew}") from None
    if url.startswith("sqlite"):
        # A trial is some 20 small transactions. In WAL mode a crash of the machine may cost the last of them, and
        # never the file; each costs a tenth of what it does with SQLite's default.
        with opened.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        sqlalchemy.event.listen(
            opened.engine, "connect", lambda c, _: c.execute("PRAGMA synchronous=NORMAL")
        )
        opened.engine.dispose()
    return opened


def question(p: Params, origin: dict[str, str]) -> str:
    """md5 over all that decides what a trial is worth: data, seed, folds, space, and the parameters not searched.
    Not the number of trials: a search can be made longer."""
    asked = p.sweep.model_dump(exclude={"trials"})
    fixed = p.train.model_dump(exclude={"threads", *p.sweep.space})
    return hashlib.md5(json.dumps([asked, fixed, p.seed, origin]).encode()).hexdigest()


def open_study(database: optuna.storages.RDBStorage, asked: str, resume: bool) -> optuna.Study:
    """A new study of this question; with `resume` the latest one, if there is one, as every process that works on it
    opens it."""
    numbers = [
        int(name.split("-")[1])
        for name in optuna.get_all_study_names(database)
        if name.startswith(asked[:8])
    ]
    last = max(numbers, default=0)
    if resume and last:
        study = optuna.load_study(study_name=f"{asked[:8]}-{last}", storage=database)
        deadline = time.monotonic() + 10
        while "mlflow_run" not in study.user_attrs and time.monotonic() < deadline:
            time.sleep(0.5)  # another machine has only just started it
        return study
    try:
        return optuna.create_study(
            study_name=f"{asked[:8]}-{last + 1}", storage=database, direction="maximize"
        )
    except optuna.exceptions.DuplicatedStudyError:
        raise UserError(
            "another process started this search in the same second; join it with --resume"
        ) from None


def counted(study: optuna.Study, *states: TrialState) -> int:
    """How many trials count towards `sweep.trials`: those that were finished or pruned, and those in `states`."""
    return len(study.get_trials(deepcopy=False, states=COUNTED + states))


def assign_folds(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """The fold (from 0) of each row: stratified, each class shuffled and dealt out; shape (rows,)."""
    fold, draw = np.empty(len(y), int), np.random.default_rng(seed)
    for label in (0, 1):
        rows = np.flatnonzero(y == label)
        fold[draw.permutation(rows)] = np.arange(len(rows)) % count
    return fold


def folds(p: Params, contract: Contract, seed: int) -> list[tuple]:
    """(rows to fit, rows to score) of every fold as XGBoost takes them; the test split is not opened."""
    train, valid = (pd.read_parquet(paths.SPLITS[name]) for name in ("train", "valid"))
    if p.sweep.folds == 1:
        pairs = [(train, valid)]
    else:
        rows = pd.concat([train, valid], ignore_index=True)
        fold = assign_folds(encode_labels(rows, contract), p.sweep.folds, seed)
        pairs = [(rows[fold != number], rows[fold == number]) for number in range(p.sweep.folds)]
    return [
        tuple(labelled_matrix(rows, contract, p.train.threads) for rows in pair) for pair in pairs
    ]


def scores(
    train: Train, folds: list[tuple], seed: int, check: Callable = lambda *_: None
) -> Iterator[tuple[float, float, pd.DataFrame]]:
    """Fit fold after fold; ROC AUC and log loss on the rows left out, at the round that the model keeps, and the
    learning curves. `check` is called in every round."""
    for fit, score in folds:
        booster, curves = fit_booster(fit, {"valid": score}, train, seed, check)
        best = curves.iloc[booster.num_boosted_rounds() - 1]
        yield best.valid_auc, best.valid_logloss, curves


def choose(
    trial: optuna.Trial | optuna.trial.FrozenTrial, space: dict[str, Range]
) -> dict[str, int | float]:
    """What a trial draws from the space, {name in `train`: value}; four digits are enough, and can be read."""
    chosen = {}
    for name, ends in space.items():
        if Train.model_fields[name].annotation is int:
            chosen[name] = trial.suggest_int(name, ends.low, ends.high, log=ends.log)
        else:
            chosen[name] = float(
                f"{trial.suggest_float(name, ends.low, ends.high, log=ends.log):.4g}"
            )
    return chosen


def fail_silent_trials(study: optuna.Study) -> None:
    """Mark as failed the trials of a process that was killed before their first sign of life, a minute after their
    start: Optuna's own `fail_stale_trials` looks only among trials that gave one."""
    from sqlalchemy import text

    database = study._storage
    with database._backend.engine.connect() as connection:
        heard = {
            row[0] for row in connection.execute(text("SELECT trial_id FROM trial_heartbeats"))
        }
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if (
            trial._trial_id not in heard
            and (datetime.now() - trial.datetime_start).total_seconds() > 60
        ):
            database.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def work(
    study: optuna.Study,
    parent,
    p: Params,
    contract: Contract,
    threads: int,
    tell: Callable,
    check: Callable,
) -> None:
    """Run trials until `sweep.trials` of the study count, whoever ran them, and none is running.

    Each is scored by its mean ROC AUC over the folds, given up if its mean so far is below the median of the earlier
    trials after as many folds, and logged as a child of `parent`, the search's run.

    Args:
        threads: how many XGBoost may use.
        tell: called with study and trial after each trial.
        check: from `signals.held_back`; Ctrl-C ends a trial while it fits, not while it is written down.
    """
    xgb.set_config(nthread=threads)
    pairs = folds(p, contract, p.seed)

    def objective(trial: optuna.Trial) -> float:
        start, found = int(time.time() * 1000), []
        train = p.train.model_copy(update=choose(trial, p.sweep.space))
        pruned = False
        for number, score in enumerate(scores(train, pairs, p.seed, check), start=1):
            found.append(score)
            auc = np.array([auc for auc, *_ in found])
            if 1 < number < len(pairs):  # a single fold says too little
                trial.report(auc.mean(), number)
                if pruned := trial.should_prune():
                    break
        results = {
            "roc_auc": auc.mean(),
            "roc_auc_sd": auc.std(),
            "log_loss": np.mean([loss for _, loss, _ in found]),
        }
        curves = pd.concat([c for *_, c in found]).groupby("round", as_index=False).mean()
        curves = curves.iloc[
            : min(len(c) for *_, c in found)
        ]  # beyond, the mean would be over other folds
        state = "pruned" if pruned else "complete"
        leaves = flatten({"seed": p.seed, "train": train.model_dump()})
        trials.log_trial(
            parent,
            trial.number,
            state,
            start,
            leaves,
            results,
            curves.iloc[:: len(curves) // 50 + 1],
        )
        if pruned:
            raise optuna.TrialPruned
        return auc.mean()

    study.sampler, study.pruner = Sampler(p.seed), optuna.pruners.MedianPruner()
    enough = optuna.study.MaxTrialsCallback(p.sweep.trials, states=(*COUNTED, TrialState.RUNNING))
    while True:
        begun = counted(study, TrialState.RUNNING)
        if begun < p.sweep.trials:
            study.optimize(objective, callbacks=[tell, enough])
        elif begun > counted(study):  # others are at the last trials, or were killed at them
            time.sleep(1)
            check()
            optuna.storages.fail_stale_trials(study)
            fail_silent_trials(study)
        else:
            return


@contextlib.contextmanager
def helpers(count: int, url: str, study: str, *rest) -> Iterator[None]:
    """More processes at work on a study while the body of the `with` works on it too; one that died is told of.

    Args:
        url, study: the database and the name of the study in it.
        rest: what `work` takes after the study, less `tell` and `check`.
    """
    context = multiprocessing.get_context("spawn")
    started = [
        context.Process(target=assist, args=(url, study, *rest), daemon=True) for _ in range(count)
    ]
    for process in started:
        process.start()
    yield
    for process in started:
        process.join()
        if process.exitcode:
            print(
                f"a process died (exit code {process.exitcode}); the others did its trials",
                file=sys.stderr,
            )


def assist(url: str, study: str, parent, p: Params, contract: Contract, threads: int) -> None:
    """What a helper does, for as long as the process that started it lives."""
    run_command(functools.partial(_assist, url, study, parent, p, contract, threads))


def _assist(url: str, study: str, parent, p: Params, contract: Contract, threads: int) -> None:
    store.connect()
    main = multiprocessing.parent_process()

    def tell(study: optuna.Study, trial) -> None:
        if not main.is_alive():
            study.stop()

    with contextlib.suppress(KeyboardInterrupt), held_back() as check:
        work(
            optuna.load_study(study_name=study, storage=storage(url)),
            parent,
            p,
            contract,
            threads,
            tell,
            check,
        )


def compare(
    p: Params, contract: Contract, best: Train, seeds: Iterable[int], check: Callable
) -> pd.DataFrame:
    """Mean ROC AUC of today's parameters and of the best found, a row for each seed: other folds, and other draws while
    fitting. Columns today, best. `check` as in `work`."""
    rows = []
    for seed in seeds:
        pairs = folds(p, contract, seed)
        rows.append(
            [
                np.mean([auc for auc, *_ in scores(train, pairs, seed, check)])
                for train in (p.train, best)
            ]
        )
    return pd.DataFrame(rows, columns=["today", "best"])


def explain_search_error(error: BaseException) -> str:
    """What an exception of Optuna means to the user; "" for any other."""
    if "optuna" not in {kind.__module__.split(".")[0] for kind in type(error).__mro__}:
        return ""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"the database of the search failed: {reason}; `rm sweep.db*` and a new search begin anew"
    )


def draw(study: optuna.Study, folder: Path) -> None:
    """Optuna's plots of a study as PNG files."""
    import matplotlib

    matplotlib.use("Agg")
    from optuna.visualization import matplotlib as drawn

    kinds = [drawn.plot_optimization_history, drawn.plot_parallel_coordinate]
    if len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))) > 1:
        kinds.append(drawn.plot_param_importances)
    for plot in kinds:
        figure = plot(study).figure
        figure.savefig(folder / f"{plot.__name__.removeprefix('plot_')}.png", bbox_inches="tight")
        matplotlib.pyplot.close(figure)
