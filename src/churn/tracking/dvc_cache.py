"""Files that DVC tracks, by their md5: from the cache or from a remote."""

import os
import shutil
from pathlib import Path

from churn.errors import UserError
from churn.files import is_intact


def fetch_to_cache(digest: str, what: str) -> Path:
    """A file that DVC tracks, by its md5: in DVC's cache, brought there where the cache has none or
    a damaged one.

    Raises:
        UserError: as `bring`.
    """
    path = cache_path(digest)
    if is_intact(path, digest):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        copy_tracked_file(digest, part, what)
        part.chmod(0o444)  # as DVC keeps them
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def copy_tracked_file(digest: str, target: Path, what: str) -> None:
    """Copy a file that DVC tracks to `target`, by its md5: from DVC's cache, else from the first
    remote with an intact copy. DVC itself believes the name of a file. The cache stays as it is.

    Raises:
        UserError: no place that DVC knows has an intact copy; the message names the places.
    """
    from dvc.repo import Repo

    path = cache_path(digest)
    asked = [f"DVC's cache ({f'damaged: {path}' if path.exists() else 'it has none'})"]
    if is_intact(path, digest):
        shutil.copyfile(path, target)
        return
    with Repo() as repo:
        for remote in repo.config["remote"]:
            try:
                store = repo.cloud.get_remote_odb(remote)
                found = store.exists(digest)
                if found:
                    store.fs.get_file(store.oid_to_path(digest), str(target))
                if is_intact(target, digest):
                    return
                answer = "damaged" if found else "it has none"
            except (
                Exception
            ) as error:  # each kind of store has errors of its own; the next may have the file
                answer = f"it failed: {error}"
            asked.append(
                f"the remote {remote} at {repo.config['remote'][remote]['url']} ({answer})"
            )
    target.unlink(missing_ok=True)
    raise UserError(
        f"{what} (md5 {digest}) is intact in none of the places that DVC knows: {', '.join(asked)}. Whoever has it "
        "must `dvc push` it; where the workspace still has it, delete the damaged file and `dvc commit` puts it back"
    )


def cache_path(digest: str) -> Path:
    """Where DVC's cache has, or would have, the file of this md5."""
    from dvc.repo import Repo

    with Repo() as repo:
        return Path(repo.cache.local.oid_to_path(digest))
