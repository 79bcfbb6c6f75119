"""The project in folders with odd names, and as a folder of a bigger git repository."""

import shutil

import mlflow
import pytest
from mlflow.utils.file_utils import path_to_local_sqlite_uri

from churn.tracking import git_state, runs
from conftest import Project


def test_a_store_in_an_odd_folder(tmp_path, monkeypatch):
    """A run and its artifact are in the project's folder, by the URI that MLflow's launcher hands
    on.
    """
    folder = tmp_path / "my Kündigung 100% a#b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", path_to_local_sqlite_uri(str(folder / "mlflow.db")))
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "odd")
    with runs.open_run("odd", {"stage": "odd"}) as run:
        mlflow.log_text("here", "odd.txt")
    assert mlflow.artifacts.load_text(f"runs:/{run.info.run_id}/odd.txt") == "here"
    assert [path.read_text() for path in folder.glob("mlartifacts/**/odd.txt")] == ["here"]
    assert sorted(path.name for path in folder.iterdir()) == [".dvc", "mlartifacts", "mlflow.db"]
    assert list(tmp_path.iterdir()) == [folder]


def test_mlflow_run_in_an_odd_folder(tmp_path):
    """`mlflow run .` without a store of the user's, from a folder with a blank and a letter beyond
    ASCII.
    """
    project = Project.clone(tmp_path / "my Kündigung", tiny=True)
    project.out("mlflow", "run", ".", "--env-manager", "local", "-e", "preprocess")
    (run,) = project.runs("preprocess")
    assert run.info.status == "FINISHED" and "mlflow.parentRunId" in run.data.tags
    assert [path.name for path in tmp_path.iterdir() if (path / "mlflow.db").exists()] == [
        "my Kündigung"
    ]


@pytest.fixture(scope="module")
def bigger(tiny_pipeline, tmp_path_factory) -> Project:
    """A tiny project as the folder teams/churn of a bigger repository, which has files of its own;
    version 2 is of a tree that differed from the commit, inside the project and outside.
    """
    top = tmp_path_factory.mktemp("bigger")
    (top / "other").mkdir()
    (top / "other/notes.txt").write_text("one\n")
    project = tiny_pipeline.copy(top / "teams/churn")
    (project.folder / ".git").rename(top / ".git")
    project.commit("a folder of a bigger repository")
    (top / "other/notes.txt").write_text("two\n")
    project.set(**{"train.max_depth": 3})
    code = project.folder / "src/churn/modeling/booster.py"
    code.write_text(
        code.read_text().replace("**settings,", '**{**settings, "max_depth": train.max_depth + 1},')
    )
    project.out("dvc", "repro")
    return project


def test_what_differs_is_the_projects_own(bigger, inside):
    """The patch has paths within the project, and nothing of what changed around it."""
    inside(bigger)
    patch = git_state.patch()
    assert (
        "a/src/churn/modeling/booster.py" in patch
        and "a/params.yaml" in patch
        and "other" not in patch
    )
    bigger.out("git", "stash", "-q", "--", ".")
    assert (
        git_state.code_tags()["git_dirty"] == "false"
        and git_state.code_tags()["git_commit"] != "none"
    )
    bigger.out("git", "stash", "pop", "-q")


# only forensics
def test_a_checkout_of_a_folder(bigger, inside):
    """Versions and commits can be checked out, with the files that their stages read: what is made
    of this tree, and the version of a commit in which the project was the repository's root.
    """
    from churn import paths
    from churn.files import md5
    from churn.forensics import workspace
    from churn.forensics.commit_recipe import project_folder_in
    from churn.forensics.resolve import resolve_recipe

    inside(bigger)
    for what, place in (("2", "teams/churn/"), ("HEAD", "teams/churn/"), ("1", "")):
        made = resolve_recipe(what)
        assert project_folder_in(made.commit) == place
        with workspace.checkout(made) as folder:
            assert {path: md5(folder / path) for path in made.deps} == made.deps
            assert md5(folder / paths.RAW) == made.data_md5


def test_why_in_a_folder(bigger):
    """Versions and commits are compared as in a repository of its own."""
    printed = bigger.out("python", "src/why.py", "1", "2")
    assert (
        "max_depth" in printed
        and "src/churn/modeling/booster.py" in printed
        and "notes.txt" not in printed
    )
    same = bigger.run("python", "src/why.py", "HEAD", "1")
    assert same.returncode == 1 and "made of the same code" in same.stderr


# end
def test_make_reset_leaves_a_bigger_repository_alone(bigger):
    """It would take what others changed with it."""
    refused = bigger.run("make", "reset", "YES=1")
    assert refused.returncode != 0 and "a folder of a bigger repository" in refused.stderr
    assert (bigger.folder / "../../other/notes.txt").read_text() == "two\n"


def test_a_project_in_somebodys_repository_that_does_not_hold_it(tmp_path, monkeypatch):
    """A commit without the project is not the project's commit."""
    project = Project.clone(tmp_path / "team/churn")
    shutil.rmtree(project.folder / ".git")
    project.out("git", "init", "-q", cwd=tmp_path)
    someone = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    project.out("git", *someone, "commit", "-q", "--allow-empty", "-m", "x", cwd=tmp_path)
    monkeypatch.chdir(project.folder)
    assert git_state.code_tags() == {
        "git_commit": "none",
        "git_dirty": "false",
        "patch_md5": "none",
    }
