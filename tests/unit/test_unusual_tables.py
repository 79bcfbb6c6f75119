"""Tables and texts that other libraries write: none is a traceback."""

import pyarrow as pa
import pytest

from churn.data.arrow import convert_column
from churn.data.checks import duplicate_ids


def test_a_table_without_a_readable_row():
    """There is no batch, and so no id twice."""
    assert duplicate_ids(lambda: iter([])) == {}


@pytest.mark.parametrize("wanted", [pa.timestamp("ns"), pa.string()])
def test_texts_of_other_libraries(wanted):
    """Arrow's string_view, as Polars writes it, becomes what a string becomes."""
    texts = pa.array(["2026-11-30", None])
    assert convert_column(texts.cast(pa.string_view()), wanted) == convert_column(texts, wanted)
