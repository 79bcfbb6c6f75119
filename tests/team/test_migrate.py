"""`deploy/migrate.py`: from one person's SQLite file and folders to the server of a team."""

import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import ViewType

from churn.files import md5
from conftest import BIN, ROOT, Project

pytestmark = pytest.mark.sample


def fill(project: Project) -> None:
    """What a pipeline's store may have besides: a second version, deleted things, odd values."""
    client, first = project.client, project.versions()[0]
    mlflow.set_tracking_uri(project.uri)  # where MLflow looks for the model of a new version
    client.create_model_version("ChurnXGB", first.source, first.run_id, tags=first.tags)
    client.set_registered_model_alias("ChurnXGB", "champion", "2")
    folder = f"file://{project.folder}/mlartifacts"
    side = client.create_experiment("side", folder, tags={"unit": "µm ✓"})
    gone = client.create_experiment("abandoned", folder)
    for experiment in (side, side, gone, "0"):
        run = client.create_run(experiment, tags={"text": "Größe '\"\\ 🙂"}).info.run_id
        for step, value in enumerate((0.1, float("nan"), float("inf"), 5e-324)):
            client.log_metric(run, "odd", value, step=step)
        client.log_param(run, "long", "x" * 6000)
        client.log_text(run, "a note", "folder with space/note ü.txt")
        client.log_text(run, "", "empty.txt")
    client.delete_run(client.search_runs([side])[0].info.run_id)
    client.delete_experiment(gone)


def contents(client: mlflow.MlflowClient) -> dict[str, object]:
    """All that MLflow's client says of a database, without the addresses of artifacts.

    Of a server it says the same in other types ("" for None).
    """
    experiments = client.search_experiments(ViewType.ALL)
    ids = sorted(experiment.experiment_id for experiment in experiments)
    found: dict[str, object] = {}
    for experiment in experiments:
        found[experiment.experiment_id] = (
            experiment.name,
            experiment.lifecycle_stage,
            experiment.creation_time,
            experiment.tags,
        )
    for run in client.search_runs(ids, "", ViewType.ALL, max_results=1000):
        info = {**dict(run.info), "artifact_uri": None}
        history = [
            [(point.step, point.timestamp, str(point.value)) for point in points]
            for points in (
                client.get_metric_history(run.info.run_id, key) for key in run.data.metrics
            )
        ]
        inputs = [dataset.to_dictionary() for dataset in run.inputs.dataset_inputs]
        found[run.info.run_id] = (info, run.data.params, run.data.tags, history, inputs)
    for model in client.search_logged_models(ids):
        found[model.model_id] = {**plain(model.to_dictionary()), "artifact_location": None}
    for model in client.search_registered_models():
        found[model.name] = (model.aliases, model.tags, model.description)
    for version in client.search_model_versions(""):
        found[f"version {version.version}"] = plain(dict(version))
    return found


def plain(fields: dict[str, object]) -> dict[str, object]:
    """The fields of an object of MLflow, lists in one order; some of its classes know no ==."""
    return {
        name: sorted(map(str, value)) if isinstance(value, list) else value
        for name, value in fields.items()
    }


def artifacts(client: mlflow.MlflowClient) -> dict[str, str]:
    """The md5 of every artifact of every run and of the models, as the client downloads them."""
    found = {}
    ids = [experiment.experiment_id for experiment in client.search_experiments(ViewType.ALL)]
    uris = [model.artifact_location for model in client.search_logged_models(ids)]
    for run in client.search_runs(ids, "", ViewType.ALL):
        if client.list_artifacts(run.info.run_id):  # else there is no folder, which is an error
            uris.append(run.info.artifact_uri)
    for uri in uris:
        owner = uri.split("/")[-2]
        with tempfile.TemporaryDirectory() as target:
            mlflow.artifacts.download_artifacts(
                artifact_uri=uri, dst_path=target, tracking_uri=client.tracking_uri
            )
            for path in Path(target).rglob("*"):
                if path.is_file():
                    found[f"{owner}/{path.relative_to(target)}"] = md5(path)
    return found


def files(project: Project) -> dict[str, str]:
    """The md5 of the old store's files."""
    paths = [project.folder / "mlflow.db", *(project.folder / "mlartifacts").rglob("*")]
    return {str(path): md5(path) for path in paths if path.is_file()}


@pytest.fixture
def on_database(on_services, monkeypatch):
    """This process, and what it starts, also knows what is behind the server."""
    for name, value in on_services.exports("database").items():
        monkeypatch.setenv(name, value)
    return on_services


def change(store: Path, query: str, *values: object) -> None:
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute(query, values)


