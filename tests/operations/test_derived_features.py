"""A model with derived features is served as it was trained, on every path, and says so in words.

The features are those of src/churn/data/features.py; all of them are used.
"""

import json

import numpy as np
import pandas as pd
import pytest
from test_serving import records, started

from churn.data.features import FEATURES
from churn.data.project_contract import load_project_contract
from churn.modeling.booster import load_booster, predict_probabilities
from churn.modeling.encoding import encode_features
from churn.params import load_params
from churn.tracking.logged_model import scoring_code_md5
from conftest import Project

pytestmark = pytest.mark.sample


@pytest.fixture(scope="module")
def project(tiny_pipeline, tmp_path_factory) -> Project:
    """A model with every derived feature, in production."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("features"))
    project.set(features=list(FEATURES))
    assert project.executed() == ["train", "evaluate"], "the data are the same"
    project.commit("derived features")
    project.out("python", "src/promote.py", "--reason", "features", "--yes")
    return project


@pytest.fixture
def rows(project, inside) -> pd.DataFrame:
    """The whole table, with nulls, as a caller has it."""
    inside(project)
    return pd.read_parquet("data/raw.parquet").drop(columns="churn")


@pytest.fixture
def expected(project, inside) -> np.ndarray:
    """The probabilities of the booster in the workspace."""
    inside(project)
    contract = load_project_contract(load_params())
    booster = load_booster("models/churn.ubj")
    rows = pd.read_parquet("data/raw.parquet")
    assert booster.feature_names[-len(FEATURES) :] == list(FEATURES)
    return predict_probabilities(booster, rows, contract)


def test_a_row_alone_has_the_features_that_it_has_in_a_batch(rows):
    """So that a request of one customer is answered as a batch is."""
    contract = load_project_contract(load_params())
    some = pd.concat([rows.head(100), rows[rows["total_charges"].isna()]])
    batch = encode_features(some, contract)
    assert batch["mean_charge"].isna().any(), "rows with nulls are among them"
    alone = [encode_features(some.iloc[[row]], contract) for row in range(len(some))]
    pd.testing.assert_frame_equal(pd.concat(alone, ignore_index=True), batch)


def test_batch_scores_are_the_boosters(project, rows, expected, tmp_path):
    """With reasons that name the derived features in words, with their values."""
    rows.to_parquet(tmp_path / "customers.parquet")
    files = [str(tmp_path / "customers.parquet"), str(tmp_path / "scores.parquet")]
    project.out("python", "src/score.py", *files, "--explain")
    scores = pd.read_parquet(files[1])
    assert np.array_equal(scores["churn_probability"], expected)
    assert check_reasons(scores, rows) > 0

    shown = project.run("python", "src/monitor.py", *files)
    drift = pd.read_csv(monitoring_table(project), index_col=0)
    assert set(FEATURES) <= set(drift.index), shown.stderr
    assert (drift.loc[list(FEATURES), "psi"] < 0.01).all(), "the training rows are among them"


def monitoring_table(project: Project) -> str:
    """The drift table in the latest run of monitor.py."""
    run = project.runs("monitor")[0]
    names = [item.path for item in project.client.list_artifacts(run.info.run_id)]
    table = next(name for name in names if name.endswith(".csv"))
    return project.client.download_artifacts(run.info.run_id, table)


def check_reasons(scores: pd.DataFrame, rows: pd.DataFrame) -> int:
    """See that each reason that names a derived feature has its value; how many there are."""
    derived = encode_features(rows, load_project_contract(load_params()))
    names = {feature.title: name for name, feature in FEATURES.items()}
    found = 0
    for column in ("reason_1", "reason_2", "reason_3"):
        for row, reason in enumerate(scores[column]):
            title, value = reason.split(" = ")
            if title in names:
                expected = derived[names[title]].iloc[row]
                assert value == ("null" if pd.isna(expected) else str(expected))
                found += 1
    return found


def test_the_servers_answers_are_the_boosters(project, rows, expected):
    project.use_environment()
    asked = rows.drop(columns="customer_id").head(50)
    command = ["python", "src/serve.py", "--port", "<port>"]
    with started(project, *command) as server:
        answers = server.probabilities(records(json.loads(asked.to_json(orient="records"))))
    assert np.array_equal(answers, expected[:50])


def test_the_code_that_was_logged_computes_the_features(project, rows, expected, tmp_path):
    """Whoever edits features.py changes the next model, and not the one in production."""
    edited = project.copy(tmp_path / "edited")
    code = edited.folder / "src/churn/data/features.py"
    code.write_text(code.read_text().replace("[name] = numbers", "[name] = numbers * 100"))
    rows.head(300).to_parquet(tmp_path / "customers.parquet")
    files = [str(tmp_path / "customers.parquet"), str(tmp_path / "scores.parquet")]
    edited.out("python", "src/score.py", *files, "--explain")
    scores = pd.read_parquet(files[1])
    assert np.array_equal(scores["churn_probability"], expected[:300])
    assert check_reasons(scores, rows.head(300)) > 0

    codes = [folder / "src/churn" for folder in (project.folder, edited.folder)]
    assert scoring_code_md5(codes[0]) != scoring_code_md5(codes[1]), "the next one is a new version"


def test_the_model_card_and_the_plots_name_them(project):
    importance = pd.read_csv(project.folder / "reports/plots/importance.csv")
    titles = [feature.title for feature in FEATURES.values()]
    assert set(titles) <= set(importance["feature"])
    card = (project.folder / "reports/model_card.md").read_text()
    for name, feature in FEATURES.items():
        assert f"{feature.title} (`{name}`)" in card


def test_a_name_that_there_is_not_ends_the_run(project, tmp_path):
    broken = project.copy(tmp_path / "broken")
    broken.set(features=["service"])
    result = broken.run("python", "src/train.py")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "features names 'service', which src/churn/data/features.py does not have" in (
        result.stderr
    )
