"""Who may do what on the team's server: asked of the real server, by other people's accounts."""

import re

import pytest

from churn.tracking import logged_model
from conftest import Project


@pytest.fixture(scope="module")
def team(services, tmp_path_factory) -> Project:
    """A clone on the services, where ann is a scientist, who ran the pipeline, and bob an approver;
    her version is in staging.
    """
    project = services.clone(tmp_path_factory.mktemp("roles") / "clone")
    for name, role in (("ann", "scientist"), ("bob", "approver")):
        project.out("python", "deploy/users.py", name, role, **services.env)
    project.out("dvc", "repro", **account(project, "ann"))
    project.commit("ann's model")
    return project


@pytest.fixture(scope="module")
def promoted(team) -> Project:
    """The clone after bob has promoted ann's version."""
    bob = account(team, "bob")
    team.out("python", "src/promote.py", "--reason", "better", "--yes", **bob)
    return team


def account(team: Project, name: str) -> dict[str, str]:
    """What the file of an account sets."""
    text = (team.folder / f".team/{name}.env").read_text()
    return dict(re.findall(r"^export (\w+)=(.*)$", text, re.M))


@pytest.fixture
def become(team, monkeypatch):
    """Let this process be a member of the team, in the clone."""

    def become(name: str) -> None:
        monkeypatch.chdir(team.folder)
        for variable, value in account(team, name).items():
            monkeypatch.setenv(variable, value)

    return become


def refused(change, *arguments) -> bool:
    """Whether the server refuses a change with 403."""
    import mlflow

    try:
        change(*arguments)
    except mlflow.MlflowException as error:
        assert "PERMISSION_DENIED" in str(error) or "403" in str(error), error
        return True
    return False


def test_a_scientist_does_not_promote(team, become, call):
    """promote.py says who may, before it compares anything; nothing was changed."""
    become("ann")
    message = call("promote", "--reason", "mine", "--yes")
    assert "does not let you change what of ChurnXGB is in production" in message
    assert "MANAGE" in message and "Nothing was changed" in message
    assert call("promote", "--history") == "0"


def test_the_server_itself_refuses(team, become):
    """Past promote.py, by MLflow's own client, a scientist may give any alias but `production`,
    write no promotion into the history, rename no model, delete no version, and not change what a
    version's files are compared with.
    """
    import mlflow

    become("ann")
    client = mlflow.MlflowClient(team.uri, team.uri)
    assert refused(client.set_registered_model_alias, "ChurnXGB", "production", "1")
    assert refused(client.set_registered_model_alias, "ChurnXGB", "Production", "1")
    assert refused(client.set_registered_model_tag, "ChurnXGB", "promotion.2026", "{}")
    assert refused(client.rename_registered_model, "ChurnXGB", "Mine")
    assert refused(client.delete_model_version, "ChurnXGB", "1")
    assert refused(client.delete_registered_model_alias, "ChurnXGB", "challenger")
    for tag in (*logged_model.IDENTITY, logged_model.SEAL):
        assert refused(client.set_model_version_tag, "ChurnXGB", "1", tag, "0")
        assert refused(client.delete_model_version_tag, "ChurnXGB", "1", tag)
    assert not refused(client.set_model_version_tag, "ChurnXGB", "1", "note", "mine")
    assert not refused(client.set_registered_model_alias, "ChurnXGB", "challenger", "1")
    assert not refused(client.set_registered_model_tag, "ChurnXGB", "note", "mine")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ('{"name": "ChurnXGB", "alias": "production", "version": "1"}', "text/plain"),
        (
            r'"{\"name\": \"ChurnXGB\", \"alias\": \"production\", \"version\": \"1\"}"',
            "text/plain",
        ),
        ('{"name": "ChurnXGB", "version": "1"}', "application/json"),
        ("no JSON", "application/json"),
    ],
)
def test_no_form_of_a_request_passes(team, become, content, kind):
    """A request that names no type, has JSON within JSON, or lacks the alias is refused as well."""
    import requests

    become("ann")
    login = account(team, "ann")
    answer = requests.post(
        f"{team.uri}/api/2.0/mlflow/registered-models/alias",
        data=content,
        headers={"Content-Type": kind},
        auth=(login["MLFLOW_TRACKING_USERNAME"], login["MLFLOW_TRACKING_PASSWORD"]),
        timeout=60,
    )
    assert answer.status_code == 403, answer.text


def test_an_approver_promotes_under_the_own_name(promoted, become, call, capsys):
    """bob's name is in the history as the server knows it; --by cannot say another one."""
    become("bob")
    message = call("promote", "--reason", "better", "--by", "Ada", "--yes")
    assert "the server knows you as bob" in message
    assert call("promote", "--history") == "0"
    assert re.search(r"promote +- +1 +bob .* better", capsys.readouterr().out)
    assert promoted.client.get_model_version("ChurnXGB", "1").tags["promoted_by"] == "bob"


def test_a_scientist_does_not_roll_back(promoted, become, call):
    """Nor is an approved version taken back by somebody who may not."""
    become("ann")
    message = call("promote", "--rollback", "--reason", "mine", "--yes")
    assert "does not let you change" in message
    assert promoted.alias("production") == "1"


def test_a_role_can_be_changed(services, team, become):
    """eve becomes an approver, and a scientist again; her password stays."""
    import mlflow

    team.out("python", "deploy/users.py", "eve", "scientist", **services.env)
    become("eve")
    client = mlflow.MlflowClient(team.uri, team.uri)
    for role, may in (("approver", True), ("scientist", False)):
        printed = team.out("python", "deploy/users.py", "eve", role, **services.env)
        assert printed.startswith(f"eve is {role}") and ".env" not in printed
        assert refused(client.delete_registered_model_alias, "ChurnXGB", "none") != may


def test_accounts_are_the_admins(team):
    """A member makes no accounts; an account's file is its owner's alone, and not in git."""
    result = team.run("python", "deploy/users.py", "joe", "approver", **account(team, "ann"))
    assert result.returncode == 1 and "does not allow this (403" in result.stderr
    assert (team.folder / ".team/ann.env").stat().st_mode & 0o777 == 0o600
    assert ".team" not in team.out("git", "status", "--short")
