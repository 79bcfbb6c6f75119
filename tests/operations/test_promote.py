"""staging to production and back: what is refused, what is shown, what the history holds, and what
a crash leaves.
"""

import contextlib
import itertools
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import sys

import mlflow
import pytest

import promote as verb
from churn.operations import decider, promotion
from churn.tracking import registry
from conftest import Project


@pytest.fixture(scope="module")
def trained(tiny_pipeline, tmp_path_factory) -> Project:
    """A project with three versions, the third in staging, and nothing in production."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("promote"))
    for contact in (80.0, 20.0):
        project.set(**{"evaluate.costs.contact": contact})
        project.out("dvc", "repro")
    return project


@pytest.fixture
def project(trained, inside, tmp_path, monkeypatch) -> Project:
    """The trained project with a registry of its own: a copy, so that no test sees another's
    moves.
    """
    inside(trained)
    shutil.copy(trained.folder / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.setattr(trained, "uri", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", trained.uri)
    mlflow.set_tracking_uri(trained.uri)
    return trained


@pytest.fixture
def promote(project, capsys, monkeypatch):
    """Call the command in this process: what it printed. What it refuses is a UserError."""

    def call(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["promote.py", *arguments])
        capsys.readouterr()
        verb.main()
        printed = capsys.readouterr()
        return printed.out + printed.err

    return call


def stage(project: Project, version: str) -> None:
    project.client.set_registered_model_alias("ChurnXGB", "staging", version)


def stages(project: Project) -> dict[str, str]:
    return {str(v.version): v.tags["stage"] for v in project.versions()}


def refused(call, *arguments: str) -> str:
    with pytest.raises(verb.UserError) as caught:
        call(*arguments)
    return str(caught.value)


def test_promotion_moves_staging_to_production(project, promote):
    """Alias, stage tag, the old stage URI, who and why; staging is then empty, and the next version
    is compared.
    """
    assert stages(project) == {"1": "None", "2": "None", "3": "Staging"}
    stage(project, "1")
    printed = promote("--reason", "first", "--yes")
    assert "nothing is in production yet" in printed and "version 1" in printed
    assert (project.alias("production"), project.alias("staging")) == ("1", None)
    stage(project, "3")
    printed = promote("--reason", "cheaper contacts", "--yes")
    assert re.search(r"value_per_customer +\S+ +\S+ +[+-]\S+ +\S+ to \S+", printed)
    assert re.search(r"roc_auc +0\.\d{4} +0\.\d{4} +\+0\.0000 +\+0\.0000 to \+0\.0000", printed), (
        "the same booster"
    )
    assert (project.alias("production"), project.alias("staging")) == ("3", None)
    assert stages(project) == {"1": "Archived", "2": "None", "3": "Production"}
    tags = project.client.get_model_version("ChurnXGB", "3").tags
    assert (tags["promoted_by"], tags["promoted_because"]) == ("test", "cheaper contacts")
    old_uri = mlflow.artifacts.download_artifacts("models:/ChurnXGB/Production")
    assert old_uri == mlflow.artifacts.download_artifacts("models:/ChurnXGB/3")


def test_forced_evaluation_leaves_production_where_it_is(project, promote):
    """The model in production is judged again: it does not come back as a candidate."""
    promote("--reason", "first", "--yes")
    assert registry.set_staging("ChurnXGB", "3") == "production"
    assert (project.alias("production"), project.alias("staging")) == ("3", None)


def test_asking(project, promote, monkeypatch):
    """No terminal and no --yes, or an answer that is not yes: nothing is changed. --dry-run asks
    nothing.
    """
    assert "add --yes" in refused(promote, "--reason", "x")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "")
    assert "nothing was changed" in refused(promote, "--reason", "x")
    assert "nothing was changed" in promote("--reason", "x", "--dry-run")
    assert project.alias("production") is None and promotion.history("ChurnXGB") == []
    monkeypatch.setattr("builtins.input", lambda question: "y")
    promote("--reason", "x")
    assert project.alias("production") == "3"


def test_refusals(project, promote):
    """One clear line each, and production stays as it was."""
    assert "say why" in refused(promote, "--yes") and "say why" in refused(
        promote, "--reason", " ", "--yes"
    )
    assert "nothing to roll back" in refused(promote, "--rollback", "--reason", "x", "--yes")
    client = project.client
    client.set_model_version_tag("ChurnXGB", "3", "gate", "failed")
    client.set_model_version_tag("ChurnXGB", "3", "gate_reason", "FAILED: too low")
    assert "did not pass the gate (FAILED: too low)" in refused(promote, "--reason", "x", "--yes")
    client.set_model_version_tag("ChurnXGB", "3", "gate", "passed")
    client.set_model_version_tag("ChurnXGB", "3", "test_md5", "0" * 32)
    assert "judged on other test rows (md5 000" in refused(promote, "--reason", "x", "--yes")
    client.delete_registered_model_alias("ChurnXGB", "staging")
    assert "no version of ChurnXGB is in staging" in refused(promote, "--reason", "x", "--yes")
    stage(project, "1")
    promote("--reason", "first", "--yes")
    stage(project, "1")
    assert "in production already" in refused(promote, "--reason", "x", "--yes")
    assert "nothing came before it" in refused(promote, "--rollback", "--reason", "x", "--yes")
    assert project.alias("production") == "1" and len(promotion.history("ChurnXGB")) == 1


def test_no_model_and_no_user_name(project, promote, monkeypatch, tmp_path):
    monkeypatch.setattr(decider, "git_user", lambda: "")
    assert "--by" in refused(promote, "--reason", "x", "--yes")
    promote("--reason", "x", "--yes", "--by", "Ada")
    assert promotion.history("ChurnXGB")[0].by == "Ada"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/empty.db")
    assert "the registry has no model ChurnXGB" in refused(promote, "--status")


def test_history_of_twenty_moves(project, promote):
    """Promotions and rollbacks in a drawn order: each is in the registry, and a rollback goes where
    an undo would.
    """
    draw, pile, expected = random.Random(0), [], []
    while len(expected) < 20:
        old = pile[-1] if pile else None
        if len(pile) > 1 and draw.random() < 0.4:
            pile.pop()
            promote("--rollback", "--reason", f"move {len(expected)}", "--yes")
            kind = "rollback"
        else:
            pile.append(draw.choice([version for version in "123" if version != old]))
            stage(project, pile[-1])
            promote("--reason", f"move {len(expected)}", "--yes")
            kind = "promote"
        expected.append((kind, old, pile[-1], f"move {len(expected)}"))
        assert project.alias("production") == pile[-1]
    assert [(m.kind, m.old, m.new, m.why) for m in promotion.history("ChurnXGB")] == expected
    assert {kind for kind, *_ in expected} == {"promote", "rollback"}
    printed = promote("--history")
    assert len(printed.splitlines()) == 21 and "move 19" in printed
    measured = json.loads((project.folder / "reports/metrics.json").read_text())
    assert f"{measured['roc_auc']:.4f}" in printed
    assert sorted(stages(project).values()).count("Production") == 1


def test_an_alias_set_by_hand_is_no_gap(project, promote):
    """Production moved in MLflow's page: a rollback goes back to what was there before that."""
    stage(project, "1")
    promote("--reason", "first", "--yes")
    project.client.set_registered_model_alias("ChurnXGB", "production", "2")
    promote("--rollback", "--reason", "not that one", "--yes")
    assert project.alias("production") == "1"


