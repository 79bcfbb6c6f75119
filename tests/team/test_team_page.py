"""docs/team.md, from the services to their backup, with what it shows."""

import mlflow
import pytest

from conftest import Project
from pages import follow
from team_services import Services, missing_part

pytestmark = [
    pytest.mark.sample,
    pytest.mark.skipif(bool(missing_part()), reason=missing_part()),
]

ELSEWHERE = """
mkdir -m 700 .team
cp ../backup/settings.json ../backup/credentials ../backup/database .team
make team-up
source .team/database
python deploy/services.py down mlflow
pg_restore --clean --if-exists --exit-on-error --dbname mlflow ../backup/mlflow.dump
cp -r ../backup/buckets .team
make team-up
"""


@pytest.fixture(scope="module")
def clone(pipeline, tmp_path_factory) -> Project:
    """A clone in which somebody followed the whole page, beside its backup and a colleague."""
    clone: Project = pipeline.copy(tmp_path_factory.mktemp("team-page") / "clone")
    clone.use_environment()
    (clone.folder / ".dvc/config.local").unlink()  # which lets tests push to a folder
    services = Services(clone.folder / ".team")
    try:
        follow("docs/team.md", clone)
        assert services.status().count("not running") == 3
    finally:
        services.remove()
    return clone


def test_the_page(clone):
    """Services, accounts, remote, promotion, scores, a colleague, backup and restore: afterwards
    nothing runs any more (see `clone`), and git is clean.
    """
    assert clone.out("git", "status", "--short") == ""


def test_the_backup_comes_back_on_another_machine(clone, monkeypatch):
    """In another folder with an empty database: the version, its alias, its files, and who may ask
    for them.
    """
    colleague = Project(clone.folder.with_name("colleague"))
    colleague.use_environment()
    services = Services(colleague.folder / ".team")
    try:
        colleague.out("bash", "-euc", f"source .venv/bin/activate\n{ELSEWHERE}")
        for name, value in services.env.items():
            monkeypatch.setenv(name, value)
        colleague.uri = services.env["MLFLOW_TRACKING_URI"]
        mlflow.set_tracking_uri(colleague.uri)
        (version,) = [found for found in colleague.versions() if str(found.version) == "1"]
        assert "MLmodel" in colleague.out(
            "ls", mlflow.artifacts.download_artifacts(f"models:/{version.name}/1")
        )
        # only operations
        assert colleague.alias("production") == "1"
        assert "promote" in colleague.out("python", "src/promote.py", "--history")
        # end
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "another password")
        assert colleague.run("python", "src/report.py").returncode != 0
    finally:
        services.remove()
