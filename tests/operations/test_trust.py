"""A version whose files somebody changed: nothing in it runs, in no command that loads a model."""

import json
import re
import shutil
import sys
from pathlib import Path

import mlflow
import pytest

import monitor
import promote
import score
import serve
from churn import paths
from churn.errors import UserError
from churn.files import md5
from churn.tracking import logged_model, model_loading, registered_versions
from conftest import Project, free_port


@pytest.fixture(scope="module")
def scored(tiny_pipeline, tmp_path_factory) -> Project:
    """A project with version 1 in production, version 2 in staging, and scores that version 1
    gave.
    """
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("trust"))
    project.out("python", "src/promote.py", "--reason", "first", "--yes")
    project.out("python", "src/score.py", "data/raw.parquet", "given.parquet")
    project.set(**{"evaluate.costs.contact": 80.0})
    project.out("dvc", "repro")
    return project


@pytest.fixture
def project(scored, inside, monkeypatch, tmp_path) -> Project:
    """The same with a registry of the test's own, temporary files in a folder of its own, and the
    files of version 1 put back afterwards.
    """
    shutil.copy(scored.folder / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.setattr(scored, "uri", f"sqlite:///{tmp_path}/mlflow.db")
    inside(scored)
    mlflow.set_tracking_uri(scored.uri)
    shutil.copytree(files(scored), tmp_path / "good")
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    yield scored
    folder = files(scored)
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "good", folder)


def files(project: Project) -> Path:
    """Where the store keeps the files of version 1."""
    uri = project.client.get_model_version_download_uri("ChurnXGB", "1")
    if uri.startswith("models:/"):
        uri = project.client.get_logged_model(uri.removeprefix("models:/")).artifact_location
    return Path(uri.removeprefix("file://"))


CANARY = "open({!r}, 'w').close()\n"


