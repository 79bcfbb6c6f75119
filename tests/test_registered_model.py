"""The registered model as a consumer gets it: models:/ChurnXGB@staging."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException

from churn import lineage


@pytest.fixture
def scorer(pipeline, inside, monkeypatch):
    """The model that `staging` names, loaded with pickles forbidden, and the test rows as a caller has them."""
    import mlflow

    from churn import registry

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    inside(pipeline)
    mlflow.set_tracking_uri(pipeline.uri)
    return registry.load("models:/ChurnXGB@staging"), pd.read_parquet("data/prepared/test.parquet")


def test_it_gives_the_measured_probabilities(scorer):
    """ROC AUC, Brier score and precision of what it returns are those of metrics.json."""
    from sklearn.metrics import brier_score_loss, precision_score, roc_auc_score

    loaded, rows = scorer
    scored = loaded.predict(rows.drop(columns=["churn", "customer_id"]))
    y = rows["churn"] == "Yes"
    measured = json.loads(lineage.METRICS.read_text())
    assert roc_auc_score(y, scored["churn_probability"]) == pytest.approx(measured["roc_auc"], abs=1e-6)
    assert brier_score_loss(y, scored["churn_probability"]) == pytest.approx(measured["brier"], abs=1e-6)
    assert precision_score(y, scored["churn"]) == pytest.approx(measured["precision"], abs=1e-6)


def test_it_holds_the_very_files_that_dvc_tracks(scorer, pipeline):
    """The md5 of booster and contract inside the version are dvc.lock's; no file in it is a pickle."""
    import mlflow

    folder = mlflow.artifacts.download_artifacts("models:/ChurnXGB@staging")
    files = {os.path.join(root, name) for root, _, names in os.walk(folder) for name in names}
    found = {os.path.basename(path): lineage.md5(path) for path in files}
    assert found["churn.ubj"] == pipeline.outs()["models/churn.ubj"]
    assert found["schema.yaml"] == lineage.md5("data/schema.yaml")
    assert [path for path in files if path.endswith((".pkl", ".pickle", ".joblib", ".cloudpickle"))] == []
    with open(os.path.join(folder, "requirements.txt")) as requirements:
        assert sorted(requirements.read().split()) == sorted(lineage.requirements(*lineage.MODEL_PACKAGES))


def test_it_has_signature_and_example(scorer):
    loaded, rows = scorer
    inputs = loaded.metadata.signature.inputs
    assert inputs.input_names() == [name for name in rows if name not in ("customer_id", "churn")]
    assert loaded.metadata.signature.outputs.input_names() == ["churn_probability", "churn"]
    assert {column.type.name for column in inputs.inputs} == {"double", "string"}
    assert len(loaded.input_example) == 3


def test_null_number_is_scored(scorer):
    """A customer in the first month has no total_charges yet."""
    loaded, rows = scorer
    rows = rows.head(2).assign(total_charges=[np.nan, 100.0])
    assert loaded.predict(rows)["churn_probability"].between(0, 1).all()


@pytest.mark.parametrize(
    ("column", "change", "says"),
    [
        ("tenure", lambda rows: rows.drop(columns="tenure"), "tenure"),
        ("tenure", lambda rows: rows.assign(tenure="twelve"), "tenure"),
        ("contract", lambda rows: rows.assign(contract="Three year"), "'Three year' is not one of Month-to-month"),
        ("contract", lambda rows: rows.assign(contract=None), "None is not one of Month-to-month"),
    ],
    ids=["missing column", "text in a number", "unknown category", "null text"],
)
def test_bad_rows_are_refused_by_name(scorer, column, change, says):
    """Never a wrong number: an error that names the column (and the value)."""
    loaded, rows = scorer
    with pytest.raises(MlflowException, match=column) as caught:
        loaded.predict(change(rows.head(3)))
    assert says in str(caught.value)
    if "category" in says:
        assert caught.value.error_code == "INVALID_PARAMETER_VALUE"


def test_contributions_add_up_to_the_score(pipeline, inside):
    """TreeSHAP: a customer's contributions and the bias sum to the log odds that the model gives."""
    from churn import contract, model

    inside(pipeline)
    rules = contract.load(lineage.SCHEMA, "customer_id", "churn", "Yes")
    rows, booster = pd.read_parquet("data/prepared/test.parquet").head(50), model.load(lineage.MODEL)
    odds = model.contributions(booster, rows, rules).sum(axis=1)
    assert np.allclose(1 / (1 + np.exp(-odds)), model.predict(booster, rows, rules), atol=1e-5)
