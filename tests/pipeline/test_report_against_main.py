"""`report.py --markdown`: the model of a branch against that of main, in a real DVC repository."""

import re

import pytest

from churn.params import load_params
from conftest import Project


@pytest.fixture(scope="module")
def branch(tiny_pipeline, tmp_path_factory) -> Project:
    """A branch with other trees, trained and committed."""
    project = tiny_pipeline.copy(tmp_path_factory.mktemp("branch"))
    project.out("git", "checkout", "-q", "-b", "trees")
    project.set(**{"train.max_depth": 1, "evaluate.segments": ["contract"]})
    project.out("dvc", "repro", "-q")
    project.commit("stumps")
    return project


def markdown(call, capsys, *options: str) -> str:
    assert call("report", "--markdown", *options) == "0"
    return capsys.readouterr().out


def row(text: str, name: str) -> list[str]:
    """The cells of a row of one of the tables."""
    (found,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", text, re.M)
    return found.split(" | ")


def test_metrics_and_parameters_against_main(branch, inside, call, capsys):
    """Both models' metrics with their intervals, the difference with a paired one; parameters that
    differ; the gate; segments; what changed.
    """
    inside(branch)
    text = markdown(call, capsys)
    metric = re.compile(r"0\.\d{4} \(0\.\d{4} to 0\.\d{4}\)")
    main, here, difference = row(text, "roc_auc")
    assert metric.fullmatch(main) and metric.fullmatch(here)
    point, low, high = map(float, re.findall(r"[+-]0\.\d{4}", difference))
    assert low <= point <= high
    assert point == pytest.approx(float(here[:6]) - float(main[:6]), abs=2e-4)

    before = load_params(branch.folder / "../params.yaml") if False else None
    assert before is None
    assert row(text, "train.max_depth")[1] == "1"
    assert "| evaluate.segments | None | \\['contract'\\]" in text or "evaluate.segments" in text
    assert "- Gate: **" in text and "ChurnXGB version" in text
    assert "### Segments" in text and "| contract = " in text
    assert "Not committed" not in text
    # only forensics
    assert re.search(r"^parameters +differs", text, re.M) and "train.max_depth" in text
    # end
