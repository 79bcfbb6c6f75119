"""Give the Python environment of another model: this process's own, or one built from its lock."""

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

LAST_LINES = 12  # of what an installer printed


def environment_for(folder: Path) -> Path:
    """The bin folder of an environment with a workspace's locked packages.

    It is this process's own if that has them. Else one is built from the lock, once, and kept in
    the user's cache.

    Raises:
        UserError: it cannot be built, with what the installer says (a package that is no longer on
            the index, say).
    """
    lock = folder / "requirements.txt"
    lock_md5 = md5(lock)
    if md5(_own_lock()) == lock_md5 and _has_pinned_versions(folder):
        return Path(sys.executable).parent

    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"{lock_md5}-{sys.version_info.major}.{sys.version_info.minor}"
    environment = caches / "churn-environments" / name
    if not environment.exists():
        print(
            f"building the environment of lock {lock_md5[:8]}; it is kept in {environment}",
            file=sys.stderr,
        )
        _build(environment, lock)
    return environment / "bin"


def _own_lock() -> Path:
    """The lock from which this environment was made: the Makefile leaves a copy in it."""
    copy = Path(sys.prefix, "requirements.txt")
    return copy if copy.exists() else Path("requirements.txt")


def _has_pinned_versions(folder: Path) -> bool:
    """Whether this environment has the versions that a workspace's pyproject.toml pins."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    for pin in project["dependencies"]:
        name, wanted = pin.split("==")
        try:
            if version(name) != wanted:
                return False
        except PackageNotFoundError:
            return False
    return True


def _build(environment: Path, lock: Path) -> None:
    """Build an environment beside its place, and rename it when it is whole."""
    environment.parent.mkdir(parents=True, exist_ok=True)
    part = environment.with_name(f"{environment.name}.{os.getpid()}.part")
    try:
        _install(part, lock)
        with contextlib.suppress(OSError):  # another process was faster
            part.rename(environment)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _install(target: Path, lock: Path) -> None:
    """Install the packages of a lock into a new environment, with uv if it is there, else pip."""
    python = str(target / "bin/python")
    if shutil.which("uv"):
        create = ["uv", "venv", "--quiet", "--python", sys.executable, str(target)]
        install = ["uv", "pip", "install", "--quiet", "--compile-bytecode", "--python", str(target)]
    else:
        create = [sys.executable, "-m", "venv", str(target)]
        install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    install += ["--require-hashes", "-r", str(lock)]
    for command in (create, install):
        result = workspace.execute(command, folder=Path.cwd(), env=dict(os.environ))
        if result.returncode:
            tail = "\n".join(result.stdout.strip().splitlines()[-LAST_LINES:])
            raise UserError(f"the environment of lock {md5(lock)} cannot be built here:\n{tail}")
