"""Log the customers whom the server scored, one JSON line each, for `monitor.py --requests`.

A line has the time, the version and its md5, the customer's id and the churn probability; the
features only where they are asked for, since they are personal data. Each request is one write at
the end of the file, so that several servers can share a file, and the file may be moved away at any
time. A line that cannot be written is counted, and fails no answer.
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from churn.data.contract import SCORE_COLUMNS
from churn.errors import UserError

if TYPE_CHECKING:
    from mlflow.pyfunc import PyFuncModel

PROBABILITY = SCORE_COLUMNS[0]


@dataclass(frozen=True)
class LogSettings:
    """What is logged, and where."""

    path: Path
    about: dict[str, str]  # the version, as each line names it
    id_column: str
    inputs: tuple[str, ...] = ()  # the features that are logged
    share: float = 1.0  # of the scored customers


class RequestLog:
    """The log of one server."""

    def __init__(self, settings: LogSettings) -> None:
        """Create the file, if there is none.

        Raises:
            UserError: it cannot be written.
        """
        self.settings = settings
        self.missing = 0  # customers whose lines could not be written
        self._is_broken = False
        self._lock = threading.Lock()  # requests are answered in threads
        try:
            append(settings.path, b"")
        except OSError as error:
            raise UserError(
                f"{settings.path}, the log of requests, cannot be written: {error.strerror}; "
                "choose another file"
            ) from None

    def add(self, customers: Any, scores: pd.DataFrame) -> None:
        """Log a request that was answered.

        Args:
            customers: what MLflow made of the request: a table, or what pandas makes one of.
            scores: what the model answered, one row per customer.
        """
        try:
            lines = log_lines(self.settings, customers, scores)
            if lines:
                # A line that was cut off, by a full disk or a kill, ends before the next request.
                append(self.settings.path, ("\n" + "\n".join(lines) + "\n").encode())
        except Exception as error:  # whatever it is: the customer gets the answer
            self._report_failure(error, len(scores))
            return
        self._report_recovery()

    def _report_failure(self, error: Exception, customers: int) -> None:
        with self._lock:
            self.missing += customers
            is_new, self._is_broken = not self._is_broken, True
        if is_new:
            reason = error.strerror if isinstance(error, OSError) else repr(error)
            print(
                f"{self.settings.path}: requests cannot be logged: {reason}; they are answered",
                file=sys.stderr,
                flush=True,
            )

    def _report_recovery(self) -> None:
        with self._lock:
            is_over, self._is_broken = self._is_broken, False
        if is_over:
            print(f"{self.settings.path}: requests are logged again; {self}", file=sys.stderr)

    def __str__(self) -> str:
        return f"{self.missing:,} scored customers are missing in it"


class LoggedModel:
    """A model as MLflow's server calls it, which logs what it answered."""

    def __init__(self, model: PyFuncModel, log: RequestLog) -> None:
        self.model, self.log = model, log
        self.metadata = model.metadata

    def predict(self, data: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Score a request, and log it. A request that is refused is not logged."""
        scores: pd.DataFrame = self.model.predict(data, params=params)
        self.log.add(data, scores)
        return scores


def log_lines(settings: LogSettings, customers: Any, scores: pd.DataFrame) -> list[str]:
    """The lines of a request: those customers whom chance selects, by the share to be logged."""
    table = pd.DataFrame(customers)
    ids = _plain_values(table.reindex(columns=[settings.id_column]))
    inputs = _plain_values(table.reindex(columns=list(settings.inputs)))
    now = datetime.now(UTC).isoformat(timespec="milliseconds")

    lines = []
    for row, probability in enumerate(scores[PROBABILITY].tolist()):
        if settings.share < 1 and random.random() >= settings.share:
            continue
        line = {"time": now, **settings.about, "id": ids[row].get(settings.id_column)}
        line[PROBABILITY] = probability
        if settings.inputs:
            line["inputs"] = inputs[row]
        lines.append(json.dumps(line, default=_plain_number))
    return lines


def _plain_values(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table, with None for each null."""
    values = table.astype(object)
    rows: list[dict[str, Any]] = values.where(table.notna(), None).to_dict("records")
    return rows


def _plain_number(value: Any) -> Any:
    """A number of numpy as JSON has it."""
    return value.item()


def append(path: Path, content: bytes) -> None:
    """Add bytes to the end of a file by one write, after whatever another process wrote.

    Raises:
        OSError: not all of it could be written.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        while content:  # a full disk takes a part, and refuses the rest
            content = content[os.write(descriptor, content) :]
    finally:
        os.close(descriptor)
