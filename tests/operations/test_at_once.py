"""Several people at one MLflow server at the same moment, and people with fewer rights than
others.
"""

import contextlib
import re
import sys

import mlflow
import pytest
from mlflow.server import get_app_client

import promote as verb
from churn.errors import UserError
from churn.operations import promotion
from churn.tracking import store
from conftest import Project, Server
from together import starter

ROUNDS = 10
PASSWORD = "twelve characters"  # pragma: allowlist secret


@contextlib.contextmanager
def server_of(project: Project, *options: str, **settings: str):
    """The address of a real MLflow server over a project's store."""
    server = Server.over(project, *options, **settings)
    try:
        yield server.address
    finally:
        server.stop()


@pytest.fixture
def clone(tiny_pipeline, tmp_path) -> Project:
    """A project with version 1 in staging."""
    return tiny_pipeline.copy(tmp_path / "one")


@pytest.fixture
def other(tiny_pipeline, tmp_path) -> Project:
    """Somebody else's clone."""
    return tiny_pipeline.copy(tmp_path / "other")


def stages(project: Project) -> list[str]:
    return sorted(version.tags["stage"] for version in project.versions())


REGISTER = """
store.connect()
made = registry.register_version("ChurnXGB", source, tags)
print(made.version, registry.set_staging("ChurnXGB", made.version))
"""


def test_one_model_registered_at_once(clone, other):
    """Ten rounds of two people who register and stage one new model at the same moment: one version
    each time, which is in staging alone.
    """
    with server_of(clone, "--workers", "2") as address, starter(address, clone.folder) as call:
        clone.uri = address
        (version,) = clone.versions()
        for number in range(ROUNDS):
            tags = {**version.tags, "threshold": f"0.{number + 1}"}
            code = f"source, tags = {version.source!r}, {tags!r}" + REGISTER
            codes, said = call((clone.folder, [""], code), (other.folder, [""], code))
            assert codes == [0, 0], said
            newest = clone.versions()[0]
            assert [text.split()[-2:] for text in said] == [[str(newest.version), "staging"]] * 2
            assert stages(clone) == ["None"] * (number + 1) + ["Staging"]
            assert (
                clone.alias("staging") == str(newest.version) and newest.tags["stage"] == "Staging"
            )


def test_evaluations_at_once(clone, other):
    """Two clones evaluate one new model at the same moment: one version, in staging, and no run is
    left open.
    """
    with server_of(clone, "--workers", "2") as address, starter(address, clone.folder) as call:
        clone.uri = address
        for number in range(2):
            for project in (clone, other):  # other code that scores is another version
                with (project.folder / "src/churn/modeling/scoring.py").open("a") as code:
                    code.write(f"# round {number}\n")
            pieces = [
                (project.folder, ["evaluate.py"], "evaluate.main()") for project in (clone, other)
            ]
            codes, said = call(*pieces)
            assert codes == [0, 0], said
            newest = clone.versions()[0]
            assert all(f"version {newest.version} is staging" in text for text in said)
            assert stages(clone) == ["None"] * (number + 1) + ["Staging"], said
        assert {run.info.status for run in clone.runs("train") + clone.runs("evaluate")} == {
            "FINISHED"
        }


MOVE = """
from churn.operations import promotion
store.connect()
promotion.make_move("ChurnXGB", promotion.Move(promotion.now(), *{move!r}, {{}}))
"""


@pytest.fixture
def versions(clone):
    """Two more versions of the same model, under other thresholds."""
    mlflow.set_tracking_uri(clone.uri)
    (version,) = clone.versions()
    for number in (2, 3):
        clone.client.create_model_version(
            "ChurnXGB", version.source, tags={**version.tags, "threshold": f"0.{number}"}
        )


def test_promotion_and_rollback_at_once(clone, other, versions, monkeypatch):
    """Ten rounds: one of them happens, who is refused is told why, and alias, stages and history
    agree.
    """
    with server_of(clone, "--workers", "2") as address, starter(address, clone.folder) as call:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        mlflow.set_tracking_uri(address)
        clone.uri = address

        def moved(kind: str, old: str | None, new: str) -> str:
            clone.client.set_registered_model_alias("ChurnXGB", "staging", new)
            return MOVE.format(move=(kind, "Ada", "x", old, new))

        exec(moved("promote", None, "1"), {"promotion": promotion, "store": store})
        for number in range(ROUNDS):
            old = clone.alias("production")
            before = promotion.previous(promotion.history("ChurnXGB"), old)
            if before is None:
                exec(moved("promote", old, "2"), {"promotion": promotion, "store": store})
                old, before = "2", old
            rollback = MOVE.format(move=("rollback", "Bob", "y", old, before))
            new = next(version for version in "123" if version not in (old, before))
            pieces = [
                (clone.folder, [""], moved("promote", old, new)),
                (other.folder, [""], rollback),
            ]
            moves = len(promotion.history("ChurnXGB"))
            codes, said = call(*pieces)
            history = promotion.history("ChurnXGB")
            assert (len(history) - moves) == codes.count(0) == 1, said
            assert all(
                re.search("is under way|since you were asked", text)
                for text, code in zip(said, codes)
                if code
            ), said
            assert history[-1].new == clone.alias("production")
            assert [v.version for v in clone.versions() if v.tags["stage"] == "Production"] == [
                clone.alias("production")
            ]
            assert promotion.pending("ChurnXGB") == {}


def test_who_may_not_take_an_alias_away(clone, versions, inside, monkeypatch, capsys, tmp_path):
    """A server that knows who may do what, and a user who may edit: a promotion is refused before
    it changes anything, looking works, and somebody with the right to manage can do it.
    """
    config = tmp_path / "auth.ini"
    config.write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\nauth_cache_ttl_seconds = 60\n"
        f"database_uri = sqlite:///{tmp_path}/auth.db\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    settings = {
        "MLFLOW_AUTH_CONFIG_PATH": str(config),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for a test",  # pragma: allowlist secret
    }
    inside(clone)
    with server_of(clone, "--app-name", "basic-auth", **settings) as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
        mlflow.set_tracking_uri(address)
        people = get_app_client("basic-auth", tracking_uri=address)
        people.create_user("ada", PASSWORD)
        people.grant_user_permission("ada", "registered_model", "ChurnXGB", "EDIT")
        clone.uri = address

        def promote(*arguments: str) -> None:
            monkeypatch.setattr(sys, "argv", ["promote.py", *arguments])
            verb.main()

        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
        with pytest.raises(
            UserError,
            match="does not let you change what of ChurnXGB is in production.*Nothing was changed",
        ):
            promote("--reason", "first", "--yes")
        promote("--status")
        assert "staging" in capsys.readouterr().out
        assert (clone.alias("production"), clone.alias("staging")) == (None, "1")
        assert promotion.pending("ChurnXGB") == {} and promotion.history("ChurnXGB") == []
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        promote("--reason", "first", "--yes")
        assert (clone.alias("production"), clone.alias("staging")) == ("1", None)
