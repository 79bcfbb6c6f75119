"""What was measured when a version was registered never changes; another evaluation is a record of
its own.
"""

import json
import threading

import mlflow
import numpy as np
import pandas as pd
import pytest

from churn import paths
from churn.data.project_contract import load_project_contract
from churn.errors import UserError
from churn.files import read_metrics
from churn.params import load_params
from churn.tracking import dvc_lock, lineage, registration, registry, store
from conftest import Project

METRICS = "src/churn/modeling/metrics.py"


@pytest.fixture
def clone(tiny_pipeline, tmp_path) -> Project:
    """A project with version 1 in staging."""
    return tiny_pipeline.copy(tmp_path)


def edit(clone: Project, old: str, new: str, path: str = METRICS) -> None:
    """Change code and commit it."""
    file = clone.folder / path
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new, 1))
    clone.commit(f"{old} -> {new}")


def evaluations(clone: Project) -> dict[str, tuple]:
    """{run id: what the run recorded} of every run that holds an evaluation."""
    found = {}
    for run in clone.runs("train") + clone.runs("evaluate"):
        tags = {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")}
        history = clone.client.get_metric_history(run.info.run_id, "roc_auc")
        found[run.info.run_id] = (tags, run.data.metrics, len(history))
    return found


def own_figures(clone: Project) -> dict[str, str]:
    """What version 1 keeps of its own evaluation."""
    (version,) = clone.versions()
    return {name: version.tags[name] for name in ("metrics", "gate", "test_md5")}


# only operations
def shown_figures(clone: Project) -> list[str]:
    """The row of staging in `promote.py --status`, without its age."""
    import re

    status = clone.out("python", "src/promote.py", "--status")
    (row,) = [line for line in status.splitlines() if "staging" in line]
    return re.sub(r"\d+ (min|h|d)", "", row).split()


# end
LOWER = (
    '"roc_auc": sklearn_metrics.roc_auc_score(labels, probabilities),',
    '"roc_auc": 0.96 * sklearn_metrics.roc_auc_score(labels, probabilities),',
)
ADDED = (
    '"threshold": threshold,',
    '"threshold": threshold,\n        "contacted": float(contacted.mean()),',
)
REMOVED = ('        "f1": f1,\n', "")


def test_changed_metrics_code_is_a_record_of_its_own(clone):
    """Lower, then back, then a metric added and one removed: version 1 keeps its figures and its
    run, and the same evaluation again adds nothing.
    """
    first, before = evaluations(clone), own_figures(clone)
    # only operations
    shown, tuesday = shown_figures(clone), json.loads(before["metrics"])["roc_auc"]
    # end
    edit(clone, *LOWER)
    assert clone.executed() == ["evaluate"]
    clone.commit("lower")
    records = evaluations(clone)
    assert len(records) == 2 and first.items() <= records.items(), "the first record was changed"
    assert own_figures(clone) == before
    # only operations
    assert shown_figures(clone) == shown
    status = clone.out("python", "src/promote.py", "--status")
    figures = f"{tuesday * 0.96:.4f} today and was {tuesday:.4f} when it was registered"
    assert f"roc_auc is {figures}" in status, "what is different today is said"
    # end
    # only forensics
    compared = clone.out("python", "src/why.py", "models:/ChurnXGB/1", "HEAD")
    assert METRICS in compared and "code         differs" in compared
    # end

    clone.out("dvc", "repro", "--force", "--single-item", "evaluate")
    assert evaluations(clone) == records, "the same evaluation again"

    edit(clone, *reversed(LOWER))
    clone.out("dvc", "repro", "--force", "--single-item", "evaluate")
    assert evaluations(clone) == records, "the first evaluation again, in the other order"

    edit(clone, *ADDED)
    assert clone.executed() == ["evaluate"]
    edit(clone, *REMOVED)
    assert clone.executed() == ["evaluate"]
    later = evaluations(clone)
    assert len(later) == 4 and records.items() <= later.items()
    assert [str(v.version) for v in clone.versions()] == ["1"]
    assert json.loads(clone.versions()[0].tags["metrics"])["f1"] > 0


def test_the_same_evaluation_adds_nothing(clone):
    """A second training is a row with its own evaluation, and the first stays; evaluating it once
    more adds nothing.
    """
    first = evaluations(clone)
    clone.out("dvc", "repro", "--force")
    twice = evaluations(clone)
    assert len(twice) == 2 and first.items() <= twice.items()
    assert all(tags["gate"] == "passed" for tags, *_ in twice.values()), (
        "each training has its evaluation"
    )
    clone.out("dvc", "repro", "--force", "--single-item", "evaluate")
    assert evaluations(clone) == twice and len(clone.versions()) == 1


def test_changed_test_rows_are_a_record_of_their_own(clone):
    """Other test rows, the same model: version 1 keeps its figures.

    Where there is a promotion, it can be promoted on what it was judged on last.
    """
    first, before = evaluations(clone), own_figures(clone)
    table = pd.read_parquet(clone.folder / "data/raw.parquet")
    test = pd.read_parquet(clone.folder / "data/prepared/test.parquet")
    ids = test.columns[0]
    kept = table[ids].isin(test[ids].iloc[10:]) | ~table[ids].isin(test[ids])
    table = table[kept]
    table.to_parquet(clone.folder / "data/raw.parquet", index=False)
    clone.out("dvc", "repro")
    model = clone.versions()[0].tags["model_md5"]
    records = evaluations(clone)
    assert clone.outs()["models/churn.ubj"] == model and first.items() <= records.items()
    assert own_figures(clone) == before
    assert len(clone.versions()) == 1
    # only operations
    printed = clone.out("python", "src/promote.py", "--reason", "judged again", "--yes")
    assert "version 1" in printed and "when it was registered" in printed
    assert clone.alias("production") == "1"
    (move,) = json.loads(clone.out("python", "-c", HISTORY))
    assert move["roc_auc"] == json.loads(clone.versions()[0].tags["metrics"])["roc_auc"]
    # end


# only operations
HISTORY = """
import sys, json; sys.path.insert(0, "src")
from churn.operations import promotion
from churn.tracking import store
store.connect()
print(json.dumps([move.metrics for move in promotion.history("ChurnXGB")]))
"""


# end
def test_a_recorded_evaluation_is_checked_too(clone, inside):
    """It logs nothing, and DVC would all the same note what was edited while it ran."""
    inside(clone)
    params = load_params()
    evaluation = registration.Evaluation(
        params,
        load_project_contract(params),
        dvc_lock.data_tags(),
        lineage.stage_tags("evaluate"),
        read_metrics(paths.METRICS),
        pd.read_parquet(paths.SPLITS["test"]),
        np.empty(0),
    )
    store.connect()
    assert "as recorded before" in registration.find_outcome(evaluation).gate
    clone.set(**{"evaluate.costs.contact": 41.0})
    changed = "evaluate.costs.contact in params.yaml changed while evaluate ran"
    with pytest.raises(UserError, match=changed):
        registration.find_outcome(evaluation)


def test_changed_gate_and_costs_leave_the_version_alone(clone):
    """A stricter gate refuses what was registered, other costs make another version: version 1
    stays as it was.
    """
    first, before = evaluations(clone), dict(clone.versions()[0].tags)
    clone.set(**{"gate.min_roc_auc": 0.99})
    assert clone.executed() == ["evaluate"]
    clone.set(**{"gate.min_roc_auc": 0.5, "evaluate.costs.contact": 80.0})
    assert clone.executed() == ["evaluate"]
    assert first.items() <= evaluations(clone).items()
    tags = clone.client.get_model_version("ChurnXGB", "1").tags
    assert {key: tags[key] for key in before if key != "stage"} == {
        k: v for k, v in before.items() if k != "stage"
    }


def test_an_experiment_does_not_displace_a_candidate(clone):
    """It is registered, staging stays, and that is said; by its name it can be staged."""
    printed = clone.out("dvc", "exp", "run", "--name", "deeper", "-S", "train.max_depth=3")
    assert "ChurnXGB version 2 is registered, and not staged" in printed
    assert clone.alias("staging") == "1"
    # only operations
    unknown = clone.run("python", "src/promote.py", "--stage", "nobody")
    assert unknown.returncode == 1 and "no experiment of this name" in unknown.stderr
    printed = clone.out("python", "src/promote.py", "--stage", "deeper")
    assert "version 2" in printed and "in place of version 1" in printed
    assert clone.alias("staging") == "2"
    assert "is staging" in clone.out("python", "src/promote.py", "--stage", "1")
    assert clone.alias("staging") == "1"
    # end


def test_registered_at_once_is_one_version(clone, inside):
    """Ten rounds of two registrations of one model at the same moment: one version stays, and both
    calls return it.
    """
    inside(clone)
    mlflow.set_tracking_uri(clone.uri)
    (version,) = clone.versions()
    for number in range(10):
        tags = {**version.tags, "threshold": f"0.{number + 1}"}
        barrier, returned = threading.Barrier(2), []

        def register(tags=tags, barrier=barrier, returned=returned) -> None:
            barrier.wait()
            registered = registry.register_version("ChurnXGB", version.source, tags)
            returned.append(str(registered.version))

        both = [threading.Thread(target=register) for _ in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        kept = []
        for candidate in clone.versions():
            if candidate.tags["threshold"] == tags["threshold"]:
                kept.append(str(candidate.version))
        assert len(kept) == 1 and returned == kept * 2


# only operations or forensics
def test_a_version_of_an_earlier_release_keeps_its_figures(clone, inside):
    """It has no figures in its tags, and a later evaluation wrote into its run: those before its
    registration count.
    """
    from churn.tracking import registered_versions

    inside(clone)
    store.connect()
    (version,) = clone.versions()
    own = json.loads(version.tags["metrics"])
    clone.client.delete_model_version_tag("ChurnXGB", "1", "metrics")
    clone.client.log_metric(version.run_id, "roc_auc", own["roc_auc"] * 0.96)
    (version,) = clone.versions()
    assert clone.client.get_run(version.run_id).data.metrics["roc_auc"] == own["roc_auc"] * 0.96
    assert registered_versions.registered_metrics(version) == own


# end
