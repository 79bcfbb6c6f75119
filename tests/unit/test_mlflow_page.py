"""MLflow's page: the kind of the experiment, a saved view, the description of a run."""

import json

from churn.modeling.gate import Decision
from churn.tracking import mlflow_page


def test_the_saved_view_shows_the_metrics_that_matter_first():
    """As MLflow's page stores a view: name, time, and its state as JSON in the JSON."""
    tags = mlflow_page.experiment_tags()
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags["mlflow.sharedViewState.models"])
    assert view["name"] == "Models" and isinstance(view["createdAt"], int)
    state = json.loads(view["state"])
    assert state["columnOrder"] == state["selectedColumns"]
    assert state["columnOrder"][:5] == [
        "metrics.`roc_auc`",
        "metrics.`average_precision`",
        "metrics.`log_loss`",
        "metrics.`value_per_customer`",
        "tags.`gate`",
    ]


def test_the_link_opens_that_view_in_the_menu_of_model_training():
    link = mlflow_page.page_link("http://127.0.0.1:5000", "1")
    assert link.startswith("http://127.0.0.1:5000/#/experiments/1/runs?")
    assert "workflowType=machine_learning" in link and "viewStateShareKey=models" in link


def test_the_description_of_a_run():
    """Gate, version, and the commands that make it again; a model that failed has no version."""
    tags = {"model_md5": "5" * 32, "git_commit": "c" * 40, "git_dirty": "false"}
    passed = mlflow_page.describe_evaluation(tags, Decision([], "no production"), "Churn/7")
    assert "Churn model 55555555" in passed and "Gate: passed (no production)" in passed
    assert "Version: Churn/7" in passed
    assert "Reproduce: `git checkout cccccccc && dvc repro`" in passed and "patch" not in passed

    tags["git_dirty"] = "true"
    failed = mlflow_page.describe_evaluation(tags, Decision(["too low"], "none"), None)
    assert "Gate: FAILED: too low (none)" in failed
    assert "Version: not registered" in failed and ".patch" in failed
