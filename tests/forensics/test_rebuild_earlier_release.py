"""A version that the release before the packages registered is rebuilt by this code, md5 by md5."""

import pytest

import earlier_release
from conftest import Project

pytestmark = pytest.mark.sample


def test_a_version_of_the_earlier_release_is_rebuilt(once, tmp_path):
    """Its own commit's code runs in a temporary clone and gives the recorded splits and model."""
    earlier_release.skip_without_history()
    built = Project(once("earlier_release", earlier_release.build_earlier_release))
    project = built.copy(tmp_path)
    (version,) = project.versions()
    assert "src/churn/model.py" in version.tags["train.inputs"]

    printed = project.out("python", "src/reproduce.py", "models:/ChurnXGB@staging")

    assert "identical: data, splits, model and metrics are those that were recorded" in printed
    (version,) = project.versions()
    assert version.tags["reproduced"] == "identical"
