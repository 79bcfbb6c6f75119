"""No secret of the environment, or of DVC's local settings, gets into what a run leaves."""

import secrets

import pytest

from conftest import Project

# Random, since this file is in the project that is searched.
REMOTE_PASSWORD = secrets.token_hex(16)
SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": secrets.token_hex(16),
    "AWS_ACCESS_KEY_ID": secrets.token_hex(16),
    "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16),
    # Nobody listens there: that is said, without the address.
    "CHURN_WEBHOOK_URL": f"http://127.0.0.1:9/{secrets.token_hex(16)}",
}


@pytest.fixture
def project(tiny_pipeline, tmp_path) -> Project:
    """With a password in DVC's local settings, and uncommitted changes, which a run keeps."""
    project = tiny_pipeline.copy(tmp_path)
    remote = ("dvc", "remote", "add", "--local", "vault", "https://example.com/vault")
    project.out(*remote)
    project.out("dvc", "remote", "modify", "--local", "vault", "password", REMOTE_PASSWORD)
    project.set(**{"train.learning_rate": 0.3, "gate.min_roc_auc": 0.99})
    return project


def test_no_secret_is_kept(project):
    """Neither in git, in the store and its artifacts, in the outputs, nor in what is printed."""
    result = project.run("dvc", "repro", **SECRETS)
    assert result.returncode == 0, result.stderr
    assert "CHURN_WEBHOOK_URL does not answer" in result.stderr, "the gate's refusal is posted"
    project.commit("all that git takes")
    (project.folder / "printed.txt").write_text(result.stdout + result.stderr)

    planted = [secret.encode() for secret in [*SECRETS.values(), REMOTE_PASSWORD]]
    local_settings = project.folder / ".dvc/config.local"
    assert planted[-1] in local_settings.read_bytes(), "the search finds what is there"
    searched = 0
    for path in project.folder.rglob("*"):
        if not path.is_file() or path == local_settings:
            continue
        content = path.read_bytes()
        searched += 1
        assert [secret for secret in planted if secret in content] == [], path
    assert searched > 100
    assert REMOTE_PASSWORD not in project.out("git", "log", "--all", "--patch")
