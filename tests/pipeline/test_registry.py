"""Good, bad, good again: what is registered, what `staging` names, and what report.py completes."""

import json
import shutil

import pytest

from conftest import Project

GOOD = {"train.rounds": 20, "train.max_depth": 4}
BAD = {"train.rounds": 1, "train.max_depth": 1}
CHEAP_CONTACT = {"evaluate.costs.contact": 40.0}
DEAR_CONTACT = {"evaluate.costs.contact": 80.0}


@pytest.fixture
def clone(tiny_pipeline, tmp_path) -> Project:
    """A project with one good model in staging."""
    return tiny_pipeline.copy(tmp_path)


def numbers(clone: Project) -> list[str]:
    """The numbers of the registered versions, the newest first."""
    return [str(version.version) for version in clone.versions()]


def test_the_pipeline_never_sets_production(clone):
    assert (clone.alias("staging"), clone.alias("production")) == ("1", None)


def test_good_bad_good_again(clone):
    """The bad model has its run and its reasons, but no version and no alias, and `dvc repro`
    itself succeeds. The good one comes back from DVC's cache: it is still in staging, and nothing
    was registered twice.
    """
    clone.set(**BAD)
    printed = clone.out("dvc", "repro")
    assert "not registered" in printed and "below gate.min_roc_auc" in printed
    assert numbers(clone) == ["1"] and clone.alias("staging") == "1"

    tags = clone.runs("train")[0].data.tags
    assert tags["gate"] == "failed" and "below gate.min_roc_auc" in tags["gate_reason"]
    assert "Version: not registered" in tags["mlflow.note.content"]
    written = json.loads((clone.folder / "reports/metrics.json").read_text())
    assert "below gate.min_roc_auc" in written["gate_thresholds"]

    printed = clone.out("python", "src/report.py")
    assert "workspace   no version" in printed and "gate        FAILED" in printed
    assert "Next: nothing was registered." in printed and "`gate:` in params.yaml" in printed
    assert numbers(clone) == ["1"]

    clone.set(**GOOD)
    assert clone.executed() == []
    clone.out("python", "src/report.py")
    clone.out("dvc", "repro", "--force", "--single-item", "evaluate")
    (version,) = clone.versions()
    assert version.tags["model_md5"] == clone.outs()["models/churn.ubj"]
    assert clone.alias("staging") == "1"


def test_changed_costs_are_another_version(clone):
    """The same booster with another decision threshold decides otherwise, so it is another version
    and run. Back to the first costs, from the cache, the workspace is version 1 again, and
    report.py moves no alias.
    """
    clone.set(**DEAR_CONTACT)
    assert clone.executed() == ["evaluate"]
    newest, first = clone.versions()
    assert newest.tags["model_md5"] == first.tags["model_md5"]
    assert float(newest.tags["threshold"]) > float(first.tags["threshold"])
    assert clone.alias("staging") == "2"
    run = clone.client.get_run(newest.run_id)
    assert run.data.params["evaluate.costs.contact"] == "80.0"
    assert run.data.tags["restored"] == "true"

    clone.set(**CHEAP_CONTACT)
    assert clone.executed() == []
    printed = clone.out("python", "src/report.py")
    assert "workspace   ChurnXGB version 1" in printed
    assert "staging     ChurnXGB version 2" in printed


def test_worse_than_production_is_refused(clone):
    """Above every threshold and yet worse than production on the same rows: the paired bootstrap
    says no.
    """
    clone.client.set_registered_model_alias("ChurnXGB", "production", "1")
    clone.set(**{"gate.min_roc_auc": 0.5, **BAD})
    printed = clone.out("dvc", "repro")
    assert "may be worse than production" in printed
    assert numbers(clone) == ["1"]
    assert (clone.alias("staging"), clone.alias("production")) == ("1", "1")


def test_a_wiped_store_is_filled_again(clone):
    """A new store and a cached pipeline: run, metrics, plots, version and staging come from DVC's
    files. Another model from the cache, unknown to the new store, is registered, and staging stays.
    """
    clone.set(**DEAR_CONTACT)
    clone.out("dvc", "repro")
    clone.set(**CHEAP_CONTACT)
    assert clone.executed() == []

    (clone.folder / "mlflow.db").unlink()
    shutil.rmtree(clone.folder / "mlartifacts")
    # Another name, or MLflow in this process would go on reading the old file.
    clone.uri = f"sqlite:///{clone.folder}/./mlflow.db"
    clone.out("python", "src/report.py", CHURN_SKIP_PLOTS="0")
    (version,) = clone.versions()
    (run,) = clone.runs("train")
    model_md5 = clone.outs()["models/churn.ubj"]
    assert version.tags["model_md5"] == run.data.tags["model_md5"] == model_md5
    written = json.loads((clone.folder / "reports/metrics.json").read_text())
    assert run.data.metrics["roc_auc"] == written["roc_auc"]
    assert len(clone.client.list_artifacts(run.info.run_id, "plots")) == 10
    assert clone.alias("staging") == "1"

    clone.set(**DEAR_CONTACT)
    assert clone.executed() == []
    clone.out("python", "src/report.py")
    assert numbers(clone) == ["2", "1"] and clone.alias("staging") == "1"


def test_changed_scoring_code_is_another_version(clone):
    """A mended src/churn/modeling/scoring.py must reach the registry, though booster, contract and
    threshold are the same.
    """
    with (clone.folder / "src/churn/modeling/scoring.py").open("a") as code:
        code.write("# mended\n")
    assert clone.executed() == ["evaluate"]
    newest, first = clone.versions()
    assert newest.tags["model_md5"] == first.tags["model_md5"]
    assert clone.alias("staging") == str(newest.version)


def test_workspace_that_the_lock_does_not_describe_is_not_reported(clone):
    clone.set(**{"train.learning_rate": 0.2})
    result = clone.run("python", "src/report.py")
    assert result.returncode == 1 and "train.learning_rate was 0.3, now 0.2" in result.stderr
