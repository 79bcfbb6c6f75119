"""Run pieces of code at the same moment, each in a process and a folder of its own."""

import contextlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from conftest import warm_environment

# Imports once, then forks one process for each piece; they all begin at one moment.
FORKING = """
import json, os, sys, time
import mlflow, evaluate
from churn.tracking import registry, store

def start(folder, arguments, code, at):
    if child := os.fork():
        return child
    os.chdir(folder)
    sys.argv = arguments
    said = open("said.txt", "w", buffering=1)
    os.dup2(said.fileno(), 1), os.dup2(said.fileno(), 2)
    try:
        time.sleep(max(0, at - time.time()))
        exec(code)
        os._exit(0)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(1)

for line in sys.stdin:
    at = time.time() + 0.2
    children = [start(*what, at) for what in json.loads(line)]
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    print(json.dumps(codes), flush=True)
"""

Piece = tuple[Path, list[str], str]  # folder, command line, code


@contextlib.contextmanager
def starter(address: str, folder: Path) -> Iterator[Callable[..., tuple[list[int], list[str]]]]:
    """A function that runs pieces of code at the same moment: exit codes, and what each printed.

    Args:
        address: the MLflow server of all of them.
        folder: the project whose code they import.
    """
    env = {
        **os.environ,
        "MLFLOW_TRACKING_URI": address,
        "PYTHONPATH": os.pathsep.join([str(folder / "src"), os.environ.get("PYTHONPATH", "")]),
        "OMP_NUM_THREADS": "1",
    }
    command = [warm_environment() / "bin/python", "-c", FORKING]
    with subprocess.Popen(
        command, cwd=folder, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:

        def call(*pieces: Piece) -> tuple[list[int], list[str]]:
            listed = [(str(where), *rest) for where, *rest in pieces]
            print(json.dumps(listed), file=one.stdin, flush=True)
            codes = json.loads(one.stdout.readline())
            return codes, [(where / "said.txt").read_text() for where, *_ in pieces]

        yield call
        one.stdin.close()
