"""Let one process at a time do something to a registered model, by notes in its tags.

MLflow has no lock. Each process notes what it is about to do in a tag, and looks for others only
then, so of two at the same moment at least one sees the other. The first by its tag waits until the
others have taken their notes back; each of these tries again later.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime

LONGEST_TURN = 20.0  # seconds; whoever takes longer has been killed


@contextlib.contextmanager
def one_at_a_time(model: str, purpose: str) -> Iterator[None]:
    """Wait until no other process has noted the same purpose, and let nobody else begin.

    Args:
        model: the name of the registered model, which exists.
        purpose: letters, digits and dots.
    """
    prefix = f"turn.{purpose}."
    deadline = time.monotonic() + LONGEST_TURN
    own = _note(model, prefix)
    try:
        while True:
            noted = _noted(model, prefix)
            if noted in ([own], []):
                break
            if time.monotonic() > deadline:
                for tag in noted:  # of processes that were killed
                    if tag != own:
                        _take_back(model, tag)
                break
            if noted[0] != own:
                _take_back(model, own)
                time.sleep(0.2 + secrets.randbelow(200) / 1000)
                own = _note(model, prefix)
            else:
                time.sleep(0.1)
        yield
    finally:
        _take_back(model, own)


def _note(model: str, prefix: str) -> str:
    import mlflow

    tag = f"{prefix}{datetime.now(UTC):%Y%m%d%H%M%S%f}.{secrets.token_hex(4)}"
    mlflow.MlflowClient().set_registered_model_tag(model, tag, "in hand")
    return tag


def _noted(model: str, prefix: str) -> list[str]:
    """The notes of all processes, the first to be made first."""
    import mlflow

    tags = mlflow.MlflowClient().get_registered_model(model).tags
    return sorted(tag for tag in tags if tag.startswith(prefix))


def _take_back(model: str, tag: str) -> None:
    """Delete a note, unless somebody took this process for a killed one and has done so."""
    import mlflow

    try:
        mlflow.MlflowClient().delete_registered_model_tag(model, tag)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
