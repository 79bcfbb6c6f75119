"""The registered model as a consumer gets it: models:/ChurnXGB@staging."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from churn import paths
from churn.data.contract import load_contract
from churn.data.project_contract import load_project_contract
from churn.errors import UserError
from churn.files import md5
from churn.modeling.booster import feature_contributions, load_booster, predict_probabilities
from churn.modeling.encoding import encode_features
from churn.modeling.signature import model_signature
from churn.params import load_params
from churn.tracking import environment, model_loading, registry


@pytest.fixture
def scorer(pipeline, inside, monkeypatch):
    """The model that `staging` names, loaded as any consumer does with pickles forbidden, and the
    test rows.
    """
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    inside(pipeline)
    mlflow.set_tracking_uri(pipeline.uri)
    return model_loading.load_predictor(
        registry.version_with_alias("ChurnXGB", "staging")
    ), pd.read_parquet("data/prepared/test.parquet")


@pytest.fixture
def rules(pipeline, inside):
    """The contract of the project's table."""
    inside(pipeline)
    return load_project_contract(load_params())


def test_it_gives_the_measured_probabilities(scorer, rules):
    """ROC AUC, Brier score and precision of what it returns are those of metrics.json."""
    from sklearn.metrics import brier_score_loss, precision_score, roc_auc_score

    loaded, rows = scorer
    scored = loaded.predict(rows.drop(columns=[rules.id, rules.target]))
    y = rows[rules.target] == rules.positive
    measured = json.loads(paths.METRICS.read_text())
    assert roc_auc_score(y, scored["churn_probability"]) == pytest.approx(
        measured["roc_auc"], abs=1e-6
    )
    assert brier_score_loss(y, scored["churn_probability"]) == pytest.approx(
        measured["brier"], abs=1e-6
    )
    assert precision_score(y, scored["churn"]) == pytest.approx(measured["precision"], abs=1e-6)


def test_it_holds_the_very_files_that_dvc_tracks(scorer, pipeline):
    """The md5 of booster and contract inside the version are dvc.lock's; no file in it is a
    pickle.
    """
    import mlflow

    folder = mlflow.artifacts.download_artifacts("models:/ChurnXGB@staging")
    files = {os.path.join(root, name) for root, _, names in os.walk(folder) for name in names}
    found = {os.path.basename(path): md5(path) for path in files}
    assert found["churn.ubj"] == pipeline.outs()["models/churn.ubj"]
    assert found["schema.yaml"] == md5("data/schema.yaml")
    assert [
        path for path in files if path.endswith((".pkl", ".pickle", ".joblib", ".cloudpickle"))
    ] == []
    with open(os.path.join(folder, "requirements.txt")) as requirements:
        assert sorted(requirements.read().split()) == sorted(
            environment.pinned_requirements(*environment.MODEL_PACKAGES)
        )


def test_it_has_signature_and_example(scorer, rules):
    loaded, rows = scorer
    inputs = loaded.metadata.signature.inputs
    assert inputs.input_names() == [name for name in rows if name not in (rules.id, rules.target)]
    assert loaded.metadata.signature.outputs.input_names() == ["churn_probability", "churn"]
    types = {"number": "double", "text": "string", "flag": "boolean"}
    assert [column.type.name for column in inputs.inputs] == [
        types[column.kind] for column in rules.features
    ]
    assert len(loaded.input_example) == 3


@pytest.mark.sample
def test_null_number_is_scored(scorer):
    """A customer in the first month has no total_charges yet."""
    loaded, rows = scorer
    rows = rows.head(2).assign(total_charges=[np.nan, 100.0])
    assert loaded.predict(rows)["churn_probability"].between(0, 1).all()


@pytest.mark.sample
@pytest.mark.parametrize(
    ("column", "change", "says"),
    [
        ("tenure", lambda rows: rows.drop(columns="tenure"), "tenure"),
        ("tenure", lambda rows: rows.assign(tenure="twelve"), "tenure"),
        (
            "contract",
            lambda rows: rows.assign(contract="Three year"),
            "'Three year' is not one of Month-to-month",
        ),
        (
            "contract",
            lambda rows: rows.assign(contract=None),
            "column contract: null where none is allowed",
        ),
        (
            "tenure",
            lambda rows: rows.assign(tenure=np.nan),
            "column tenure: null where none is allowed",
        ),
        ("tenure", lambda rows: rows.assign(tenure=np.inf), "column tenure: inf is too large"),
        (
            "tenure",
            lambda rows: rows.assign(tenure=1.5),
            "column tenure: 1.5 is not a whole number",
        ),
        ("female", lambda rows: rows.assign(female=2.0), "column female: 2.0 is not one of 0, 1"),
    ],
    ids=[
        "missing column",
        "text in a number",
        "unknown category",
        "null text",
        "null number",
        "infinity",
        "half a month",
        "unlisted number",
    ],
)
def test_bad_rows_are_refused_by_name(scorer, column, change, says):
    """Never a wrong number: an error that names the column (and the value)."""
    loaded, rows = scorer
    with pytest.raises(MlflowException, match=column) as caught:
        loaded.predict(change(rows.head(3)))
    assert says in str(caught.value)
    if says.startswith(("column", "'Three")):
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_contributions_add_up_to_the_score(rules):
    """TreeSHAP: a customer's contributions and the bias sum to the log odds that the model
    gives.
    """
    rows, booster = (
        pd.read_parquet("data/prepared/test.parquet").head(50),
        load_booster(paths.MODEL),
    )
    odds = feature_contributions(booster, rows, rules).sum(axis=1)
    assert np.allclose(
        1 / (1 + np.exp(-odds)), predict_probabilities(booster, rows, rules), atol=1e-5
    )


def test_flags_and_ranges_of_another_contract(tmp_path):
    """A flag is served as a double (MLflow's server would make true of "false" for a boolean) and
    must be 0 or 1; a range is kept, its open ends too.
    """

    (tmp_path / "schema.yaml").write_text(
        "columns:\n  id: {dtype: str}\n  left: {dtype: bool, isin: [false, true]}\n"
        "  plan: {dtype: bool}\n"
        "  calls: {dtype: float64, in_range: "
        "{min_value: 0, max_value: 9, include_min: false, include_max: true}}\n"
        "  bill: {dtype: float64, greater_than_or_equal_to: 5}\n"
    )
    rules = load_contract(tmp_path / "schema.yaml", "id", "left", True)
    assert {column.type.name for column in model_signature(rules).inputs.inputs} == {"double"}
    good = pd.DataFrame({"plan": [True, False], "calls": [1.0, 9.0], "bill": [5.0, 7.0]})
    assert encode_features(good, rules)["plan"].tolist() == [1.0, 0.0]
    for name, value in {"plan": 2.0, "calls": 0.0, "bill": 4.9}.items():
        with pytest.raises(UserError, match=f"column {name}: {value} is not"):
            encode_features(good.assign(**{name: value}), rules)
