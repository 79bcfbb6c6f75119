"""The workflows of GitHub: what runs, with which rights, and that all of it is pinned."""

import re
import subprocess
from pathlib import Path

import pytest

from churn.files import read_yaml
from conftest import ROOT

FOLDER = ROOT / ".github/workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yml"))
USES = re.compile(r"uses: ([\w.-]+/[\w.-]+)@([0-9a-f]{40}) # (v\d+\.\d+\.\d+)$")


def jobs(workflow: Path) -> dict[str, dict]:
    return read_yaml(workflow)["jobs"]


def steps(workflow: Path) -> list[dict]:
    return [step for job in jobs(workflow).values() for step in job["steps"]]


def test_every_action_is_pinned_once():
    """By a whole commit with its version beside it, and each action by the same one everywhere."""
    pins = set()
    for workflow in WORKFLOWS:
        lines = [line for line in workflow.read_text().splitlines() if "uses:" in line]
        for line in lines:
            found = USES.search(line)
            assert found, line
            pins.add(found.groups())
    assert len({action for action, _, _ in pins}) == len(pins) > 1


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_rights_are_the_least(workflow):
    """Read by default; who may write runs nothing of a pull request's; no credentials are left in
    the clone; no value of an event is part of a script.
    """
    content = read_yaml(workflow)
    assert content["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in content["on"]
    for job in content["jobs"].values():
        assert job["timeout-minutes"]
        writes = "write" in job.get("permissions", {}).values()
        if "pull_request" in content["on"] and writes:
            assert not [step for step in job["steps"] if "uses" in step or "make" in step["run"]]
    for step in steps(workflow):
        assert "${{" not in step.get("run", "")
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_each_step_is_a_target_of_make():
    """Whatever runs Python is `make TARGET`, which another CI can run as well."""
    targets = set()
    for workflow in WORKFLOWS:
        for step in steps(workflow):
            run = step.get("run", "")
            assert not re.search(r"\b(python|dvc|mlflow|pip) ", run), run
            targets.update(re.findall(r"^make (.*)$", run, re.M))
    names = {name for line in targets for name in line.split()}
    assert {"lint", "test", "pull", "repro", "compare", "register", "push", "retrain"} <= names
    known = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert names <= {line.split()[0] for line in known.stdout.splitlines()}


def test_main_looks_before_it_writes():
    """The pipeline has to make what is committed before the bucket and the server get anything."""
    runs = [step.get("run", "") for step in steps(FOLDER / "main.yml")]
    looked, writes = runs.index("make committed"), ("make push", "make register")
    assert all(looked < runs.index(command) for command in writes)


def test_production_is_protected():
    """Only `promote` names production, and only by hand; unmerged code gets no account that writes
    to the team's server.
    """
    environments = {}
    for workflow in WORKFLOWS:
        for job in jobs(workflow).values():
            environments.setdefault(job.get("environment"), set()).add(workflow.stem)
    # only operations
    assert environments["production"] == {"promote"}
    promote = read_yaml(FOLDER / "promote.yml")["on"]
    assert set(promote) == {"workflow_dispatch"}
    assert {"version", "reason"} == set(promote["workflow_dispatch"]["inputs"])
    # end
    assert environments["staging"] == {"main", "retrain"}
    assert "MLFLOW_" not in (FOLDER / "pull-request.yml").read_text()


LINTERS = ROOT / ".venv-lint/bin/zizmor"


@pytest.mark.skipif(not LINTERS.exists(), reason="`make lint` makes the linters")
def test_the_linter_sees_a_fault(tmp_path):
    """zizmor, as `make lint` calls it: silent about these files, not about an input in a script."""
    command = [LINTERS, "--offline", "--no-progress", "--strict-collection"]
    assert subprocess.run([*command, ROOT / ".github"], capture_output=True).returncode == 0
    faulty = tmp_path / ".github/workflows/retrain.yml"
    faulty.parent.mkdir(parents=True)
    text = (FOLDER / "retrain.yml").read_text()
    faulty.write_text(text.replace("run: make pull", "run: echo ${{ inputs.reason }} && make pull"))
    result = subprocess.run([*command, tmp_path], capture_output=True, text=True)
    assert result.returncode != 0 and "template-injection" in result.stdout + result.stderr
