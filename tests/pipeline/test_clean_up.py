"""`make gc` deletes for good what nobody needs, and never what a registered version came from."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import mlflow
import pytest

from churn.errors import UserError
from churn.files import is_intact
from churn.tracking import garbage
from conftest import BIN, Project

pytestmark = pytest.mark.sample


@pytest.fixture
def project(tiny_pipeline, tmp_path, inside, monkeypatch) -> Project:
    """A project whose version is of a commit that no branch has any more."""
    monkeypatch.setenv("PATH", str(BIN), prepend=":")
    project = inside(tiny_pipeline.copy(tmp_path))
    project.out("git", "reset", "--quiet", "--hard", "HEAD~1")
    return project


def cached(digest: str) -> Path:
    """The file of DVC's cache with this md5."""
    return Path(".dvc/cache/files/md5", digest[:2], digest[2:])


def add_unused_file(project: Project, text: str) -> Path:
    """A file of DVC's cache whose .dvc file was deleted."""
    Path("extra.txt").write_text(text)
    project.out("dvc", "add", "--quiet", "extra.txt")
    path = cached(Path("extra.txt.dvc").read_text().split("md5: ")[1].split()[0])
    Path("extra.txt").unlink()
    Path("extra.txt.dvc").unlink()
    assert path.exists()
    return path


def delete_a_run(project: Project) -> Path:
    """Mark a run deleted that nothing came from; its folder."""
    experiment = project.client.get_run(project.versions()[0].run_id).info.experiment_id
    run = project.client.create_run(experiment, run_name="a failure")
    project.client.log_text(run.info.run_id, "text", "note.txt")
    project.client.delete_run(run.info.run_id)
    return Path(project.folder, "mlartifacts", run.info.run_id)


def check_registered(project: Project) -> None:
    """The version, its run, its model and its data are here, and unharmed."""
    (version,) = project.versions()
    assert project.client.get_run(version.run_id).info.lifecycle_stage == "active"
    mlflow.set_tracking_uri(project.uri)
    assert mlflow.pyfunc.load_model("models:/ChurnXGB@staging")
    for name in ("data_md5", "train_md5", "valid_md5", "test_md5", "model_md5"):
        digest = version.tags[name]
        assert is_intact(cached(digest), digest), name


def test_what_goes_and_what_stays(project, call, capsys):
    """Shown, then deleted: a run, a logged model and an experiment that are marked deleted, with
    their files, and cached files that nothing names. The version keeps all that its tags name,
    though no commit does.
    """
    client = project.client
    run_folder = delete_a_run(project)
    experiment = client.create_experiment("abandoned", f"file://{project.folder}/mlartifacts")
    inner = client.create_run(experiment).info.run_id
    client.delete_experiment(experiment)
    model = client.create_logged_model(project.runs()[0].info.experiment_id, name="unused")
    client.delete_logged_model(model.model_id)
    unused = add_unused_file(project, "unused")
    registered = cached(project.versions()[0].tags["model_md5"]).absolute()
    assert registered in garbage.unused_files()  # as far as DVC knows

    assert call("clean_up", "--yes") == "0"
    printed = capsys.readouterr().out
    for identifier in (run_folder.name, inner, experiment, model.model_id):
        assert f" {identifier}  " in printed
    assert f"{unused.parent.name}/{unused.name}  6 bytes" in printed
    assert "kept, since only a registered version names them: " in printed
    assert not unused.exists() and not Path(run_folder, "artifacts").exists()
    for search in ("ACTIVE_ONLY", "DELETED_ONLY"):
        kind = getattr(mlflow.entities.ViewType, search)
        found = client.search_runs([e.experiment_id for e in client.search_experiments()], "", kind)
        assert run_folder.name not in [run.info.run_id for run in found]
    assert client.get_experiment_by_name("abandoned") is None
    check_registered(project)

    assert call("clean_up") == "0"
    assert "marked deleted in MLflow: 0\n" in capsys.readouterr().out


