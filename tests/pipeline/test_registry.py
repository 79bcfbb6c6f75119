"""Good, bad, good again: what is registered, what `staging` names, and what the reconciler mends."""

import json
import shutil

import pytest

GOOD = {"train.rounds": 20, "train.max_depth": 4}
BAD = {"train.rounds": 1, "train.max_depth": 1}


@pytest.fixture(scope="module")
def clone(tiny_pipeline, tmp_path_factory):
    """A project with one good model in staging.

    The tests of this module go on from one another, in order.
    """
    return tiny_pipeline.copy(tmp_path_factory.mktemp("registry"))


def test_the_pipeline_never_sets_production(clone):
    assert (clone.alias("staging"), clone.alias("production")) == ("1", None)


def test_a_rejected_model_is_in_no_registry(clone):
    """The bad model has its run and its reasons, but no version and no alias; `dvc repro` itself
    succeeds.
    """
    clone.set(**BAD)
    printed = clone.out("dvc", "repro")
    assert "not registered" in printed and "below gate.min_roc_auc" in printed
    assert [str(v.version) for v in clone.versions()] == ["1"]
    assert clone.alias("staging") == "1"
    bad = clone.runs("train")[0]
    assert (
        bad.data.tags["gate"] == "failed"
        and "below gate.min_roc_auc" in bad.data.tags["gate_reason"]
    )
    written = json.loads((clone.folder / "reports/metrics.json").read_text())
    assert "below gate.min_roc_auc" in written["gate_thresholds"]
    printed = clone.out("python", "src/report.py")
    assert "workspace   no version" in printed and "gate        FAILED" in printed
    assert "Next: nothing was registered." in printed and "`gate:` in params.yaml" in printed
    assert [str(v.version) for v in clone.versions()] == ["1"]


def test_good_again_is_the_same_version(clone):
    """Restored from DVC's cache, no stage runs: staging is still the good model, and nothing was
    registered twice.
    """
    clone.set(**GOOD)
    assert clone.executed() == []
    clone.out("python", "src/report.py")
    clone.out("dvc", "repro", "--force", "--single-item", "evaluate")
    (version,) = clone.versions()
    assert version.tags["model_md5"] == clone.outs()["models/churn.ubj"]
    assert clone.alias("staging") == "1"


def test_changed_costs_are_another_version(clone):
    """The same booster with another decision threshold decides otherwise, so it is another version
    and run.
    """
    clone.set(**{"evaluate.costs.contact": 80.0})
    assert clone.executed() == ["evaluate"]
    newest, first = clone.versions()
    assert newest.tags["model_md5"] == first.tags["model_md5"]
    assert float(newest.tags["threshold"]) > float(first.tags["threshold"])
    assert clone.alias("staging") == "2"
    run = clone.client.get_run(newest.run_id)
    assert (
        run.data.params["evaluate.costs.contact"] == "80.0" and run.data.tags["restored"] == "true"
    )


def test_the_reconciler_moves_no_alias(clone):
    """Back to the first parameters, from the cache: the workspace is version 1, staging stays
    version 2.
    """
    clone.set(**{"evaluate.costs.contact": 40.0})
    assert clone.executed() == []
    printed = clone.out("python", "src/report.py")
    assert (
        "workspace   ChurnXGB version 1" in printed and "staging     ChurnXGB version 2" in printed
    )


def test_worse_than_production_is_refused(clone):
    """Above every threshold and yet worse than production on the same rows: the paired bootstrap
    says no.
    """
    clone.client.set_registered_model_alias("ChurnXGB", "production", "1")
    clone.set(**{"gate.min_roc_auc": 0.5, **BAD})
    printed = clone.out("dvc", "repro")
    assert "may be worse than production" in printed
    assert (len(clone.versions()), clone.alias("staging"), clone.alias("production")) == (
        2,
        "2",
        "1",
    )


def test_a_wiped_store_is_filled_again(clone):
    """A new store and a cached pipeline: run, metrics, plots, version and staging come from DVC's
    files.
    """
    clone.set(**GOOD, **{"gate.min_roc_auc": 0.8})
    assert clone.executed() == []
    (clone.folder / "mlflow.db").unlink()
    shutil.rmtree(clone.folder / "mlartifacts")
    # another name, or MLflow here would go on reading the old file
    clone.uri = f"sqlite:///{clone.folder}/./mlflow.db"
    clone.out("python", "src/report.py")
    (version,) = clone.versions()
    (run,) = clone.runs("train")
    assert (
        version.tags["model_md5"] == clone.outs()["models/churn.ubj"] == run.data.tags["model_md5"]
    )
    assert (
        run.data.metrics["roc_auc"]
        == json.loads((clone.folder / "reports/metrics.json").read_text())["roc_auc"]
    )
    assert len(clone.client.list_artifacts(run.info.run_id, "plots")) == 8
    assert clone.alias("staging") == "1"


def test_a_filled_store_keeps_its_staging(clone):
    """Another model from the cache, unknown to the new store: the reconciler registers it, and
    staging stays.
    """
    clone.set(**{"evaluate.costs.contact": 80.0})
    assert clone.executed() == []
    clone.out("python", "src/report.py")
    assert (len(clone.versions()), clone.alias("staging")) == (2, "1")
    clone.set(**{"evaluate.costs.contact": 40.0})
    assert clone.executed() == []


def test_changed_scoring_code_is_another_version(clone):
    """A mended src/churn/modeling/scoring.py must reach the registry, though booster, contract and
    threshold are the same.
    """
    before = clone.versions()
    with (clone.folder / "src/churn/modeling/scoring.py").open("a") as code:
        code.write("# mended\n")
    assert clone.executed() == ["evaluate"]
    newest, *others = clone.versions()
    assert len(others) == len(before) and newest.tags["model_md5"] in {
        v.tags["model_md5"] for v in others
    }
    assert clone.alias("staging") == str(newest.version)


def test_workspace_that_the_lock_does_not_describe_is_not_reported(clone):
    clone.set(**{"train.learning_rate": 0.2})
    result = clone.run("python", "src/report.py")
    assert result.returncode == 1 and "train.learning_rate was 0.3, now 0.2" in result.stderr
