"""Steps of CI that docs/ci.md does not go through: retraining, and promotion by hand."""

import pandas as pd
import pytest

from conftest import Project


@pytest.fixture
def project(tiny_pipeline, tmp_path) -> Project:
    """With this environment as its own."""
    project = tiny_pipeline.copy(tmp_path / "project")
    project.use_environment()
    return project


def test_retraining_on_the_newest_table(project, tmp_path):
    """Without a source it says how to give one; with the same table nothing changes; with another
    one there is something to commit, and a model of it.
    """
    refused = project.run("make", "retrain")
    assert refused.returncode != 0 and "`dvc import-url --force URL" in refused.stderr

    warehouse = tmp_path / "customers.parquet"
    table = pd.read_parquet(project.folder / "data/raw.parquet")
    table.to_parquet(warehouse, index=False)
    target = "data/raw.parquet"
    project.out("dvc", "import-url", "-q", "--force", str(warehouse), target)
    project.out("dvc", "repro", "-q")
    project.commit("the table has a source")
    project.out("make", "retrain")
    assert project.out("git", "status", "--short") == ""

    table.iloc[:-50].to_parquet(warehouse, index=False)
    before = project.outs()["models/churn.ubj"]
    printed = project.out("make", "retrain")
    changed = project.out("git", "diff", "--name-only").split()
    assert {"data/raw.parquet.dvc", "dvc.lock", "reports/metrics.json"} == set(changed)
    assert project.outs()["models/churn.ubj"] != before
    assert "roc_auc" in printed and "workspace" in printed


# only operations
def test_promotion_takes_any_text_as_a_text(project):
    """Whoever starts the workflow types the reason: no shell and no make reads it."""
    reason = 'better "value"; $(touch pwned) `touch pwned` \' $HOME --yes'
    refused = project.run("make", "promote", REASON=reason)
    assert refused.returncode != 0 and "make promote VERSION=3" in refused.stderr

    project.out("make", "promote", VERSION="1", REASON=reason, BY="ann$(touch pwned)")
    assert project.alias("production") == "1"
    history = project.out("python", "src/promote.py", "--history")
    assert reason in history and "ann$(touch pwned)" in history
    assert not (project.folder / "pwned").exists()


def test_no_other_version_is_promoted_than_the_approved_one(tiny_pipeline, tmp_path, inside, call):
    """Another one came into staging in between: that is said, and nothing is changed."""
    project = inside(tiny_pipeline.copy(tmp_path))
    message = call("promote", "--reason", "better", "--version", "7", "--yes")
    assert message == ("error: ChurnXGB version 1 is in staging by now, not 7; nothing was changed")
    assert project.alias("production") is None


# end
