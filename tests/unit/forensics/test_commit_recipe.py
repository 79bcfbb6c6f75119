"""The recipe of a commit, from its dvc.lock, in the forms that older and newer commits have."""

import dataclasses
import json

import pytest

from churn import paths
from churn.errors import UserError
from churn.forensics import commit_recipe
from churn.tracking import git_state

OLDER = {"seed": 1, "data.id": "customer", "train.max_depth": 4, "evaluate.costs.contact": 40.0}
NEWER = {
    "seed": 1,
    "data": {"id": "customer"},
    "train": {"max_depth": 4},
    "evaluate": {"costs": {"contact": 40.0}},
}


@pytest.fixture
def files(monkeypatch) -> dict[str, str]:
    """The files of a commit, by path: git shows these."""
    files = {"requirements.txt": "numpy==1\n", str(paths.METRICS): '{"roc_auc": 0.8, "gate": "ok"}'}

    def git(command: str, *arguments: str, check: bool = True) -> str:
        assert command == "show"
        commit, path = arguments[0].split(":")
        assert commit == "c0ffee"
        return files.get(path, "")

    monkeypatch.setattr(git_state, "git", git)
    monkeypatch.setattr(commit_recipe, "project_folder_in", lambda commit: "")
    return files


def lock_with(parameters: dict[str, object]) -> str:
    """A dvc.lock of one stage that reads these parameters and makes everything."""
    deps = [paths.RAW, paths.SCHEMA, "src/train.py"]
    outs = [*paths.SPLITS.values(), paths.MODEL, paths.METRICS]
    stage = {
        "deps": [{"path": str(path), "md5": f"md5 of {path}"} for path in deps],
        "params": {"params.yaml": parameters},
        "outs": [{"path": str(path), "md5": f"md5 of {path}"} for path in outs],
    }
    return json.dumps({"schema": "2.0", "stages": {"all": stage}})  # JSON is YAML


def test_parameters_by_name_and_by_section(files):
    """A lock that has sections gives the same recipe as one that has each parameter by its name."""
    files["dvc.lock"] = lock_with(OLDER)
    older = commit_recipe.recipe_of_commit("main", "c0ffee", "main (c0ffee)")
    files["dvc.lock"] = lock_with(NEWER)
    newer = commit_recipe.recipe_of_commit("main", "c0ffee", "main (c0ffee)")

    assert older.params == OLDER
    assert dataclasses.asdict(older) == dataclasses.asdict(newer)
    assert older.metrics == {"roc_auc": 0.8}
    assert set(older.deps) == {"src/train.py", str(paths.SCHEMA)}
    assert set(older.outs) == {str(path) for path in (*paths.SPLITS.values(), paths.MODEL)}


@pytest.mark.parametrize("missing", ["dvc.lock", str(paths.METRICS)])
def test_a_commit_without_a_model(files, missing):
    """It is refused with what would have recorded one."""
    files["dvc.lock"] = lock_with(NEWER)
    del files[missing]
    with pytest.raises(UserError, match="names no model; `dvc repro` and a commit would have"):
        commit_recipe.recipe_of_commit("main", "c0ffee", "main (c0ffee)")
