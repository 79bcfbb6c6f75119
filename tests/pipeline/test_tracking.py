"""What MLflow holds after the pipeline: one row per model, with everything side by side, joined to
DVC by md5.
"""

import json
import os
import re
import subprocess
import sys

import pytest

from churn.files import md5
from churn.params import load_params, parameter_names
from churn.tracking import mlflow_page, store
from conftest import ROOT


def model_run(pipeline):
    (run,) = pipeline.runs("train")
    return run


def test_run_holds_every_parameter(pipeline, inside):
    """Every leaf of params.yaml is a parameter of the model run, with the value of the file."""
    inside(pipeline)
    leaves = load_params().flat()
    assert list(leaves) == parameter_names()
    assert model_run(pipeline).data.params == {name: str(value) for name, value in leaves.items()}


def test_tags_equal_the_lock(pipeline):
    """The md5 tags of the run and of the registered version are those of dvc.lock."""
    outs = pipeline.outs()
    expected = {
        "data_md5": pipeline.lock()["preprocess"]["deps"][0]["md5"],
        "model_md5": outs["models/churn.ubj"],
        **{
            f"{name}_md5": outs[f"data/prepared/{name}.parquet"]
            for name in ("train", "valid", "test")
        },
    }
    (version,) = pipeline.versions()
    for tags in (model_run(pipeline).data.tags, version.tags):
        assert {key: tags.get(key) for key in expected} == expected
    for stage in ("preprocess", "train", "evaluate"):
        run = pipeline.runs("preprocess")[0] if stage == "preprocess" else model_run(pipeline)
        deps = {dep["path"]: dep["md5"] for dep in pipeline.lock()[stage]["deps"]}
        assert json.loads(run.data.tags[f"{stage}.inputs"]) == deps


def test_version_names_the_four_moving_parts(pipeline):
    """From its tags alone: code, data, every parameter, the seed, the environment."""
    (version,) = pipeline.versions()
    assert version.tags["git_commit"] == pipeline.out("git", "rev-parse", "HEAD").strip()
    assert version.tags["git_dirty"] == "false"
    assert list(json.loads(version.tags["params"])) == parameter_names()
    assert version.tags["seed"] == "42"
    assert version.tags["lock_md5"] == md5(pipeline.folder / "requirements.txt")
    assert version.tags["environment"] == "as pinned"


def test_one_row_per_model_with_everything(pipeline):
    """Parameters, test metrics equal to metrics.json, both learning curves in full, plots, data
    sets, the model.
    """
    run = model_run(pipeline)
    written = json.loads((pipeline.folder / "reports/metrics.json").read_text())
    del written["gate_thresholds"]
    assert {name: run.data.metrics[name] for name in written} == written
    rounds = len((pipeline.folder / "reports/training.csv").read_text().splitlines()) - 1
    assert len(pipeline.client.get_metric_history(run.info.run_id, "valid_logloss")) == rounds
    digests = {i.dataset.name: i.dataset.digest for i in run.inputs.dataset_inputs}
    outs = pipeline.outs()
    assert digests == {
        name: outs[f"data/prepared/{name}.parquet"] for name in ("train", "valid", "test")
    }
    plots = {item.path for item in pipeline.client.list_artifacts(run.info.run_id, "plots")}
    names = [
        "calibration",
        "confusion",
        "explanation",
        "gain",
        "importance",
        "precision_recall",
        "roc",
        "single_columns",
        "training",
        "value",
    ]
    assert plots == {f"plots/{name}.png" for name in names}
    assert {output.model_id for output in run.outputs.model_outputs}


def test_mlflow_page(pipeline):
    """The experiment is of the kind model training and has the saved view; the run has a
    description that names its version and the commands that make it again.
    """
    run = model_run(pipeline)
    experiment = pipeline.client.get_experiment(run.info.experiment_id)
    assert mlflow_page.experiment_tags().items() <= experiment.tags.items()
    description = run.data.tags["mlflow.note.content"]
    assert "Gate: passed" in description and "ChurnXGB/1" in description
    commit = run.data.tags["git_commit"][:8]
    assert f"`git checkout {commit} && dvc repro`" in description


def test_an_experiment_of_an_earlier_release_gets_its_kind(tiny_pipeline, tmp_path, inside):
    """It has no such tags; a view that somebody changed stays changed."""
    clone = inside(tiny_pipeline.copy(tmp_path))
    experiment_id = clone.runs("train")[0].info.experiment_id
    kind, view = mlflow_page.experiment_tags()
    clone.client.delete_experiment_tag(experiment_id, kind)
    clone.client.set_experiment_tag(experiment_id, view, "changed")
    assert store.connect() == experiment_id
    tags = clone.client.get_experiment(experiment_id).tags
    assert tags[kind] == "custom_model_development" and tags[view] == "changed"


# Runs a command, and prints how MLflow's switch is set when MLflow is imported.
WATCHED = """
import os, runpy, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "mlflow":
            print("telemetry disabled:", os.environ.get("MLFLOW_DISABLE_TELEMETRY"))
sys.meta_path.insert(0, Watch())
sys.path.insert(0, "src")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize(
    "command",
    [
        "src/report.py",
        "src/preprocess.py",
        # only operations
        "src/promote.py --status",
        # end
    ],
)
def test_telemetry_is_off_when_mlflow_is_imported(tiny_pipeline, tmp_path, command):
    """MLflow reads its switch at that moment, and never again."""
    clone = tiny_pipeline.copy(tmp_path)
    unset = ("env", "--unset=MLFLOW_DISABLE_TELEMETRY")
    # By a Python that has imported nothing, as `python` of the tests' environment has.
    printed = clone.out(*unset, sys.executable, "-c", WATCHED, *command.split())
    assert "telemetry disabled: true" in printed and "telemetry disabled: None" not in printed


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have another OpenMP library")
@pytest.mark.parametrize(
    "command",
    [
        "train",
        "evaluate",
        # only experiments
        "sweep",
        # end
    ],
)
def test_threads_that_wait_give_their_cores_to_others(command):
    """OpenMP reads its settings when XGBoost is imported, and prints what it has read."""
    loading = f"import sys; sys.path.insert(0, 'src'); import {command}; import xgboost"
    env = {name: value for name, value in os.environ.items() if "OMP" not in name}
    result = subprocess.run(
        [sys.executable, "-c", loading],
        cwd=ROOT,
        env=env | {"OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(re.findall("GOMP_SPINCOUNT = '(.*)'", result.stderr)) == {"1000"}


@pytest.mark.sample
def test_interval_holds_the_cross_validated_auc(pipeline):
    """0.848 is the 5-fold mean ROC AUC of such a model on this table; no seed was chosen for its
    score.
    """
    metrics = json.loads((pipeline.folder / "reports/metrics.json").read_text())
    assert metrics["roc_auc_low"] < 0.848 < metrics["roc_auc_high"]


def test_reconciler_adds_nothing_to_a_complete_store(pipeline):
    """report.py prints metrics, gate, version and aliases, and registers nothing twice."""
    before = len(pipeline.runs("train")), len(pipeline.versions())
    printed = pipeline.out("python", "src/report.py")
    assert "gate        passed" in printed and "staging     ChurnXGB version 1" in printed
    assert (len(pipeline.runs("train")), len(pipeline.versions())) == before
