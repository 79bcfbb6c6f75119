"""Fork a process for each command of src/, `dvc`, `mlflow`, `pytest` and `python -c` that a test's
project runs, and for the servers (uvicorn) and scripts that these start.

Importing MLflow, XGBoost and scikit-learn takes four of the five CPU seconds of a short command,
and the tests run hundreds of them. This process has imported those libraries, and nothing of the
project: a process that it forks runs the project's own code, as a new Python would.

    python server.py SOCKET PYTHON

It answers on the Unix socket, and ends when its standard input is closed. PYTHON, which asks it
first, is what the forked processes take for their own Python.
"""

import atexit
import contextlib
import gc
import importlib
import json
import logging
import os
import runpy
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import types
from collections.abc import Mapping
from typing import Any

import threadpoolctl

LIBRARIES = (
    "dvc.cli",
    "dvc.commands.experiments.run",
    "dvc.commands.experiments.show",
    "dvc.commands.repro",
    "dvc.repo.experiments.executor.local",
    "dvc.repo.experiments.queue.celery",
    "dvc.repo.experiments.queue.workspace",
    "dvc.repo.datasets",
    "dvc.repo.plots",
    "dvc_data.index",
    "git",
    "matplotlib.figure",
    "mlflow.cli",
    "mlflow.data.pandas_dataset",
    "mlflow.models",
    "mlflow.pyfunc",
    "mlflow.store.db.utils",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracing.processor.base_mlflow",
    "networkx",
    "pandas",
    "pandera.pandas",
    "pydantic",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "pygit2",
    "ruamel.yaml",
    "scipy.stats",
    "sklearn.compose",
    "sklearn.impute",
    "sklearn.linear_model",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "tabulate",
    "tqdm",
    "xgboost",
)
# Variables that Python and these libraries read when they start, but for those that `run` follows.
AT_THE_START = ("PYTHON", "MKL_", "OPENBLAS_", "NPY_", "ARROW_", "LANG", "LC_", "MPL")
FOLLOWED = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
THREADS = "OMP_NUM_THREADS"  # of which the library can be told later
PROGRAMS = {
    "dvc": ("dvc.cli", "main"),
    "mlflow": ("mlflow.cli", "cli"),
    "uvicorn": ("uvicorn.main", "main"),  # by which `mlflow server` serves
}


def main() -> None:
    """Serve requests; in a forked process, run what was asked for."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(sys.argv[1])
        listener.listen(16)  # who asks before the imports are done waits
        for name in LIBRARIES:
            importlib.import_module(name)
        use_a_store()
        save_a_model()
        gc.freeze()
        request = serve(listener)
    if request is not None:
        run_and_end(request)


def use_a_store() -> None:
    """Let SQLAlchemy prepare MLflow's tables and queries, which takes half a second."""
    import mlflow

    logging.disable()  # the news that tables are made
    folder = tempfile.mkdtemp()
    client = mlflow.MlflowClient(f"sqlite:///{folder}/mlflow.db", f"sqlite:///{folder}/mlflow.db")
    experiment = client.create_experiment("warm", artifact_location=folder)
    run_id = client.create_run(experiment, tags={"stage": "warm"}).info.run_id
    metric, param = mlflow.entities.Metric("m", 1.0, 0, 0), mlflow.entities.Param("p", "1")
    client.log_batch(run_id, [metric], [param])
    client.search_runs([experiment], "tags.stage = 'warm'")
    client.create_registered_model("warm")
    client.create_model_version("warm", folder, run_id)
    client.search_model_versions("name = 'warm'")
    client.search_registered_models("name = 'warm'")
    shutil.rmtree(folder)
    logging.disable(logging.NOTSET)


def save_a_model() -> None:
    """Let MLflow list the installed packages, which it compares the requirements of each model that
    is logged or loaded with.
    """
    import mlflow

    with tempfile.TemporaryDirectory() as folder:
        mlflow.pyfunc.save_model(
            f"{folder}/model", loader_module="json", pip_requirements=["numpy"]
        )


