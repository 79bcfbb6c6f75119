"""Names of files next to a URL."""

import pytest

from churn.data.urls import beside


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("scores.parquet", "scores.rejected.parquet"),
        ("batches/may", "batches/may.rejected.parquet"),
        ("/batches.v2/may.parquet", "/batches.v2/may.rejected.parquet"),
        ("s3://bucket/may.parquet", "s3://bucket/may.rejected.parquet"),
        ("s3://bucket/v1.2/may", "s3://bucket/v1.2/may.rejected.parquet"),
    ],
)
def test_a_file_next_to_another(url, expected):
    """The rejected rows go where the scores go: the two slashes of a URL stay."""
    assert beside(url, ".rejected.parquet") == expected
