"""Start processes that outlive their command, and find them again; ports and private files."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import socket
import subprocess
from pathlib import Path
from typing import Any

import psutil

HOST = "127.0.0.1"


def start(command: list[str], env: dict[str, str], log: Path) -> int:
    """Start a process of its own, which outlives this one and Ctrl-C; its id."""
    with log.open("a") as output:
        process = subprocess.Popen(
            command, env=env, stdout=output, stderr=output, start_new_session=True
        )
    return process.pid


def remember(folder: Path, name: str, process_id: int) -> None:
    """Note a process with its time of creation: the number alone may become another's."""
    created = _seconds_after_boot(psutil.Process(process_id))
    (folder / f"{name}.json").write_text(json.dumps({"process": process_id, "created": created}))


def running(folder: Path, name: str) -> psutil.Process | None:
    """The process that was started for a service, while it runs."""
    process = _process(folder, name)
    if process is None or process.status() == psutil.STATUS_ZOMBIE:
        return None
    return process


def family(folder: Path, name: str) -> list[psutil.Process]:
    """What runs of a service: its process and those that it started, also after its own end."""
    process = running(folder, name)
    if process:
        return [process, *process.children(recursive=True)]
    group = _noted(folder, name).get("process")
    if group is None or (psutil.pid_exists(group) and _process(folder, name) is None):
        return []  # the number is another program's by now
    members = []
    for member in psutil.process_iter():
        with contextlib.suppress(ProcessLookupError):  # it ended in between
            if os.getpgid(member.pid) == group and member.pid != group:
                members.append(member)
    return members


def _process(folder: Path, name: str) -> psutil.Process | None:
    """A service's process, also one that ended and that the system still lists."""
    noted = _noted(folder, name)
    if not noted or not psutil.pid_exists(noted["process"]):
        return None
    process = psutil.Process(noted["process"])
    is_same = abs(_seconds_after_boot(process) - noted["created"]) < 1
    return process if is_same else None


def _seconds_after_boot(process: psutil.Process) -> float:
    """When a process began. The hour by the clock changes when somebody sets the clock."""
    return process.create_time() - psutil.boot_time()


def _noted(folder: Path, name: str) -> dict[str, Any]:
    """The number and the time of creation of a service's process; empty if there was none."""
    path = folder / f"{name}.json"
    noted: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return noted


def answers(port: str) -> bool:
    """Whether something listens on a port of this machine."""
    with socket.socket() as client:
        return client.connect_ex((HOST, int(port))) == 0


def free_port() -> str:
    """A port on which nothing listens."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return str(free.getsockname()[1])


def write_exports(path: Path, values: dict[str, str]) -> None:
    """Write variables as a file that a shell reads with `source`, and only its owner."""
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
    write_private(path, "".join(lines))


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_text(text)


def make_private(folder: Path) -> None:
    """Make a folder that only its owner enters: passwords, models and customers lie below it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
