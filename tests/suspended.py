"""Commands of which a stage suspends itself while it works: for tests of what happens meanwhile."""

import contextlib
import os
import subprocess
import time

import psutil

from conftest import BIN, Project

# Python imports this when it starts. The stage named by SUSPEND suspends itself at work: when it
# opens its first input or output after it has noted its MLflow run. So a busy machine changes
# nothing.
SUSPENDING = """
import os, signal, sys
from pathlib import Path

noted = suspended = False

def suspend(event, arguments):
    global noted, suspended
    if event != "open" or suspended or sys.argv[0] != os.environ["SUSPEND"]:
        return
    path, mode, _ = arguments
    folders = Path(path).parts if isinstance(path, str) else ()
    if "open-runs" in folders:
        noted = noted or mode == "w"
    elif noted and folders[:1] in (("data",), ("models",)):
        suspended = True
        os.kill(os.getpid(), signal.SIGSTOP)

if "SUSPEND" in os.environ:
    sys.addaudithook(suspend)
"""


def start_suspended(
    project: Project, stage: str, *command: str, shell: str = "bash"
) -> tuple[subprocess.Popen, psutil.Process]:
    """Start a command, and wait until a stage of it is suspended at work.

    Args:
        shell: the one by which DVC starts the stage.

    Returns:
        The command, and the process of the stage.
    """
    hook = project.folder.with_name("suspending")
    hook.mkdir(exist_ok=True)
    (hook / "sitecustomize.py").write_text(SUSPENDING)
    dvc = subprocess.Popen(
        command,
        cwd=project.folder,
        env={
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "SHELL": shell,
            "PYTHONPATH": str(hook),
            "SUSPEND": f"src/{stage}.py",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    while dvc.poll() is None:
        for process in psutil.Process(dvc.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):  # it has ended
                if process.status() == psutil.STATUS_STOPPED:
                    return dvc, process
        time.sleep(0.1)
    raise AssertionError(f"{stage} was not seen at work: {dvc.communicate()[0]}")
