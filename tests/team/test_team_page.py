"""docs/team.md, from the services to their backup, with what it shows."""

import pytest

from conftest import Project
from pages import follow
from team_services import Services, missing_part

pytestmark = pytest.mark.sample


@pytest.mark.skipif(bool(missing_part()), reason=missing_part())
def test_the_page(pipeline, tmp_path):
    """docs/team.md: services, accounts, remote, promotion, scores, a colleague, backup and restore;
    afterwards nothing runs any more, and git is clean.
    """
    clone: Project = pipeline.copy(tmp_path / "clone")
    clone.use_environment()
    (clone.folder / ".dvc/config.local").unlink()  # which lets tests push to a folder
    services = Services(clone.folder / ".team")
    try:
        follow("docs/team.md", clone)
        assert services.status().count("not running") == 3
    finally:
        services.remove()
    assert clone.out("git", "status", "--short") == ""
