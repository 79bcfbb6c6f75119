"""Worker processes that run trials of a search beside the process of the command."""

import contextlib
import functools
import multiprocessing
import sys
from collections.abc import Iterator

import optuna
from optuna.trial import FrozenTrial

from churn.console import run_command
from churn.experiments.objective import Search
from churn.experiments.search import run_trials
from churn.experiments.study import open_database
from churn.signals import delayed_interrupt
from churn.tracking import store


@contextlib.contextmanager
def worker_processes(count: int, url: str, study_name: str, search: Search) -> Iterator[None]:
    """Let more processes work on a study while the body of the `with` works on it too.

    Args:
        count: how many processes.
        url: of the study's database.
    """
    context = multiprocessing.get_context("spawn")
    processes = []
    for _ in range(count):
        process = context.Process(target=_work, args=(url, study_name, search), daemon=True)
        process.start()
        processes.append(process)

    yield

    for process in processes:
        process.join()
        if process.exitcode:
            message = f"a process died (exit code {process.exitcode}); the others did its trials"
            print(message, file=sys.stderr)


def _work(url: str, study_name: str, search: Search) -> None:
    """What a worker process runs: a failure is one message, not a traceback."""
    run_command(functools.partial(_run_trials, url, study_name, search))


def _run_trials(url: str, study_name: str, search: Search) -> None:
    store.connect()
    database = open_database(url)
    study = optuna.load_study(study_name=study_name, storage=database)
    command = multiprocessing.parent_process()

    def stop_without_command(study: optuna.Study, trial: FrozenTrial) -> None:
        if command is None or not command.is_alive():
            study.stop()

    with contextlib.suppress(KeyboardInterrupt), delayed_interrupt() as check_interrupt:
        run_trials(study, database, search, stop_without_command, check_interrupt)
