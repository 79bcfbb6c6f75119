"""The address of a store and the file that it names; an environment that MLflow cannot use."""

import sys

import pytest
from mlflow.utils.file_utils import path_to_local_sqlite_uri
from sqlalchemy import make_url

from churn.errors import UserError
from churn.tracking import store, store_checks
from churn.tracking.store_errors import without_password

NAMES = ["my project", "Kündigung", "100%churn", "100%20churn", "a#b?c", "{a} & 'b'"]


@pytest.mark.parametrize("name", NAMES)
def test_a_uri_and_its_path(tmp_path, monkeypatch, name):
    """The URI of a file names that file to SQLAlchemy; a relative one and MLflow's own lead to it
    as well.
    """
    folder = tmp_path / name
    monkeypatch.setenv("DVC_ROOT", str(folder))
    path = folder / "mlflow.db"
    assert make_url(store.sqlite_uri(path)).database == str(path)
    for uri in ("sqlite:///mlflow.db", store.sqlite_uri(path), path_to_local_sqlite_uri(str(path))):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert store.store_file() == path and store.tracking_uri() == store.sqlite_uri(path)

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db?timeout=60")
    assert store.store_file() == path
    assert store.tracking_uri() == f"{store.sqlite_uri(path)}?timeout=60"


@pytest.mark.parametrize("password", ["plain", "Ab/cd+9", "p@ss", "a:b@c/d"])
def test_no_message_shows_a_password(password):
    """Whatever signs it has, of those that SQLAlchemy reads."""
    shown = without_password(f"postgresql+psycopg2://mlflow:{password}@db:5432/mlflow")
    assert shown == "postgresql+psycopg2://mlflow:***@db:5432/mlflow"
    assert without_password("http://127.0.0.1:5000") == "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("driver", "way_out"),
    [("psycopg2", "`make install-team` brings it"), ("pg8000", "add it to pyproject.toml")],
)
def test_a_database_without_its_driver(monkeypatch, driver, way_out):
    """The message names the package and how to get it, and shows no password."""
    url = f"postgresql+{driver}://mlflow:secret@db/mlflow"  # pragma: allowlist secret
    monkeypatch.setitem(sys.modules, driver, None)
    with pytest.raises(UserError, match=f"needs the package {driver}, .*; {way_out}") as refused:
        store_checks.try_database(url)
    assert "secret" not in str(refused.value)


def test_an_environment_in_a_folder_with_a_percent_sign():
    """MLflow cannot open a database from there: one message that names the way out."""
    store_checks.check_environment("/tmp/churn/.venv/lib/mlflow/__init__.py")
    with pytest.raises(UserError, match="export VENV="):
        store_checks.check_environment("/tmp/100%churn/.venv/lib/mlflow/__init__.py")
