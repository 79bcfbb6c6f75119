"""Ids as callers and tables write them: none is taken for another one, and none is a traceback."""

import pyarrow as pa
import pytest

from churn.data.arrow import convert_column
from churn.data.checks import duplicate_ids

# only operations
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


# end
def test_a_table_without_a_readable_row():
    """There is no batch, and so no id twice."""
    assert duplicate_ids(lambda: iter([])) == {}


@pytest.mark.parametrize("wanted", [pa.timestamp("ns"), pa.string()])
def test_texts_of_other_libraries(wanted):
    """Arrow's string_view, as Polars writes it, becomes what a string becomes."""
    texts = pa.array(["2026-11-30", None])
    assert convert_column(texts.cast(pa.string_view()), wanted) == convert_column(texts, wanted)
