"""The environment of another model: this process's own, or one that is built from its lock and
kept.
"""

import contextlib
import os
import shutil
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from churn.errors import UserError
from churn.files import md5
from churn.forensics import workspace


def environment_for(folder: Path) -> Path:
    """The bin folder of an environment with a workspace's locked packages: this process's own when
    it is that one, else one that is built from the lock, once, and kept in the user's cache.

    Raises:
        UserError: it cannot be built, with what the installer says (a package that is no longer on
            the index).
    """
    lock = folder / "requirements.txt"
    if md5(_own_lock()) == md5(lock) and not _moved(folder):
        return Path(sys.executable).parent
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    kept = (
        caches
        / "churn-environments"
        / f"{md5(lock)}-{sys.version_info.major}.{sys.version_info.minor}"
    )
    if not kept.exists():
        print(
            f"building the environment of lock {md5(lock)[:8]}; it is kept in {kept}",
            file=sys.stderr,
        )
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f"{kept.name}.{os.getpid()}.part")  # renamed when it is whole
        try:
            _install(part, lock)
            with contextlib.suppress(OSError):  # another process was faster
                part.rename(kept)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return kept / "bin"


def _own_lock() -> Path:
    """The lock that this environment was made from: the Makefile leaves a copy in it."""
    copy = Path(sys.prefix, "requirements.txt")
    return copy if copy.exists() else Path("requirements.txt")


def _moved(folder: Path) -> bool:
    """Whether a package that a workspace pins has another version in this process's environment."""
    pins = tomllib.loads((folder / "pyproject.toml").read_text())["project"]["dependencies"]
    try:
        return any(version(pin.split("==")[0]) != pin.split("==")[1] for pin in pins)
    except PackageNotFoundError:
        return True


def _install(target: Path, lock: Path) -> None:
    if shutil.which("uv"):
        make = ["uv", "venv", "--quiet", "--python", sys.executable, str(target)]
        fill = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(target)]
        fill += ["--require-hashes", "-r", str(lock)]
    else:
        make = [sys.executable, "-m", "venv", str(target)]
        fill = [
            str(target / "bin/python"),
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        fill += ["--require-hashes", "-r", str(lock)]
    for command in (make, fill):
        result = workspace.execute(command, folder=Path.cwd(), env=dict(os.environ))
        if result.returncode:
            tail = "\n".join(result.stdout.strip().splitlines()[-12:])
            raise UserError(f"the environment of lock {md5(lock)} cannot be built here:\n{tail}")