def test_status(project, promote):
    stage(project, "1")
    promote("--reason", "first", "--yes")
    stage(project, "2")
    promote("--reason", "second", "--yes")
    stage(project, "3")
    rows = {line.split()[0]: line.split()[1:] for line in promote("--status").splitlines()}
    digest = project.outs()["models/churn.ubj"][:8]
    for place, version in {
        "workspace": "3",
        "staging": "3",
        "production": "2",
        "previous": "1",
    }.items():
        assert rows[place][:2] == [version, digest]


WRITES = [
    "set_registered_model_tag",
    "delete_registered_model_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
    "transition_model_version_stage",
]


def killed_at(write: int, act) -> bool:
    """Call `act` in a process of its own that is killed before its write number `write`; False if
    it ended before that.
    """
    if (child := os.fork()) == 0:
        written = 0

        def counted(original):
            def wrapper(*arguments, **named):
                nonlocal written
                if written == write:
                    os.kill(os.getpid(), signal.SIGKILL)
                written += 1
                return original(*arguments, **named)

            return wrapper

        for name in WRITES:
            setattr(mlflow.MlflowClient, name, counted(getattr(mlflow.MlflowClient, name)))
        try:
            act()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def registry_of(store: str) -> list:
    """All that the registry of a SQLite store holds."""
    tables = ["registered_models", "model_versions", "registered_model_tags", "model_version_tags"]
    with contextlib.closing(sqlite3.connect(store.removeprefix("sqlite:///"))) as opened:
        return [
            opened.execute(f"select * from {table} order by 1, 2, 3").fetchall()
            for table in [*tables, "registered_model_aliases"]
        ]


@pytest.fixture
def attempts(project, tmp_path, monkeypatch):
    """A new copy of the registry for each attempt."""
    before = project.uri.removeprefix("sqlite:///")

    def copies():
        for number in itertools.count():
            copy = tmp_path / f"attempt{number}.db"
            shutil.copy(before, copy)
            monkeypatch.setattr(project, "uri", f"sqlite:///{copy}")
            monkeypatch.setenv("MLFLOW_TRACKING_URI", project.uri)
            mlflow.set_tracking_uri(project.uri)
            yield number

    return copies()


def promote_staging() -> None:
    old, new = (
        registry.version_with_alias("ChurnXGB", "production"),
        registry.version_with_alias("ChurnXGB", "staging"),
    )
    request = verb.PromotionRequest("Ada", "second", "", yes=True, dry_run=False)
    verb.change_production("promote", old, new, request)


