"""A new parameter of XGBoost is two lines: one in params.yaml, one in params.py."""

from churn.modeling.booster import load_booster
from conftest import Project


def leaves_per_tree(project: Project) -> float:
    """The mean number of leaves of the model's trees."""
    trees = load_booster(project.folder / "models/churn.ubj").trees_to_dataframe()
    return (trees["Feature"] == "Leaf").sum() / trees["Tree"].nunique()


def test_gamma_reaches_model_mlflow_and_dvc(tiny_pipeline, tmp_path):
    """It is in the model, in MLflow and in `dvc params diff`, as CONTRIBUTING.md says."""
    project = tiny_pipeline.copy(tmp_path)
    before = leaves_per_tree(project)
    edits = {
        "params.yaml": ("  early_stopping: ", "  gamma: 20.0\n  early_stopping: "),
        "src/churn/params.py": (
            "class Train(Section):\n",
            "class Train(Section):\n    gamma: float = Field(ge=0)\n",
        ),
    }
    for name, (old, new) in edits.items():
        text = (project.folder / name).read_text()
        assert text.count(old) == 1
        (project.folder / name).write_text(text.replace(old, new))

    project.out("dvc", "repro")
    changed = project.out("git", "diff", "--name-only", "HEAD").split()
    assert set(changed) - {"dvc.lock", "reports/metrics.json"} == set(edits)

    assert leaves_per_tree(project) < before, "gamma is the loss that a split must save"
    run = project.runs("train")[0]
    assert run.data.params["train.gamma"] == "20.0"
    assert "train.gamma" in project.out("dvc", "params", "diff")


def test_xgb_classifier_can_be_fitted_beside_the_pipeline(tmp_path):
    """The first thing that somebody tries in a notebook works in a process with this code."""
    import numpy as np
    import xgboost as xgb

    rows = np.random.default_rng(0).normal(size=(50, 2))
    model = xgb.XGBClassifier(n_estimators=2).fit(rows, rows[:, 0] > 0)
    assert model.predict(rows).shape == (50,)
