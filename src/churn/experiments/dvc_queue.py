"""The state of DVC's queue of experiments. The only module that reads DVC's internals.

`dvc.api` knows nothing of the queue, and `dvc queue status` prints a table for people: it cuts
revisions to seven characters and costs a second per call, too much to watch a queue with. So this
module calls what that command calls: `Repo.experiments.celery_queue`.

What breaks: a release of DVC that renames it, or the keys of its `status()`, makes
`python src/sweep.py --queue` fail at once, and nothing else. `dvc exp run --run-all` would still
run the queue. A Python interface or a machine-readable form of `dvc queue status`
(https://github.com/treeverse/dvc/issues/7590 made the command) would remove this module.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """A queued experiment."""

    name: str
    state: str  # Queued, Running, Failed or Success

    @property
    def is_open(self) -> bool:
        """Whether it has not ended yet."""
        return self.state in ("Queued", "Running")


def list_tasks() -> dict[str, Task]:
    """Every experiment that DVC's queue knows by its revision, the ended ones included."""
    from dvc.repo import Repo

    with Repo() as repo:
        entries = repo.experiments.celery_queue.status()

    tasks = {}
    for entry in entries:
        revision = entry["rev"]
        tasks[revision] = Task(entry["name"] or revision[:7], entry["status"])
    return tasks


def has_workers() -> bool:
    """Whether workers (of `dvc queue start`, say) take experiments from the queue now."""
    from dvc.repo import Repo

    with Repo() as repo:
        return bool(repo.experiments.celery_queue.worker_status())