def test_killed_between_any_two_writes(project, promote, attempts, monkeypatch):
    """At each step production names the old or the new version, what only shows changes nothing,
    and the next command that changes something finishes the move first.
    """
    monkeypatch.setattr(promotion, "WAIT_SECONDS", 0)
    stage(project, "1")
    promote("--reason", "first", "--yes")
    stage(project, "3")
    for write in attempts:
        killed = killed_at(write, promote_staging)
        begun = bool(promotion.pending("ChurnXGB"))
        assert project.alias("production") in ("1", "3")
        before = registry_of(project.uri)
        shown = promote("--status") + promote("--history")
        assert ("a promote of version 3 by Ada (second) is not finished" in shown) == begun
        assert registry_of(project.uri) == before, "--status or --history wrote something"
        if killed and not begun:  # nothing had been written
            assert (project.alias("production"), project.alias("staging")) == ("1", "3")
        else:
            promote("--stage", "2")
            assert (project.alias("production"), project.alias("staging")) == ("3", "2")
            assert stages(project) == {"1": "Archived", "2": "Staging", "3": "Production"}
            assert [move.why for move in promotion.history("ChurnXGB")] == ["first", "second"]
        assert promotion.pending("ChurnXGB") == {}
        if not killed:
            break
    assert write >= 8, "the writes were not counted"


def test_killed_while_staging(project, promote, attempts):
    """Two versions are never left in Staging: the next one that is staged puts all of them
    right.
    """
    for write in attempts:
        killed = killed_at(write, lambda: registry.set_staging("ChurnXGB", "1"))
        promote("--stage", "2")
        assert project.alias("staging") == "2"
        assert stages(project) == {"1": "None", "2": "Staging", "3": "None"}
        if not killed:
            break
    assert write >= 3, "the writes were not counted"


def test_what_changed_while_a_person_thought(project, promote, monkeypatch):
    """Somebody takes production back, or stages another version, between the question and the
    answer: refused.
    """
    stage(project, "1")
    promote("--reason", "first", "--yes")
    stage(project, "2")
    promote("--reason", "second", "--yes")
    stage(project, "3")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)

    def meanwhile(*arguments: str) -> None:
        monkeypatch.setattr("builtins.input", lambda question: promote(*arguments) and "y")

    meanwhile("--reason", "third", "--yes")
    assert "it is version 3, and was 2" in refused(promote, "--rollback", "--reason", "x")
    stage(project, "1")
    meanwhile("--rollback", "--reason", "complaints", "--yes")
    assert (
        "production has been changed since you were asked: it is version 2, and was 3"
        in refused(promote, "--reason", "fourth")
    )
    meanwhile("--stage", "3")
    assert "staging has been changed since you were asked: it is version 3, and was 1" in refused(
        promote, "--reason", "fifth"
    )
    assert (project.alias("production"), project.alias("staging")) == ("2", "3")
    assert promotion.pending("ChurnXGB") == {}
    assert [move.new for move in promotion.history("ChurnXGB")] == ["1", "2", "3", "2"]
    assert stages(project) == {"1": "Archived", "2": "Production", "3": "Staging"}


def test_a_move_in_hand_keeps_others_out(project):
    """Somebody else's intention that appears while a person answers: refused, and nothing is left
    behind.
    """
    move = promotion.Move(promotion.now(), "promote", "Bob", "his", None, "1", {})
    project.client.set_registered_model_tag(
        "ChurnXGB", f"{promotion.PENDING}.x", json.dumps(move.__dict__)
    )
    with pytest.raises(
        verb.UserError,
        match=re.escape("another change is under way: promote of version 1 by Bob (his)"),
    ):
        promote_staging()
    assert list(promotion.pending("ChurnXGB").values()) == [move]
    assert project.alias("production") is None


def test_an_interrupted_move_does_not_undo_what_came_after(project, promote, monkeypatch):
    """Cut off, and then production set to a third version by hand: the old intention is dropped,
    and said so. The tag is one of an earlier release.
    """
    monkeypatch.setattr(promotion, "WAIT_SECONDS", 0)
    move = promotion.Move(promotion.now(), "promote", "Ada", "cut off", None, "1", {})
    project.client.set_registered_model_tag(
        "ChurnXGB", promotion.PENDING, json.dumps(move.__dict__)
    )
    project.client.set_registered_model_alias("ChurnXGB", "production", "2")
    assert "dropped an interrupted promote of version 1" in promote("--stage", "3")
    assert project.alias("production") == "2" and promotion.history("ChurnXGB") == []


def test_the_command_line(project):
    """As typed: a mistake is one line on stderr, exit code 1, no traceback."""
    result = project.run(
        "python", "src/promote.py", "--rollback", "--reason", "x", MLFLOW_TRACKING_URI=project.uri
    )
    assert result.returncode == 1 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: nothing of ChurnXGB is in production")
