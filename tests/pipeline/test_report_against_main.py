"""`report.py --markdown`: the model of a branch against that of main, in a real DVC repository."""

import json
import re

import pytest

from churn.files import parse_yaml, read_yaml
from churn.tracking.dvc_lock import parse_lock
from conftest import Project

INTERVAL = re.compile(r"\d\.\d{4} \(\d\.\d{4} to \d\.\d{4}\)")


@pytest.fixture(scope="module")
def column(tiny_pipeline) -> str:
    """A feature of the project's table."""
    columns = read_yaml(tiny_pipeline.folder / "data/schema.yaml")["columns"]
    data = read_yaml(tiny_pipeline.folder / "params.yaml")["data"]
    roles = (data["id"], data["target"], data["time"])
    return next(name for name in columns if name not in roles)


@pytest.fixture(scope="module")
def branch(tiny_pipeline, column, tmp_path_factory) -> Project:
    """A branch with trees of depth 1, trained and committed; `main` is as it was."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("branch"))
    project.out("git", "checkout", "-q", "-b", "stumps")
    project.set(**{"train.max_depth": 1, "evaluate.segments": [column]})
    project.out("dvc", "repro", "-q")
    project.commit("stumps")
    return project


@pytest.fixture
def markdown(branch, inside, call, capsys):
    """The report of the branch."""

    def printed(*options: str) -> str:
        inside(branch)
        assert call("report", "--markdown", *options) == "0"
        return capsys.readouterr().out

    return printed


def cells(text: str, name: str) -> list[str]:
    """What stands beside a name in one of the tables."""
    (found,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", text, re.M)
    return found.split(" | ")


def changed_commit(project: Project, path: str, old: str, new: str) -> str:
    """A commit like main, with another text in one file; the workspace stays as it is."""
    project.out("git", "checkout", "-q", "main")
    file = project.folder / path
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    project.out("git", "commit", "-qam", "changed")
    commit = project.out("git", "rev-parse", "HEAD").strip()
    project.out("git", "reset", "-q", "--hard", "HEAD~1")
    project.out("git", "checkout", "-q", "stumps")
    return commit


def test_the_branch_against_main(branch, markdown, column):
    """Metrics with intervals and the paired interval of their difference; the parameters that
    differ, and no other; gate, version, segments, and what changed.
    """
    text = markdown()
    main, here, difference = cells(text, "roc_auc")
    assert INTERVAL.fullmatch(main) and INTERVAL.fullmatch(here)
    point, low, high = map(float, re.findall(r"[+-]\d\.\d{4}", difference))
    assert low <= point <= high and low < high
    assert point == pytest.approx(float(here[:6]) - float(main[:6]), abs=2e-4)
    metrics = json.loads((branch.folder / "reports/metrics.json").read_text())
    assert float(here[:6]) == pytest.approx(metrics["roc_auc"], abs=1e-4)

    assert cells(text, "train.max_depth")[1] == "1"
    assert cells(text, "evaluate.segments") == ["None", f"['{column}']"]
    parameters = text.partition("### Parameters")[2].partition("###")[0]
    assert parameters.count("\n| ") == 4, "a head, its line, and two parameters"
    assert "- Gate: **" in text and "- Version: " in text and "Not committed" not in text
    assert f"| {column} = " in text.partition("### Segments")[2]
    # only forensics
    changed = text.partition("### What changed")[2]
    assert re.search(r"^parameters +differs", changed, re.M)
    assert re.search(r"^data +the same", changed, re.M)
    # end


def test_it_says_why_a_difference_has_no_interval(branch, markdown):
    """Other test rows; a model that nobody has; a figure that today's code does not give; no model
    at all.
    """
    stages = parse_lock(parse_yaml(branch.out("git", "show", "main:dvc.lock"))["stages"])
    test_rows = stages["preprocess"]["outs"]["data/prepared/test.parquet"]
    model = stages["train"]["outs"]["models/churn.ubj"]
    recorded = json.loads(branch.out("git", "show", "main:reports/metrics.json"))["roc_auc"]
    another = "ab" * 16
    reasons = {
        changed_commit(branch, "dvc.lock", test_rows, another): "the test rows are others",
        changed_commit(branch, "dvc.lock", model, another): "is intact in none of the places",
        changed_commit(
            branch, "reports/metrics.json", f'"roc_auc": {recorded}', '"roc_auc": 0.5'
        ): "today's code measures the model of",
    }
    for commit, reason in reasons.items():
        text = markdown("--against", commit)
        assert reason in text.partition("No interval for the differences: ")[2].splitlines()[0]
        assert re.fullmatch(r"[+-]\d\.\d{4}", cells(text, "roc_auc")[2]), "the plain difference"

    branch.out("git", "checkout", "-q", "--orphan", "before")
    branch.out("git", "rm", "-q", "--cached", "dvc.lock", "reports/metrics.json")
    branch.out("git", "commit", "-q", "-m", "no model yet")
    branch.out("git", "checkout", "-q", "--force", "stumps")
    text = markdown("--against", "before")
    assert "No interval for the differences: before has no model." in text
    assert cells(text, "roc_auc")[0] == "-"


def test_outputs_that_nobody_committed(tiny_pipeline, tmp_path, inside, call, capsys):
    """A branch whose author did not commit what `dvc repro` wrote."""
    project = inside(tiny_pipeline.copy(tmp_path))
    project.out("git", "rm", "-q", "--cached", "reports/metrics.json")
    (project.folder / "notes.md").write_text("nothing that the pipeline writes\n")
    lock = project.folder / "dvc.lock"
    written = lock.read_text()
    lock.write_text(written.replace("size: ", "size: 1"))
    project.commit("another lock")
    lock.write_text(written)
    assert call("report", "--markdown") == "0"
    assert "**Not committed as the pipeline writes it: `dvc.lock`.**" in capsys.readouterr().out


def test_a_revision_that_is_not_there(branch, inside, call, capsys):
    """One clear message, and no half of a report."""
    inside(branch)
    message = call("report", "--markdown", "--against", "origin/main")
    assert message.startswith("error: origin/main is no revision of this clone; `git fetch origin`")
    assert capsys.readouterr().out == ""
