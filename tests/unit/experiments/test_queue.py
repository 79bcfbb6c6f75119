"""The queue of experiments: what is refused before it runs, and how its state is followed."""

import pytest

from churn.errors import UserError
from churn.experiments import queue
from churn.experiments.dvc_queue import Task


@pytest.mark.parametrize("name", ["Kündigung", "a#b", "a?b", "{a}"])
def test_a_queue_that_dvc_cannot_run(tmp_path, monkeypatch, name):
    """Refused before a worker fails, with the reason and what works."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / name))
    with pytest.raises(UserError, match="in its path, and DVC cannot run queued experiments"):
        queue.check_queue()
    queue.check_project_path(tmp_path / "my project 100%20")


def test_changes_of_the_queue_are_reported_once(capsys):
    """Experiments that had ended before do not count; one that is not listed stays as it was."""
    state = queue.QueueState({"0": Task("old", "Failed"), "1": Task("first", "Queued")})
    state.tasks["2"] = Task("second", "Queued")
    for tasks in (
        {"1": Task("first", "Running"), "2": Task("second", "Queued")},
        {"1": Task("first", "Running")},
        {"1": Task("first", "Success"), "2": Task("second", "Failed")},
        {"1": Task("first", "Success"), "2": Task("second", "Failed")},
    ):
        for task in state.update(tasks):
            state.report(task)

    assert capsys.readouterr().out.splitlines() == [
        "[0/2] first: running",
        "[1/2] first: success",
        "[2/2] second: failed",
    ]
    assert state.failed == ["second"] and state.open_names() == []
