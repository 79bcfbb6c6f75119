"""Find files behind paths and URLs (fsspec), and say what is wrong where one is not transferred."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from churn.errors import UserError


def locate(url: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it.

    Raises:
        UserError: nothing that is installed opens such a URL.
    """
    try:
        return fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: {error}") from None


def beside(url: str, ending: str) -> str:
    """The path or URL of a file next to another one: its name with another ending."""
    folder, slash, name = url.rstrip("/").rpartition("/")
    return f"{folder}{slash}{Path(name).with_suffix(ending)}"


@contextmanager
def bucket_errors(url: str, done: str) -> Iterator[None]:
    """Explain why a bucket does not give or take a file.

    Args:
        done: what cannot be done to it: "read" or "written".

    Raises:
        UserError: the bucket does not let this user, cannot be reached, or knows no such user.
    """
    try:
        yield
    except PermissionError as error:
        if "://" not in url:
            raise
        raise UserError(
            f"{url} cannot be {done} ({error}): these keys do not open it, or there is no such "
            "bucket"
        ) from None
    except Exception as error:
        if type(error).__module__ != "botocore.exceptions":  # which s3fs lets through
            raise
        raise UserError(
            f"{url} cannot be {done} ({error}); AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY say where the bucket is and who you are"
        ) from None
