"""The part of the lock that a model needs, for a container that has nothing else."""

import re
import sys
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, requires

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from churn.errors import UserError

# Where a container runs, whatever this machine is.
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
ENTRY = re.compile(r"^([\w.-]+)==.*\n(?:    --hash=.*\n)+", re.M)


def locked_closure(pins: list[str], lock: str) -> str:
    """The entries of a lock for some packages and for all that these need, with their hashes.

    What a package needs is read from the installed one, so the environment must be the lock's.

    Args:
        pins: as in a model's requirements.txt, each "name==version".
        lock: the text of the lock, as `make lock` writes it.

    Raises:
        UserError: a package is not installed, or not locked as it is pinned.
    """
    entries: dict[str, str] = {}
    for match in ENTRY.finditer(lock):
        entries[canonicalize_name(match[1])] = match[0]
    for pin in pins:
        requirement = Requirement(pin)
        entry = entries.get(canonicalize_name(requirement.name), "")
        version = str(requirement.specifier).removeprefix("==")
        if not re.match(rf"[\w.-]+=={re.escape(version)}[ ;\\]", entry):
            raise UserError(f"the model needs {pin}, which requirements.txt does not pin so")

    names = _needed_packages([Requirement(pin) for pin in pins], entries.keys())
    return "".join(entries[name] for name in sorted(names) if name in entries)


def _needed_packages(requirements: list[Requirement], locked: Collection[str]) -> set[str]:
    """The normalized names of packages and of all that they need on LINUX."""
    seen: set[tuple[str, str]] = set()  # a package, and one of its extras or ""
    waiting = list(requirements)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += _direct_needs(name, extra, locked)
    return {name for name, _ in seen}


def _direct_needs(name: str, extra: str, locked: Collection[str]) -> list[Requirement]:
    try:
        texts = requires(name) or []
    except PackageNotFoundError:
        if name in locked and sys.platform != "linux":  # one for Linux alone, which needs no other
            return []
        raise UserError(f"{name} is not installed; `make install` builds the environment") from None
    needs = [Requirement(text) for text in texts]
    return [
        need for need in needs if not need.marker or need.marker.evaluate(LINUX | {"extra": extra})
    ]