def command(monkeypatch, main, *arguments: str) -> str:
    """What a command refuses."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(UserError) as caught:
        main()
    return str(caught.value)


def test_every_changed_added_or_removed_file_is_noticed(project, tmp_path):
    """Each file of the model in turn, new ones beside them, and MLmodel naming another loader:
    found before anything is imported.
    """
    folder, good, canary = files(project), tmp_path / "good", tmp_path / "canary"
    version = registered_versions.version_by_number("ChurnXGB", "1")
    model_loading.load_predictor(version)
    names = sorted(path.relative_to(good) for path in good.rglob("*") if path.is_file())
    names = [
        name
        for name in names
        if name.name != logged_model.ADDED and "__pycache__" not in name.parts
    ]
    assert {"MLmodel", "scoring.py", "code/churn/__init__.py", "artifacts/churn.ubj"} <= set(
        map(str, names)
    )
    for name in names:
        path = folder / name
        content = path.read_bytes()
        path.write_bytes(
            CANARY.format(str(canary)).encode() + content
            if name.suffix == ".py"
            else content + b" "
        )
        with pytest.raises(UserError, match="is not what was registered"):
            model_loading.load_predictor(version)
        path.unlink()
        with pytest.raises(UserError, match="is not what was registered|cannot be read"):
            model_loading.load_predictor(version)
        path.write_bytes(content)
    for name in (
        "extra.py",
        "code/mlflow.py",
        "code/churn/numpy.py",
        "code/churn/model.pyc",
        f"code/{logged_model.ADDED}",
    ):
        (folder / name).write_text(CANARY.format(str(canary)))
        with pytest.raises(UserError, match="is not what was registered"):
            model_loading.load_predictor(version)
        (folder / name).unlink()
    (folder / "code/evil.py").write_text(CANARY.format(str(canary)))
    model = folder / "MLmodel"
    model.write_text(re.sub("loader_module: .*", "loader_module: evil", model.read_text()))
    with pytest.raises(UserError, match="files_md5 of its files is"):
        model_loading.load_predictor(version)
    assert not canary.exists()


@pytest.mark.parametrize("tag", [*logged_model.IDENTITY, logged_model.SEAL])
def test_a_changed_tag_is_noticed(project, monkeypatch, tmp_path, tag):
    """Each tag that names the files, in turn: nothing is scored and nothing promoted."""
    changed = "0.01" if tag == "threshold" else "0" * 32
    project.client.set_model_version_tag("ChurnXGB", "1", tag, changed)
    project.client.set_registered_model_alias("ChurnXGB", "staging", "1")
    project.client.set_model_version_tag("ChurnXGB", "1", "test_md5", md5(paths.SPLITS["test"]))
    says = f"ChurnXGB version 1 is not what was registered: {tag} of its files is "
    scores = tmp_path / "s.parquet"
    assert says in command(monkeypatch, score.main, "data/raw.parquet", str(scores))
    assert not scores.exists()
    project.client.delete_registered_model_alias("ChurnXGB", "production")
    assert says in command(monkeypatch, promote.main, "--reason", "x", "--yes")
    assert project.alias("production") is None


def test_compiled_code_never_runs(project, tmp_path):
    """Python runs a .pyc instead of the source beside it, and writes one whenever a model is loaded
    where it lies: it is neither a change of the version, nor read.
    """
    cache = files(project) / "code/churn/__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / f"model.{sys.implementation.cache_tag}.pyc").write_bytes(b"no code at all")
    model_loading.load_predictor(registered_versions.version_by_number("ChurnXGB", "1"))


def test_no_command_runs_a_changed_version(project, tmp_path, monkeypatch, capsys):
    """score, serve, monitor, promote, rollback and an evaluation that compares with production:
    each refuses, and the canary in the model's own scoring.py stays silent. A person can still
    replace what is in production.
    """
    canary, path = tmp_path / "canary", files(project) / "scoring.py"
    path.write_text(CANARY.format(str(canary)) + path.read_text())
    says = "ChurnXGB version 1 is not what was registered"
    assert says in command(monkeypatch, score.main, "data/raw.parquet", str(tmp_path / "s.parquet"))
    assert says in command(monkeypatch, serve.main, "--port", str(free_port()))
    assert says in command(monkeypatch, monitor.main, "data/raw.parquet", "given.parquet")
    project.set(**{"evaluate.costs.contact": 20.0})
    refused = project.run("dvc", "repro", MLFLOW_TRACKING_URI=project.uri)
    assert (
        refused.returncode != 0
        and "no model can be compared with the one in production" in refused.stderr
    )
    assert len(project.versions()) == 2

    monkeypatch.setattr(sys, "argv", ["promote.py", "--reason", "second", "--yes"])
    promote.main()
    assert f"no comparison with production: {says}" in capsys.readouterr().out
    assert says in command(monkeypatch, promote.main, "--rollback", "--reason", "x", "--yes")
    project.client.set_registered_model_alias("ChurnXGB", "staging", "1")
    project.client.set_model_version_tag("ChurnXGB", "1", "test_md5", md5(paths.SPLITS["test"]))
    assert says in command(monkeypatch, promote.main, "--reason", "x", "--yes")
    assert project.alias("production") == "2" and not canary.exists()


def test_no_copy_of_a_model_is_left(project, tmp_path, monkeypatch, capsys):
    """A model that is loaded leaves nothing in the temporary folder."""
    monkeypatch.setattr(sys, "argv", ["score.py", "data/raw.parquet", str(tmp_path / "s.parquet")])
    score.main()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_version_of_an_earlier_release(project, tmp_path, capsys):
    """Without the tag of the whole, what its tags do tell of is checked, and that this is less is
    said.
    """
    mlflow.MlflowClient().delete_model_version_tag("ChurnXGB", "1", logged_model.SEAL)
    version = registered_versions.version_by_number("ChurnXGB", "1")
    model_loading.load_predictor(version)
    assert "ChurnXGB version 1 is of an earlier release" in capsys.readouterr().err
    config = files(project) / "artifacts/scoring.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"threshold": 0.01}))
    with pytest.raises(UserError, match="threshold of its files is 0.01"):
        model_loading.load_predictor(version)
