"""What identifies the data of a model, for why.py."""

from churn.forensics.snapshot import Snapshot


def test_labelling_belongs_to_the_data(tmp_path):
    """Two models differ in their data where another label means that a customer stayed.

    A checkout that is older than these parameters does not.
    """
    roles = {"data.id": "id", "data.target": "left", "data.positive": "Yes"}
    default = {"data.negative": None, "data.unlabelled": "refuse", "data.time": None}
    older, today, other = (
        Snapshot(None, tmp_path, {}, {}, roles | settings, None)
        for settings in ({}, default, {"data.negative": ["No", "yes"]})
    )
    assert older.data_settings == today.data_settings == ["id", "left", "Yes"]
    assert other.data_settings != today.data_settings
    assert older.labelling == default
