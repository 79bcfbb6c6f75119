"""What `mlflow run` may ask of the pipeline, and what its run is called."""

from types import SimpleNamespace

import pytest
from mlflow.projects._project_spec import load_project

import launch
from churn.errors import UserError
from churn.files import read_yaml
from churn.params import load_params
from churn.tracking import launching_run
from conftest import ROOT

PARAMETERS = load_params(ROOT / "params.yaml").flat()
# With the values that the texts below are compared with.
KNOWN = PARAMETERS | {
    "train.max_depth": 4,
    "train.rounds": 1000,
    "train.learning_rate": 0.05,
    "gate.min_roc_auc": 0.8,
}
PIPELINE = {"main", "preprocess", "train", "evaluate"}
LAUNCH_NOTHING = {
    "card",
    "clean_up",
    "doctor",
    "draw",
    "image",
    "infer_schema",
    "init",
    "launch",
    "report",
}
COMMANDS = {path.stem for path in (ROOT / "src").glob("*.py")} - LAUNCH_NOTHING


def test_entry_points():
    """Every command is an entry point; those of the pipeline take any parameter, and repeat no
    value of params.yaml.
    """
    entry_points = read_yaml(ROOT / "MLproject")["entry_points"]
    assert set(entry_points) == PIPELINE | COMMANDS | {"main"}
    project = load_project(str(ROOT))
    for name in PIPELINE:
        assert project.get_entry_point(name).parameters == {}
    for entry_point in entry_points.values():
        for parameter in entry_point.get("parameters", {}).values():
            assert parameter["type"]


def test_values_of_params_yaml_are_no_change():
    """All of them given as text, or none, or other spellings of the same numbers."""
    given = {name.split(".")[-1]: str(value) for name, value in PARAMETERS.items()}
    assert launch.changed_parameters(given, PARAMETERS) == {}
    assert launch.changed_parameters({}, PARAMETERS) == {}
    assert launch.changed_parameters({"min_roc_auc": "0.80", "rounds": "1e3"}, KNOWN) == {}


def test_changes_by_dotted_name():
    given = {"max_depth": "6", "positive": "gone", "learning_rate": "0.1"}
    assert launch.changed_parameters(given, KNOWN) == {
        "train.max_depth": "6",
        "data.positive": "gone",
        "train.learning_rate": "0.1",
    }
    # After an edit of params.yaml, what was its value before is a change.
    edited = KNOWN | {"train.max_depth": 5}
    assert launch.changed_parameters({"max_depth": "4"}, edited) == {"train.max_depth": "4"}


def test_wrong_names_and_values_are_refused(monkeypatch):
    with pytest.raises(
        UserError, match="-P max_dept: there is no such parameter; did you mean max"
    ):
        launch.changed_parameters({"max_dept": "6"}, PARAMETERS)

    monkeypatch.chdir(ROOT)
    assert launch.changed_parameters({"max_depth": "[6"}, PARAMETERS) == {"train.max_depth": "[6"}
    message = r"train.max_depth: Input should be a valid integer.*\(got '\[6'\)"
    with pytest.raises(UserError, match=message):
        launch.check_values({"train.max_depth": "[6"})


@pytest.mark.parametrize(
    ("entry_point", "parameters", "name"),
    [
        ("main", {}, "pipeline"),
        ("main", {"max_depth": "6"}, "pipeline max_depth=6"),
        ("train", {"max_depth": "6", "seed": "1"}, "train max_depth=6 seed=1"),
        # only operations
        ("promote", {"reason": "first", "by": ""}, "promote reason=first"),
        ("score", {"customers": "x" * 200}, f"score customers={'x' * 84}"),
        # end
    ],
)
def test_a_launching_run_is_named_after_what_it_launched(entry_point, parameters, name):
    data = SimpleNamespace(tags={"mlflow.project.entryPoint": entry_point}, params=parameters)
    assert launching_run.launched_name(SimpleNamespace(data=data)) == name


def test_the_launching_run_is_hidden_only_while_a_run_is_opened(monkeypatch):
    """Whoever asks before or after gets the same answer."""
    monkeypatch.setenv("MLFLOW_RUN_ID", "abc")
    with launching_run.hidden_from_mlflow():
        assert launching_run.launching_run_id() is None
    assert launching_run.launching_run_id() == "abc"
    with launching_run.kept():
        monkeypatch.delenv("MLFLOW_RUN_ID")  # as MLflow does at the end of a run
    assert launching_run.launching_run_id() == "abc"
    monkeypatch.delenv("MLFLOW_RUN_ID")
    with launching_run.hidden_from_mlflow():
        assert launching_run.launching_run_id() is None
    assert launching_run.launching_run_id() is None
