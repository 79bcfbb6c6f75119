"""What a process that was killed leaves behind: MLflow runs that stay RUNNING, and temporary
folders.

Each is held by a lock on a file (flock), which the system lets go when the process ends, however it
ends. So a living process is never taken for a dead one, be it in another container or under a
number that was given away again.
"""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path


def _locked(path: Path) -> int | None:
    """A file or folder, opened with its lock; None where a process holds it, or where there are no
    locks.
    """
    try:
        opened = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """One process at a time looks for leftovers in a folder and adds what it will hold itself."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = os.open(folder, os.O_RDONLY)
    except OSError:  # a project that may only be read: nothing is noted there
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


@contextlib.contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A temporary folder in `parent`.

    Those with this prefix that killed processes left are removed first.
    """
    with exclusive(parent):
        for left in parent.glob(f"{prefix}*"):
            if (lock := _locked(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        lock = _locked(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def note_runs(folder: Path, store: str, run_ids: Iterable[str]) -> contextlib.ExitStack:
    """Note that this process works on these runs of an MLflow store, until the stack that is
    returned is closed.

    Call it within `turn(folder)`.
    """
    held = contextlib.ExitStack()
    path = folder / f"{uuid.uuid4().hex}.json"
    with contextlib.suppress(OSError):
        path.write_text(json.dumps({"store": store, "runs": list(run_ids)}))
        held.callback(path.unlink, missing_ok=True)
        if (lock := _locked(path)) is not None:
            held.callback(os.close, lock)
    return held


def abandoned_runs(folder: Path, store: str) -> dict[str, list[Path]]:
    """The runs of a store on which only dead processes worked, with the notes that name them.

    Those can be deleted once the runs are closed. Call it within `turn(folder)`.
    """
    alive, dead = set(), {}
    for path in folder.glob("*.json"):
        lock, noted = _locked(path), _read(path)
        if lock is None:
            alive |= set(noted["runs"])
            continue
        os.close(lock)
        if not noted["runs"]:
            path.unlink(missing_ok=True)
        if noted["store"] == store:
            for run_id in noted["runs"]:
                dead.setdefault(run_id, []).append(path)
    return {run_id: paths for run_id, paths in dead.items() if run_id not in alive}


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):  # its process is just gone, or was killed while it wrote
        return {"store": "", "runs": []}
