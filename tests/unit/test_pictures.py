"""The switch that lets a run of the pipeline leave out drawing."""

from churn.tracking import pictures


def test_nothing_is_drawn(monkeypatch):
    """No process is started (a unit test that starts one fails), and there is no folder to log."""
    monkeypatch.setenv("CHURN_SKIP_PLOTS", "1")
    with pictures.drawing() as finish:
        assert finish() is None
