"""DVC experiments started from Python: one with given parameters, or all that are queued."""

import os
import subprocess
import sys
import time
from pathlib import Path

from churn import paths
from churn.errors import UserError
from churn.params import parameter_names
from churn.tracking import store

OPEN = ("Queued", "Running")


def environment(parent, threads: int | None = None) -> dict[str, str]:
    """What a process must inherit to log under `parent`, a run in MLflow, wherever it works: this environment's
    programs first on PATH (DVC calls a bare `dvc`, a stage a bare `python`), an absolute tracking URI, and at most
    `threads` threads."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "MLFLOW_TRACKING_URI": store.tracking_uri(),
        "MLFLOW_RUN_ID": parent.info.run_id,
        "MLFLOW_EXPERIMENT_ID": parent.info.experiment_id,
        **({"OMP_NUM_THREADS": str(threads)} if threads else {}),
    }


def run(settings: dict[str, int | float], parent) -> None:
    """`dvc exp run` in the workspace with these parameters, as a child of `parent`.

    Raises:
        UserError: it failed. params.yaml is then as it was; DVC alone would leave the changed one.
    """
    before = Path("params.yaml").read_bytes()
    words = [word for name, value in settings.items() for word in ("-S", f"{name}={value!r}")]
    if subprocess.run(["dvc", "exp", "run", *words], env=environment(parent)).returncode:
        Path("params.yaml").write_bytes(before)
        raise UserError("the experiment failed, see above; params.yaml is as it was")


def table(names: set[str]) -> str:
    """Experiments as text, the best first: the parameters in which they differ, ROC AUC and its interval, the gate."""
    import dvc.api
    import pandas as pd

    shown = pd.DataFrame(row for row in dvc.api.exp_show() if row["Experiment"] in names)
    shown = shown.sort_values("roc_auc", ascending=False).set_index("Experiment")
    leaves = [name for name in parameter_names() if name in shown]
    differ = [name for name in leaves if shown[name].astype(str).nunique() > 1]
    for name in differ:
        shown[name] = [
            f"{value:g}" if isinstance(value, float) else str(value) for value in shown[name]
        ]
    shown["gate"] = shown["gate_thresholds"].str.split().str[0]
    metrics = ["roc_auc", "roc_auc_low", "roc_auc_high", "gate"]
    return (
        shown[differ + metrics].reset_index().to_string(index=False, float_format="{:.4f}".format)
    )


def tasks() -> dict[str, tuple[str, str]]:
    """Every experiment that DVC's queue knows, done ones included: {revision: (name, state)}, the states being
    Queued, Running, Failed and Success."""
    from dvc.repo import Repo

    with Repo() as repo:
        listed = repo.experiments.celery_queue.status()
    return {task["rev"]: (task["name"] or task["rev"][:7], task["status"]) for task in listed}


def check_path(folder: Path) -> None:
    """Refuse to run experiments in copies of a project that DVC cannot copy: it names them to git by a file URL in
    which it escapes nothing.

    Raises:
        UserError: the project's path has such a sign in it.
    """
    if found := sorted({sign for sign in str(folder) if not sign.isascii() or sign in "#?{}"}):
        raise UserError(
            f"{folder} has {' '.join(found)} in its path, and DVC cannot run queued experiments (or `--temp`) in such "
            "a folder; `dvc exp run` without them works, or move the project"
        )


def check_queue() -> None:
    """Refuse to work off a queue in which nothing waits, or at which others are at work.

    Raises:
        UserError: nothing is queued, workers of `dvc queue start` would take experiments into an environment that is
            not ours, or DVC cannot copy the project.
    """
    from dvc.repo import Repo

    check_path(paths.project_root())
    if not any(state in OPEN for _, state in tasks().values()):
        raise UserError("the queue is empty; `dvc exp run --queue -S train.max_depth=4,6` fills it")
    with Repo() as repo:
        if repo.experiments.celery_queue.worker_status():
            raise UserError(
                "other workers are at this queue; `dvc queue stop` sends them home, then try again"
            )


def bury(rev: str, env: dict[str, str]) -> None:
    """Have an experiment marked as failed whose worker died: to DVC it is running for ever.

    The first kill ends what is left of it. A later one, which finds no process any more, marks it; how much later
    depends on how busy the machine is.
    """
    name, _ = tasks()[rev]
    for _ in range(10):
        subprocess.run(["dvc", "queue", "kill", "--force", name], env=env, capture_output=True)
        if tasks()[rev][1] != "Running":
            return
        time.sleep(1)


def run_queue(jobs: int, env: dict[str, str]) -> list[str]:
    """Run every queued experiment, `jobs` at a time, each in a copy of the project; say how each ends, show the log
    of one that fails, and say so when a worker dies.

    The workers are what `dvc queue start` starts, but as children of this process, which sees them die, and in `env`.
    A session of their own lets them finish what they run when Ctrl-C ends this process; the rest stays queued.

    Returns:
        The names of the experiments that failed or were left behind; the others succeeded.
    """
    now = tasks()
    states = {rev: state for rev, (_, state) in now.items() if state not in OPEN}
    earlier, failed = len(states), []
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    workers = {}
    for number in range(1, jobs + 1):
        command = ["dvc", "exp", "queue-worker", f"sweep-{os.getpid()}-{number}@localhost"]
        workers[number] = subprocess.Popen(command, env=env, start_new_session=True, **quiet)
    try:
        while True:
            time.sleep(1)
            gone = [number for number, worker in workers.items() if worker.poll() is not None]
            # After the workers: one that is gone has written what came of its experiments. For a moment, DVC lists an
            # experiment neither as queued nor as running, while a worker takes it; it is then what it was before.
            now |= tasks()
            for rev, (name, state) in now.items():
                if state != states.get(rev, "Queued"):
                    states[rev] = state
                    done = sum(state not in OPEN for state in states.values()) - earlier
                    print(f"[{done}/{len(now) - earlier}] {name}: {state.lower()}", flush=True)
                    if state == "Failed":
                        failed.append(name)
                        subprocess.run(["dvc", "queue", "logs", name], env=env, stdout=sys.stderr)
            for number in gone:
                if code := workers.pop(number).returncode:
                    print(f"worker {number} died (exit code {code})", file=sys.stderr)
            left = [name for name, state in now.values() if state in OPEN]
            if not left or not workers:
                for rev in [rev for rev, (_, state) in now.items() if state == "Running"]:
                    bury(rev, env)
                break
    finally:
        for worker in workers.values():
            worker.terminate()
    for worker in workers.values():
        worker.wait()  # they answer until they are gone, and the next command would call them other workers
    return failed + left
