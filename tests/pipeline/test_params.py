"""params.yaml: typed, complete, and declared leaf by leaf in dvc.yaml."""

import importlib
import random

import numpy as np
import pytest

from churn.errors import UserError
from churn.files import read_yaml
from churn.params import (
    Costs,
    Data,
    Evaluate,
    Gate,
    Params,
    Registry,
    Section,
    Split,
    Train,
    load_params,
    parameter_names,
)
from churn.tracking import dvc_lock, lineage
from conftest import SIMULATIONS, Project, flat
from customer_months import customer_months

# Values that are not "a bit more", the first that is not the one there; the rest follow from
# `turned`.
OTHERS = {"data.id": ("number", "nr"), "data.target": ("gone", "left"), "data.positive": (1, 3)}
OTHERS |= {
    "data.negative": ([0, 2], [0]),
    "data.unlabelled": ("drop", "refuse"),
    "train.device": ("cuda", "cpu"),
}
OTHERS |= {
    "evaluate.segments": (["tenure"], ["contract"]),
    "gate.min_gain_over_baseline": (-1.0, -0.9),
    "notify": (["gate"], None),
    "features": (["services"], ["automatic_payment"]),
    "data.time": ("month", "period"),
    "split.by": ("time", "customer"),
    "evaluate.backtest": (3, 4),
    "gate.min_backtest_auc": (0.5, 0.6),
    "gate.max_segment_auc_drop": (0.1, 0.2),
    # only experiments
    "sweep.folds": (1, 2),
    # end
}
OTHERS |= {"registry.model": ("Another", "Other"), "train.max_depth": (5, 6)}
# What a stage refuses early if it does not fit the contract. No output depends on it.
CHECKED_FOR_LATER = {
    "preprocess": {"features", "evaluate.segments", "evaluate.backtest"},
    "train": {"evaluate.segments"},
}
# The tests of no pipeline, which take seconds.
FAST = ("pipeline/test_params.py", "unit", "template/test_pipeline_files.py")
SLOW = "repeat_no_value or stages_declare or push or colleague or needs_no_remote"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (
            "max_depth:",
            "max_dept:",
            [
                "train.max_dept: no such parameter; did you mean train.max_depth?",
                "train.max_depth: missing",
            ],
        ),
        ("gate: ", "gates: ", ["gates: no such parameter; did you mean gate?"]),
        ("seed: 42", "# seed", ["seed: missing"]),
        (
            "max_depth: 4",
            "max_depth: four",
            ["train.max_depth: Input should be a valid integer", "'four'"],
        ),
        ("max_depth: 4", "max_depth: 0", ["train.max_depth", "greater than or equal to 1"]),
        ("test: 0.2", "test: 0.8", ["valid + test is 1, which leaves nothing to train on"]),
        ("device: cpu", "device: tpu", ["train.device", "'cpu' or 'cuda'", "'tpu'"]),
        ("seed: 42", "seed: [42", ["params.yaml cannot be read: line "]),
    ],
)
def test_mistakes_are_refused_with_the_name(project, old, new, says):
    """One message that names parameter and remedy, exit code 1, no traceback, nothing written."""
    path = project.folder / "params.yaml"
    text = path.read_text().replace("gate:  ", "gate: ")
    assert old in text
    path.write_text(text.replace(old, new))
    result = project.run("python", "src/preprocess.py")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    for part in says:
        assert part in result.stderr
    assert not (project.folder / "mlflow.db").exists()


def test_typo_in_set_param_is_refused(project):
    """DVC refuses an unknown name in -S by itself; one that is forced in with + is refused by the
    first stage.
    """
    refused = project.run("dvc", "exp", "run", "-S", "train.max_dept=6")
    assert refused.returncode != 0 and "train.max_dept" in refused.stderr
    assert project.out("git", "status", "--short") == ""
    project.out("dvc", "pull", "-q", "data/raw.parquet.dvc")
    forced = project.run("dvc", "exp", "run", "--temp", "-S", "+train.max_dept=6", "-S", "seed=1")
    assert forced.returncode != 0 and "did you mean train.max_depth?" in forced.stderr


