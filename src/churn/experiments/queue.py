"""Run DVC's queue of experiments, with workers that are watched.

The workers are those of `dvc queue start`, but as children of this process, which sees them die,
and in an environment that this process chooses.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from churn import paths
from churn.errors import UserError
from churn.experiments import dvc_queue
from churn.experiments.dvc_queue import Task

KILL_ATTEMPTS = 10


def check_project_path(folder: Path) -> None:
    """Refuse a project that DVC cannot copy: it names it to git by a file URL without escapes.

    Raises:
        UserError: the project's path has a character in it that a URL would escape.
    """
    refused = set()
    for character in str(folder):
        if not character.isascii() or character in "#?{}":
            refused.add(character)
    if refused:
        raise UserError(
            f"{folder} has {' '.join(sorted(refused))} in its path, and DVC cannot run queued "
            "experiments (or `--temp`) in such a folder; `dvc exp run` without them works, or move "
            "the project"
        )


def check_queue() -> None:
    """Refuse to run a queue that is empty, or that other workers run.

    Raises:
        UserError: nothing is queued, workers of `dvc queue start` would take experiments into an
            environment that is not ours, or DVC cannot copy the project.
    """
    check_project_path(paths.project_root())
    if not any(task.is_open for task in dvc_queue.list_tasks().values()):
        raise UserError("the queue is empty; `dvc exp run --queue -S train.max_depth=4,6` fills it")
    if dvc_queue.has_workers():
        raise UserError(
            "other workers are at this queue; `dvc queue stop` sends them home, then try again"
        )


class QueueState:
    """The experiments of the queue as they were seen last."""

    def __init__(self, tasks: dict[str, Task]) -> None:
        self.tasks = tasks
        self.reported: dict[str, str] = {}  # the state that was printed last, by revision
        for revision, task in tasks.items():
            if not task.is_open:
                self.reported[revision] = task.state
        self.ended_before = len(self.reported)
        self.failed: list[str] = []

    def update(self, tasks: dict[str, Task]) -> Iterator[Task]:
        """Take in the queue's tasks, and yield those whose state has changed.

        For a moment, while a worker takes an experiment, DVC lists it neither as queued nor as
        running: it then counts as what it was before.
        """
        self.tasks |= tasks
        for revision, task in self.tasks.items():
            if task.state != self.reported.get(revision, "Queued"):
                self.reported[revision] = task.state
                yield task

    def report(self, task: Task) -> None:
        """Print the new state of a task, and note its failure."""
        ended = sum(state not in ("Queued", "Running") for state in self.reported.values())
        position = f"{ended - self.ended_before}/{len(self.tasks) - self.ended_before}"
        print(f"[{position}] {task.name}: {task.state.lower()}", flush=True)
        if task.state == "Failed":
            self.failed.append(task.name)

    def open_names(self) -> list[str]:
        """The names of the experiments that have not ended."""
        return [task.name for task in self.tasks.values() if task.is_open]

    def running_revisions(self) -> list[str]:
        """The revisions of the experiments that run, as far as DVC knows."""
        return [revision for revision, task in self.tasks.items() if task.state == "Running"]


def run_queue(jobs: int, environment: dict[str, str]) -> list[str]:
    """Run every queued experiment, each in a copy of the project.

    Prints how each one ends, the log of one that fails, and which worker dies.

    Args:
        jobs: how many experiments run at a time.
        environment: the environment variables of the workers.

    Returns:
        The names of the experiments that failed or were left behind; the others succeeded.
    """
    state = QueueState(dvc_queue.list_tasks())
    workers = start_workers(jobs, environment)
    try:
        while True:
            time.sleep(1)

            # Workers before tasks: one that has ended has written what came of its experiments.
            ended = [number for number, worker in workers.items() if worker.poll() is not None]
            report_changes(state, environment)
            for number in ended:
                report_ended_worker(number, workers.pop(number))

            left = state.open_names()
            if not left or not workers:
                break
        for revision in state.running_revisions():
            mark_failed(revision, environment)
    finally:
        for worker in workers.values():
            worker.terminate()

    # Workers answer until they are gone, and the next command would call them other workers.
    for worker in workers.values():
        worker.wait()
    return state.failed + left


def start_workers(jobs: int, environment: dict[str, str]) -> dict[int, subprocess.Popen[bytes]]:
    """Start workers of DVC's queue; returns them by number, from 1.

    A session of their own lets them finish what they run when Ctrl-C ends this process; what has
    not begun stays queued.
    """
    workers = {}
    for number in range(1, jobs + 1):
        name = f"sweep-{os.getpid()}-{number}@localhost"
        workers[number] = subprocess.Popen(
            ["dvc", "exp", "queue-worker", name],
            env=environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    return workers


def report_changes(state: QueueState, environment: dict[str, str]) -> None:
    """Print what has changed in the queue, with the log of each experiment that failed."""
    for task in state.update(dvc_queue.list_tasks()):
        state.report(task)
        if task.state == "Failed":
            subprocess.run(["dvc", "queue", "logs", task.name], env=environment, stdout=sys.stderr)


def report_ended_worker(number: int, worker: subprocess.Popen[bytes]) -> None:
    """Say so if a worker died."""
    if worker.returncode:
        print(f"worker {number} died (exit code {worker.returncode})", file=sys.stderr)


def mark_failed(revision: str, environment: dict[str, str]) -> None:
    """Have DVC mark an experiment as failed whose worker died: it would be running for ever.

    The first `dvc queue kill` ends the processes that are left. A later one, which finds none any
    more, marks the experiment; how much later depends on how busy the machine is.
    """
    command = ["dvc", "queue", "kill", "--force", dvc_queue.list_tasks()[revision].name]
    for _ in range(KILL_ATTEMPTS):
        subprocess.run(command, env=environment, capture_output=True)
        if dvc_queue.list_tasks()[revision].state != "Running":
            return
        time.sleep(1)
