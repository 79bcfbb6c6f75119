"""Ids in the log of a server, as its callers wrote them: none is taken for another one."""

import pyarrow as pa

from churn.operations.logged_requests import _to_type

WRITTEN = [7, 7.0, "7", "7.0", " 7", "--5", "seven", "9" * 20, 2**63, 2.0**60, None, True]


def test_logged_ids_as_numbers():
    """The model ignores an id, so a log has whatever a caller wrote."""
    read = _to_type(WRITTEN, pa.int64()).to_pylist()
    assert read == [7, 7, 7, 7, 7, None, None, None, None, None, None, None]


def test_logged_ids_as_texts():
    """Beside a null, pandas has made 7.0 of a caller's 7."""
    read = _to_type([7, 7.0, "7.0", None, 2.0**60], pa.string()).to_pylist()
    assert read == ["7", "7", "7.0", None, None]