@pytest.mark.parametrize("marked", ["run", "parent", "experiment", "logged model"])
def test_what_a_version_came_from_is_never_deleted(project, call, marked, monkeypatch):
    """Neither its run, the run's parent or its model, nor their experiment: the message names the
    version, and nothing at all is deleted.
    """
    client, (version,) = project.client, project.versions()
    run_folder, unused = delete_a_run(project), add_unused_file(project, "unused")
    if marked == "run":
        client.delete_run(version.run_id)
    elif marked == "parent":
        experiment = client.get_run(version.run_id).info.experiment_id
        parent = client.create_run(experiment).info.run_id
        client.set_tag(version.run_id, "mlflow.parentRunId", parent)
        client.delete_run(parent)
    elif marked == "experiment":
        client.delete_experiment(client.get_run(version.run_id).info.experiment_id)
        # No command works in an experiment that is marked deleted.
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another")
    else:
        client.delete_logged_model(version.source.removeprefix("models:/"))
    message = call("clean_up", "--yes")
    assert "error: ChurnXGB version 1 came from the " in message
    assert message.rstrip().endswith("then try again. Nothing was deleted")
    assert unused.exists() and Path(run_folder, "artifacts/note.txt").exists()
    assert client.get_run(version.run_id)

    if marked == "run":
        command = message.split("`")[1]
        assert command == f"mlflow runs restore --run-id {version.run_id}"
        subprocess.run([sys.executable, "-m", *command.split()], check=True, capture_output=True)
        assert call("clean_up", "--yes") == "0"
        assert not unused.exists() and not Path(run_folder, "artifacts").exists()
        check_registered(project)


def test_it_asks(project, call, monkeypatch):
    """Without a terminal, after an answer that is not yes, and if the registry has changed before
    the answer, nothing is deleted.
    """
    run_folder, unused = delete_a_run(project), add_unused_file(project, "unused")
    assert "add --yes to answer in advance" in call("clean_up")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert call("clean_up") == "error: nothing was changed"

    def meanwhile(question: str) -> str:
        """Somebody deletes the run of the version before the answer."""
        project.client.delete_run(project.versions()[0].run_id)
        return "y"

    monkeypatch.setattr("builtins.input", meanwhile)
    assert "came from the run" in call("clean_up")
    assert unused.exists() and Path(run_folder, "artifacts/note.txt").exists()


def test_experiments_keep_their_data(project):
    """A file that only a DVC experiment names is no garbage until the experiment is removed."""
    Path("data/extra.txt").write_text("of an experiment")
    project.out("dvc", "add", "--quiet", "data/extra.txt")
    path = cached(Path("data/extra.txt.dvc").read_text().split("md5: ")[1].split()[0])
    project.out("dvc", "exp", "save", "--include-untracked", "data/extra.txt.dvc", "--name", "e")
    Path("data/extra.txt.dvc").unlink()
    assert path.absolute() not in garbage.unused_files()
    project.out("dvc", "exp", "remove", "e")
    assert path.absolute() in garbage.unused_files()


def test_a_part_of_the_history_is_not_enough(project, tmp_path_factory, monkeypatch):
    """A shallow clone does not know what old commits name."""
    shallow = tmp_path_factory.mktemp("shallow")
    project.out("git", "commit", "--quiet", "--allow-empty", "-m", "one more")
    project.out("git", "clone", "--quiet", "--depth=1", f"file://{project.folder}", str(shallow))
    monkeypatch.chdir(shallow)
    with pytest.raises(UserError, match="git fetch --unshallow"):
        garbage.unused_files()


def test_a_cache_of_several_projects(project, tmp_path_factory):
    """What one project does not name may be another's."""
    elsewhere = tmp_path_factory.mktemp("cache")
    project.out("dvc", "cache", "dir", "--local", str(elsewhere))
    Path("extra.txt").write_text("another project's")
    project.out("dvc", "add", "--quiet", "extra.txt")
    Path("extra.txt.dvc").unlink()
    with pytest.raises(UserError, match="which other projects may use"):
        garbage.unused_files()
