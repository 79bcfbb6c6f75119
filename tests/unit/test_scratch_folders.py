"""Temporary folders that killed processes left."""

from churn.tracking import leftovers


def test_abandoned_ones_are_removed(tmp_path):
    """One that nobody holds is removed, one that is in use stays."""
    (tmp_path / ".prepared-dead/sub").mkdir(parents=True)
    with leftovers.scratch_folder(tmp_path, ".prepared-") as ours:
        assert list(tmp_path.iterdir()) == [ours]
        with leftovers.scratch_folder(tmp_path, ".prepared-") as other:
            assert sorted(tmp_path.iterdir()) == sorted([ours, other])
    assert list(tmp_path.iterdir()) == []