def serve(listener: socket.socket) -> dict[str, Any] | None:
    """Answer requests until standard input is closed.

    Returns:
        The request, in a process that was forked for it; else None.
    """
    children: dict[int, socket.socket] = {}
    ended, end = socket.socketpair()
    end.setblocking(False)
    signal.set_wakeup_fd(end.fileno())
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    while True:
        ready, _, _ = select.select([listener, ended, sys.stdin, *children.values()], [], [])
        if sys.stdin in ready:
            shutil.rmtree(os.path.dirname(sys.argv[1]))
            return None
        if ended in ready:
            ended.recv(4096)
            report_ends(children)
        for process, connection in list(children.items()):
            if connection in ready and not connection.recv(1):  # who asked was killed
                os.kill(process, signal.SIGKILL)
                del children[process]
                connection.close()
        if listener in ready:
            connection, _ = listener.accept()
            request = receive(connection)
            if not is_same_start(request["environment"]):
                close(request["files"])
                connection.close()
                continue
            process = os.fork()
            if process == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for other in (connection, ended, end, *children.values()):
                    other.close()
                return request
            close(request["files"])
            children[process] = connection
            send(connection, process)


def receive(connection: socket.socket) -> dict[str, Any]:
    """A request: arguments, environment, folder, and the numbers of its three open files."""
    _, files, _, _ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as stream:
        size = int.from_bytes(stream.read(8), "big")
        return {**json.loads(stream.read(size)), "files": files}


def is_same_start(environment: dict[str, str]) -> bool:
    """Whether a new Python would start in this environment as this one did."""
    return read_at_the_start(environment) == read_at_the_start(os.environ)


def read_at_the_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name.startswith(AT_THE_START) and name not in FOLLOWED
    }


def report_ends(children: dict[int, socket.socket]) -> None:
    """Tell who asked for them of the processes that have ended, and forget these."""
    with contextlib.suppress(ChildProcessError):  # there are no others
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            process, status = ended
            if process in children:
                connection = children.pop(process)
                send(connection, status)
                connection.close()


def send(connection: socket.socket, number: int) -> None:
    """Send a line, unless the other side has gone."""
    with contextlib.suppress(OSError):
        connection.sendall(f"{number}\n".encode())


def close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def run_and_end(request: dict[str, Any]) -> None:
    """Become the process that was asked for, and end without what Python does last: to delete every
    object of the libraries copies the memory that they share with this server, and takes a third
    of a second.
    """
    try:
        run(request)
        status: Any = 0
    except SystemExit as end:
        status = 0 if end.code is None else end.code
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    # As Python does, and `multiprocessing` in the processes that it forks.
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # nobody reads: Python itself says so
        sys.exit(status)
    os._exit(status & 0xFF)


def run(request: dict[str, Any]) -> None:
    """Run the program or the code that was asked for."""
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number, file in enumerate(request["files"]):
        os.dup2(file, number)
    close(request["files"])
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    sys.executable, sys.argv = sys.argv[2], request["arguments"]
    if THREADS in os.environ:
        threadpoolctl.threadpool_limits(int(os.environ[THREADS]))
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [os.path.abspath(folder) for folder in folders if folder]
    if sys.argv[0] in PROGRAMS:
        sys.path.pop(0)  # the folder of this file
        module, main = PROGRAMS[sys.argv[0]]
        sys.exit(getattr(importlib.import_module(module), main)())
    if sys.argv[0] == "-m":
        sys.path[0] = os.getcwd()
        module, *sys.argv[1:] = sys.argv[1:]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    elif sys.argv[0] == "-c":
        sys.path[0] = ""
        code, *sys.argv[1:] = sys.argv[1:]
        sys.modules["__main__"] = main_module = types.ModuleType("__main__")
        exec(compile(code, "<string>", "exec"), vars(main_module))
    else:
        sys.path[0] = os.path.abspath(os.path.dirname(sys.argv[0]))
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
