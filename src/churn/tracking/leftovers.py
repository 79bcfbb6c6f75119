"""What a killed process leaves behind: MLflow runs that stay RUNNING, and temporary folders.

Each is held by a lock on a file (flock), which the system releases when the process ends, however
it ends. So a living process is never taken for a dead one: not in another container, and not where
the system has given its process id to another.

A stage whose `dvc` was killed ends as well (`end_with_dvc`).
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import psutil

from churn.files import text_md5

WATCH_SECONDS = 0.2


class Note(TypedDict):
    """The content of a note: the runs on which one process works."""

    store: str  # the md5 of the URI of the MLflow store, which may hold a password
    runs: list[str]  # run ids


def end_with_dvc() -> None:
    """End this stage when the `dvc` that started it has ended before it, as after `kill -9`.

    Otherwise it would go on, and write its outputs while the next `dvc repro` writes them too.
    """
    if "DVC_STAGE" not in os.environ:  # a person started it
        return
    dvc_has_ended = watch_starter()

    def watch() -> None:
        while not dvc_has_ended():
            time.sleep(WATCH_SECONDS)
        print("error: dvc, which started this stage, was killed", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def watch_starter() -> Callable[[], bool]:
    """Remember which process started this command.

    That is the parent, or what started the parent: `dvc` and `mlflow run` hand the command to a
    shell. bash becomes the command; other shells, such as cron's, wait for it, and would outlive
    the process that started them.

    Returns:
        A function that tells whether it has ended. (Of process 1 it cannot tell.)
    """
    child = psutil.Process()
    parent = child.parent()
    if parent is not None and "-c" in parent.cmdline() and sys.argv[0] in parent.cmdline()[-1]:
        child = parent
    starter = child.ppid()

    def has_ended() -> bool:
        try:
            return child.ppid() != starter
        except psutil.NoSuchProcess:  # the shell
            return True

    return has_ended


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Let one process at a time look for leftovers in a folder and add its own notes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # a read-only project: nothing is noted there
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Create a temporary folder in `parent`, and remove those that killed processes left there.

    Args:
        prefix: the beginning of the names of this and of the abandoned folders.
    """
    with exclusive(parent):
        for folder in parent.glob(f"{prefix}*"):
            _remove_abandoned(folder)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        lock = _try_lock(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


@dataclass(frozen=True)
class HeldNote:
    """The note of this process, as long as it works on runs."""

    path: Path
    lock: int | None  # a file descriptor; None where there are no locks

    def release(self, keep: bool = False) -> None:
        """End it; with `keep` it stays, as that of a killed process does."""
        if not keep:
            self.path.unlink(missing_ok=True)
        if self.lock is not None:
            os.close(self.lock)


def note_runs(folder: Path, store: str, run_ids: Iterable[str]) -> HeldNote:
    """Note that this process works on these runs of an MLflow store.

    Call it within `exclusive(folder)`.
    """
    path = folder / f"{uuid.uuid4().hex}.json"
    with contextlib.suppress(OSError):  # a read-only project: nothing is noted there
        path.write_text(json.dumps(Note(store=text_md5(store), runs=list(run_ids))))
    return HeldNote(path, _try_lock(path))


def abandoned_runs(folder: Path, store: str) -> dict[str, list[Path]]:
    """The runs of a store on which only dead processes worked.

    Call it within `exclusive(folder)`.

    Returns:
        {run id: the notes that name it}. The notes can be deleted once the runs are closed.
    """
    living: set[str] = set()
    notes_of_dead: dict[str, list[Path]] = {}
    for path in folder.glob("*.json"):
        lock = _try_lock(path)
        note = _read_note(path)
        if lock is None:
            living |= set(note["runs"])
            continue
        os.close(lock)
        if not note["runs"]:
            path.unlink(missing_ok=True)
        if note["store"] == text_md5(store):
            for run_id in note["runs"]:
                notes_of_dead.setdefault(run_id, []).append(path)
    return {run_id: notes for run_id, notes in notes_of_dead.items() if run_id not in living}


def living_runs(folder: Path) -> set[str]:
    """The runs on which a living process works, this one included."""
    living: set[str] = set()
    for path in folder.glob("*.json"):
        lock = _try_lock(path)
        if lock is None:
            living |= set(_read_note(path)["runs"])
        else:
            os.close(lock)
    return living


def _try_lock(path: Path) -> int | None:
    """Open a file or folder and lock it.

    Returns:
        The file descriptor, or None where another process holds the lock or there are no locks.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_abandoned(folder: Path) -> None:
    """Remove a temporary folder, unless a living process holds it."""
    lock = _try_lock(folder)
    if lock is not None:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def _read_note(path: Path) -> Note:
    try:
        note: Note = json.loads(path.read_text())
    except (OSError, ValueError):  # its process has just ended, or was killed while it wrote
        return Note(store="", runs=[])
    return note
