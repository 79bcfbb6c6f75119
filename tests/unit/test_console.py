"""Commands end with one message; progress is lines in a log; tables are aligned."""

import subprocess

import pytest

from churn.console import progress, run_command, text_table
from churn.errors import UserError


def fail(error: BaseException):
    """A command that raises this."""

    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("wrong"), "error: wrong"),
        (KeyboardInterrupt(), 130),
        (
            subprocess.CalledProcessError(1, ["git", "x y"], stderr=b"no"),
            "error: git 'x y' failed: no",
        ),
        (ZeroDivisionError("known"), "error: explained known"),
    ],
)
def test_errors_end_a_command(error, code):
    """A user's mistake, Ctrl-C, a failed process, and an error that an explainer knows."""

    def explain(error: Exception) -> str:
        return f"explained {error}" if isinstance(error, ZeroDivisionError) else ""

    with pytest.raises(SystemExit) as ended:
        run_command(fail(error), explain)
    assert ended.value.code == code


def test_an_error_that_nobody_knows_keeps_its_traceback():
    """It is a fault of the code, and whoever mends it needs to see where."""
    with pytest.raises(RuntimeError, match="a fault"):
        run_command(fail(RuntimeError("a fault")), lambda error: "")


def test_progress_in_a_log(capsys):
    """One line each time that so many more units are done, on stderr."""
    show = progress(25, "round", line_every=10)
    for done in range(1, 26):
        show(done, f"loss {done}")
    printed = capsys.readouterr()
    assert printed.err.splitlines() == ["10 of 25 rounds  loss 10", "20 of 25 rounds  loss 20"]
    assert printed.out == ""


def test_tables():
    """Numbers are to the right and texts to the left; what is missing is a dash."""
    rows = [{"name": "a", "auc": 0.5}, {"name": "long", "auc": float("nan"), "note": "7"}]
    assert text_table(rows).splitlines() == [
        "name       auc  note",
        "a       0.5000  -",
        "long         -  7",
    ]
