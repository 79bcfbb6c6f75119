"""Temporary checkouts of why.py and reproduce.py."""

import tempfile

from churn.forensics import workspace


def test_checkouts_of_killed_rebuilds(tmp_path, monkeypatch):
    """What a killed reproduce.py or why.py left in the folder of temporary files goes with the next
    one.
    """
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with workspace.temporary() as living:
        (tmp_path / "churn-rebuild-dead/project").mkdir(parents=True)
        with workspace.temporary() as ours:
            assert sorted(tmp_path.iterdir()) == sorted([living, ours])
    assert list(tmp_path.iterdir()) == []