@pytest.fixture(scope="module")
def solo(tiny_pipeline, tmp_path_factory) -> Project:
    """One person's project, with a version in production."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("solo"))
    fill(project)
    project.out("python", "src/promote.py", "--reason", "first", "--by", "ada", "--yes")
    return project


def migrate(store: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "deploy/migrate.py", store]
    return subprocess.run(command, capture_output=True, text=True)


def is_empty(server: mlflow.MlflowClient) -> bool:
    names = [experiment.name for experiment in server.search_experiments(ViewType.ALL)]
    return names == ["Default"] and not server.search_registered_models()


def test_refused_before_anything_is_written(on_database, solo, tmp_path, monkeypatch):
    """No store, tables of another version of MLflow, no address of the database."""
    server = mlflow.MlflowClient(on_database.env["MLFLOW_TRACKING_URI"])
    refused = migrate(tmp_path / "none.db")
    assert refused.returncode == 1 and f"error: there is no {tmp_path}/none.db" in refused.stderr

    older = tmp_path / "older.db"
    older.write_bytes((solo.folder / "mlflow.db").read_bytes())
    change(older, "UPDATE alembic_version SET version_num = 'of-another-release'")
    refused = migrate(older)
    assert refused.returncode == 1
    assert "error: the old store has version of-another-release of MLflow's" in refused.stderr

    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")
    refused = migrate(solo.folder / "mlflow.db")
    assert "error: MLFLOW_BACKEND_STORE_URI has to name the team's PostgreSQL" in refused.stderr
    assert is_empty(server) and not list((on_database.folder / "buckets/mlflow").iterdir())


def test_nothing_is_lost(on_database, solo, tmp_path, monkeypatch, inside, call, capsys):
    """An attempt that fails half way writes no row. The next one moves all: the client says the
    same of every experiment, run, metric, logged model, version and alias, deleted ones too; every
    artifact has its md5; the old store is as it was; the server goes on from there.
    """
    address = on_database.env["MLFLOW_TRACKING_URI"]
    server = mlflow.MlflowClient(address, address)
    too_long = tmp_path / "too-long.db"
    too_long.write_bytes((solo.folder / "mlflow.db").read_bytes())
    change(too_long, "UPDATE params SET value = ? WHERE key = 'long'", "x" * 9000)
    failed = migrate(too_long)
    assert failed.returncode == 1 and "error: params cannot be copied: " in failed.stderr
    assert "value too long" in failed.stderr and "Traceback" not in failed.stderr
    assert is_empty(server)
    on_database.down("bucket")
    failed = migrate(solo.folder / "mlflow.db")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert is_empty(server)
    on_database.up("bucket")

    inside(solo)
    assert call("promote", "--history") == "0"
    history = capsys.readouterr().out
    before, files_before = contents(solo.client), files(solo)
    artifacts_before = artifacts(solo.client)
    assert len(before) > 10 and len(artifacts_before) > 10
    moved = migrate(solo.folder / "mlflow.db")
    assert moved.returncode == 0, moved.stderr
    assert files(solo) == files_before
    (solo.folder / "mlartifacts").rename(solo.folder / "mlartifacts-before")
    database = on_database.exports("database")["MLFLOW_BACKEND_STORE_URI"]
    assert contents(mlflow.MlflowClient(database, database)) == before
    assert artifacts(server) == artifacts_before
    (total,) = [line.split() for line in moved.stdout.splitlines() if line.startswith("all rows")]
    assert total[2] == total[3] and int(total[2].replace(",", "")) > 200

    # What comes later is numbered after what came along, and lies where MLflow's permissions look.
    experiment = server.get_experiment_by_name("side")
    assert experiment.artifact_location == f"mlflow-artifacts:/{experiment.experiment_id}"
    new = server.create_experiment("new")
    assert int(new) > max(int(name) for name in before if name.isdecimal())
    run = server.create_run(experiment.experiment_id)
    server.log_text(run.info.run_id, "text", "note.txt")
    mlflow.set_tracking_uri(address)
    first = server.get_model_version("ChurnXGB", "1")
    assert str(mlflow.register_model(first.source, "ChurnXGB").version) == "3"

    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert call("promote", "--history") == "0"
    assert capsys.readouterr().out == history and "first" in history
    assert mlflow.pyfunc.load_model("models:/ChurnXGB@production")

    again = migrate(solo.folder / "mlflow.db")
    assert again.returncode == 1 and "error: the team's database is not empty" in again.stderr
    assert server.get_run(run.info.run_id)


def test_clean_up_on_the_server(on_database, solo, inside, call, capsys, monkeypatch):
    """With the database's address, what is marked deleted goes from the server and the bucket;
    without it, that stays, and a note says why.
    """
    inside(solo)
    monkeypatch.setenv("PATH", str(BIN), prepend=":")
    address = on_database.env["MLFLOW_TRACKING_URI"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    server = mlflow.MlflowClient(address, address)
    run = server.create_run("0").info.run_id
    server.log_text(run, "text", "note.txt")
    server.delete_run(run)
    stored = on_database.folder / "buckets/mlflow/0" / run / "artifacts/note.txt"
    assert stored.exists()

    database = on_database.exports("database")["MLFLOW_BACKEND_STORE_URI"]
    monkeypatch.delenv("MLFLOW_BACKEND_STORE_URI")
    assert call("clean_up", "--yes") == "0"
    assert "only MLFLOW_BACKEND_STORE_URI" in capsys.readouterr().err and stored.exists()

    monkeypatch.setenv("MLFLOW_BACKEND_STORE_URI", database)
    assert call("clean_up", "--yes") == "0"
    printed = capsys.readouterr()
    assert f"run {run}" in printed.out and database not in printed.out + printed.err
    assert not stored.exists()
    assert run not in [found.info.run_id for found in server.search_runs(["0"], "", ViewType.ALL)]
    assert mlflow.pyfunc.load_model("models:/ChurnXGB@production")
