"""Repeat a write of MLflow that failed because another process wrote at the same moment."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

TRIES = 5
# How SQLite and PostgreSQL report that a row is there already, and SQLite that it is being written.
CONFLICTS = ("IntegrityError", "UniqueViolation", "database is locked")


def retry_write(
    write: Callable[Arguments, Result], *arguments: Arguments.args, **named: Arguments.kwargs
) -> Result:
    """Call a write of MLflow, and again if it failed because another process wrote meanwhile.

    MLflow's stores look for a row and then insert it, so two processes may both insert it.
    """
    import mlflow

    for attempt in range(TRIES - 1):
        try:
            return write(*arguments, **named)
        except mlflow.MlflowException as error:
            if not any(sign in str(error) for sign in CONFLICTS):
                raise
            time.sleep(0.1 * 2**attempt)
    return write(*arguments, **named)
