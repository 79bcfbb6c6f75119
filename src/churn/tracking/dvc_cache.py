"""Files that DVC tracks, by their md5: from the cache or from a remote.

DVC has no public function that finds a file by its md5. `copy_tracked_file` and `cache_path` use
what `dvc pull` itself uses: the object databases of `dvc.repo.Repo`. A release of DVC that renames
them breaks the first `make repro`, and whatever reads the data of an earlier model, in these two
functions.
"""

import os
import shutil
from pathlib import Path
from typing import Any

from churn.errors import UserError
from churn.files import is_intact


def fetch_to_cache(digest: str, description: str) -> Path:
    """The path of a tracked file in DVC's cache; a missing or damaged one is brought there first.

    Args:
        digest: the md5 of the file.
        description: the file as a message names it.

    Raises:
        UserError: as `copy_tracked_file`.
    """
    path = cache_path(digest)
    if is_intact(path, digest):
        return path

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        copy_tracked_file(digest, part, description)
        part.chmod(0o444)  # as DVC keeps them
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def copy_tracked_file(digest: str, target: Path, description: str) -> None:
    """Copy a tracked file to `target`: from DVC's cache, else from the first remote that has it.

    Each copy is checked against its md5, which DVC itself does not do. The cache stays as it is.

    Args:
        digest: the md5 of the file.
        description: the file as a message names it.

    Raises:
        UserError: no place that DVC knows has an intact copy; the message names the places.
    """
    from dvc.repo import Repo

    path = cache_path(digest)
    if is_intact(path, digest):
        shutil.copyfile(path, target)
        return

    state = f"damaged: {path}" if path.exists() else "it has none"
    places = [f"DVC's cache ({state})"]
    with Repo() as repo:
        for remote in repo.config["remote"]:
            state = _download(repo, remote, digest, target)
            if state == "intact":
                return
            places.append(
                f"the remote {remote} at {repo.config['remote'][remote]['url']} ({state})"
            )
    target.unlink(missing_ok=True)
    raise UserError(
        f"{description} (md5 {digest}) is intact in none of the places that DVC knows: "
        f"{', '.join(places)}. Whoever has it must `dvc push` it; where the workspace still has "
        "it, delete the damaged file and `dvc commit` puts it back"
    )


def _download(repo: Any, remote: str, digest: str, target: Path) -> str:
    """Copy a file from a remote to `target`, if the remote has it.

    Returns:
        "intact", or what is wrong with the remote's copy.
    """
    try:
        store = repo.cloud.get_remote_odb(remote)
        if not store.exists(digest):
            return "it has none"
        store.fs.get_file(store.oid_to_path(digest), str(target))
    except Exception as error:  # each kind of remote has errors of its own
        return f"it failed: {error}"
    return "intact" if is_intact(target, digest) else "damaged"


def cache_path(digest: str) -> Path:
    """The path at which DVC's cache has, or would have, the file of this md5."""
    from dvc.repo import Repo

    with Repo() as repo:
        return Path(repo.cache.local.oid_to_path(digest))
