"""docs/upkeep.md on the real services: from one person's store to the server, and `clean_up.py`."""

import pytest

from pages import follow

pytestmark = pytest.mark.sample


def test_the_page(on_services, pipeline, tmp_path, monkeypatch):
    """Every command runs and prints what the page shows; the server then has the version, and the
    remote the data.
    """
    project = pipeline.copy(tmp_path / "solo")
    project.use_environment()
    (project.folder / ".team").symlink_to(on_services.folder)
    for name in on_services.env:  # the page sets them
        monkeypatch.delenv(name)
    follow("docs/upkeep.md", project)
    (version,) = project.versions()
    digest = version.tags["model_md5"]
    assert (project.folder / "storage/files/md5" / digest[:2] / digest[2:]).exists()

    project.uri = on_services.env["MLFLOW_TRACKING_URI"]
    for name, value in on_services.env.items():
        monkeypatch.setenv(name, value)
    assert [found.tags for found in project.versions()] == [version.tags]
    assert project.alias("staging") == "1"