def test_stages_declare_what_they_read(tiny_pipeline, tmp_path, inside, monkeypatch):
    """Each stage, run for real while every access to a parameter is noted, reads exactly the leaves
    it declares, and those that it only checks for a later stage. The table is one of
    customer-months, and a backtest is made: so each is read.
    """
    import mlflow

    clone = inside(tiny_pipeline.copy(tmp_path))
    make_customer_months(clone)
    sections = [
        Params,
        Data,
        Split,
        Train,
        Evaluate,
        Costs,
        Gate,
        Registry,
    ]
    names = ["", "data.", "split.", "train.", "evaluate.", "evaluate.costs.", "gate.", "registry."]
    prefixes = dict(zip(sections, names))
    read: set[str] = set()
    original = Section.__getattribute__

    def note(self, name):
        if type(self) in prefixes and name in type(self).model_fields:
            read.add(prefixes[type(self)] + name)
        return original(self, name)

    def load(*arguments, load=load_params):
        loaded = load(*arguments)
        read.clear()  # what checking the values reads is no use of them
        return loaded

    def load_again(*arguments):
        known = set(read)
        loaded = load(*arguments)
        read.update(known)
        return loaded

    monkeypatch.setattr(Section, "__getattribute__", note)
    monkeypatch.setattr(lineage, "load_params", load_again)  # to see whether they have changed
    monkeypatch.syspath_prepend("src")
    for stage in ("preprocess", "train", "evaluate"):
        if stage == "evaluate":  # with a production model, the gate compares
            mlflow.set_tracking_uri(clone.uri)
            mlflow.MlflowClient().set_registered_model_alias("ChurnXGB", "production", "2")
        read.clear()
        command = importlib.import_module(stage)
        monkeypatch.setattr(command, "load_params", load)
        command.main()
        declared = set()  # a stage that reads all of a section names the section
        for name in read_yaml("dvc.yaml")["stages"][stage]["params"]:
            declared |= {
                leaf for leaf in parameter_names() if leaf == name or leaf.startswith(f"{name}.")
            }
        checked = CHECKED_FOR_LATER.get(stage, set())
        assert read & set(parameter_names()) == declared | checked, stage


def make_customer_months(clone: Project) -> None:
    """Give a project simulated customer-months, split by time, and run its pipeline."""
    customer_months(8).to_parquet(clone.folder / "data/raw.parquet", index=False)
    roles = {"id": "customer", "time": "month", "target": "churn", "positive": "yes"}
    clone.set(**{f"data.{role}": name for role, name in roles.items()})
    clone.set(**{"split.by": "time", "evaluate.backtest": 2, "gate.min_roc_auc": 0.5})
    clone.set(**{"gate.max_calibration_error": 1.0, "gate.min_backtest_auc": 0.4})
    clone.set(**{"evaluate.segments": ["plan"], "gate.max_segment_auc_drop": 1.0})
    # only experiments
    clone.set(**{"sweep.folds": 1})
    # end
    (clone.folder / "data/schema.yaml").unlink()
    clone.out("python", "src/infer_schema.py", "data/raw.parquet")
    clone.out("dvc", "add", "--quiet", "data/raw.parquet")
    clone.out("dvc", "repro")
    clone.commit("customer-months")


def test_stages_seed_the_global_generators(project, inside, monkeypatch):
    """A line in a stage that draws from `random` or NumPy's global generator draws the same numbers
    in every run.
    """
    inside(project)
    drawn = []

    def draw_and_stop(*arguments):
        drawn.append((random.random(), np.random.rand()))
        raise UserError("far enough")

    monkeypatch.setattr(lineage, "stage_tags", draw_and_stop)
    monkeypatch.setattr(dvc_lock, "data_tags", draw_and_stop)
    for stage in ("preprocess", "train", "evaluate"):
        command = importlib.import_module(stage)
        for _ in range(2):
            with pytest.raises(UserError, match="far enough"):
                command.main()
    assert len(drawn) == 6 and len(set(drawn)) == 1


def turned(name: str, value: object) -> object:
    """Another value, which is valid where this one is."""
    for other in OTHERS.get(name, ()):
        if other != value:
            return other
    if isinstance(value, bool):
        return not value
    if isinstance(value, dict):  # a range of the search
        low, high = value["low"], value["high"]
        middle = (low + high) // 2 if isinstance(low, int) else (low + high) / 2
        return value | {"low": middle, "log": middle > 0 and not value.get("log", False)}
    return value + 1 if isinstance(value, int) else value * 0.9 or 0.1


def turn_every_knob(project: Project) -> dict[str, object]:
    """Give every parameter another valid value."""
    before = flat(read_yaml(project.folder / "params.yaml"))
    now = {name: turned(name, value) for name, value in before.items()}
    assert [name for name in before if now[name] == before[name]] == []
    project.set(**now)
    load_params(project.folder / "params.yaml")
    project.commit("every knob turned")
    return now


@pytest.mark.sample
def test_tests_and_launcher_repeat_no_value(tmp_path):
    """In a clone whose params.yaml has another valid value for every leaf, the tests are green."""
    project = Project.clone(tmp_path, committed=True)
    turn_every_knob(project)
    command = [
        "python",
        "-m",
        "pytest",
        "-q",
        "-n0",
        "-p",
        "no:cacheprovider",
        "-k",
        f"not ({SLOW} or {SIMULATIONS})",
    ]
    tests = [f"tests/{name}" for name in FAST]
    result = project.run(*command, *tests)
    assert result.returncode == 0, result.stdout
