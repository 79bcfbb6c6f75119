"""A file of the project that is damaged: each command that reads it names the file, what is wrong
and what mends it.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from churn import paths
from churn.console import run_command
from conftest import Project


@pytest.fixture(scope="module")
def clone(tiny_pipeline, tmp_path_factory) -> Project:
    """The model of the workspace is registered, and a search was made."""
    clone = tiny_pipeline.copy(tmp_path_factory.mktemp("damaged"))
    clone.out("git", "commit", "-q", "--allow-empty", "-m", "to be damaged")
    return clone


@pytest.fixture
def damaged(clone, inside, request):
    """A function that writes other bytes into a file of the project, or calls a function with its
    bytes; the file is what it was afterwards.
    """
    inside(clone)

    def damage(name: str, change) -> None:
        path = Path(name)
        before = path.read_bytes() if path.exists() else None
        request.addfinalizer(lambda: restore(path, before))
        path.write_bytes(change(before) if callable(change) else change)

    def restore(path: Path, before: bytes | None) -> None:
        if before is None:
            (clone.folder / path).unlink()
        else:
            (clone.folder / path).write_bytes(before)

    return damage


def conflict(content: bytes) -> bytes:
    """As git leaves it that could not merge the sixth line."""
    lines = content.split(b"\n")
    lines[5:6] = [b"<<<<<<< HEAD", lines[5], b"=======", lines[5], b">>>>>>> other"]
    return b"\n".join(lines)


def flipped(content: bytes) -> bytes:
    """One bit in the middle is another one."""
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def truncated(content: bytes) -> bytes:
    return content[: len(content) // 2]


LOCK = "delete it: `dvc repro` writes it again"


@pytest.mark.parametrize(
    ("name", "change", "commands", "says"),
    [
        (
            "dvc.lock",
            b"",
            ["report", "train", "evaluate"],
            f"dvc.lock cannot be read: it is empty; {LOCK}",
        ),
        (
            "dvc.lock",
            conflict,
            ["report"],
            f"line 6 begins a conflict that git could not merge; {LOCK}",
        ),
        ("dvc.lock", b"schema: '2.0'\n", ["report"], f"it has no 'stages'; {LOCK}"),
        (
            "dvc.yaml",
            conflict,
            ["train", "report"],
            "dvc.yaml cannot be read: line 6 begins a conflict",
        ),
        ("dvc.yaml", b"", ["preprocess"], "`git checkout dvc.yaml` brings the committed one back"),
        (
            "params.yaml",
            conflict,
            ["train"],
            "keep one side of each conflict, and delete the marks",
        ),
        (
            "params.yaml",
            b"",
            ["report"],
            "`git checkout params.yaml` brings the committed one back",
        ),
        ("params.yaml", b"seed: [1", ["report"], "params.yaml cannot be read: line 1: "),
        ("data/schema.yaml", conflict, ["preprocess"], "data/schema.yaml is no valid YAML (line "),
        (
            "reports/plots/roc.csv",
            b"",
            ["draw pictures"],
            "reports/plots/roc.csv cannot be read: it is empty",
        ),
        (
            "reports/plots/roc.csv",
            b"x\n1\n",
            ["draw pictures"],
            "`dvc checkout --force reports/plots/roc.csv`",
        ),
        (
            "reports/training.csv",
            truncated,
            ["evaluate"],
            "training.csv is not what dvc.lock says `train` wrote",
        ),
        ("models/churn.ubj", b"", ["evaluate", "report"], "run `dvc repro`"),
        (
            "models/churn.ubj",
            truncated,
            ["evaluate"],
            "models/churn.ubj is not what dvc.lock says `train` wrote",
        ),
        (
            "models/churn.ubj",
            flipped,
            ["evaluate"],
            "models/churn.ubj is not what dvc.lock says `train` wrote",
        ),
        (
            "data/prepared/test.parquet",
            flipped,
            ["evaluate"],
            "is not what dvc.lock says `preprocess` wrote",
        ),
        # only operations
        ("params.yaml", conflict, ["promote"], "keep one side of each conflict"),
        ("params.yaml", b"", ["score a b", "serve"], "`git checkout params.yaml` brings"),
        ("params.yaml", b"seed: [1", ["monitor a b"], "params.yaml cannot be read: line 1: "),
        (
            "pyproject.toml",
            conflict,
            ["promote --status"],
            "pyproject.toml cannot be read: line 6 begins a conflict",
        ),
        ("reports/metrics.json", b"{", ["promote --status"], "reports/metrics.json cannot be read"),
        (
            "reports/metrics.json",
            b"",
            ["promote --status"],
            "it is empty; `dvc repro evaluate` writes it again",
        ),
        (
            "reports/metrics.json",
            b'{"roc_auc": 1}',
            ["promote --status"],
            "it has no number threshold",
        ),
        # end
        # only experiments
        ("dvc.lock", b"", ["sweep"], f"dvc.lock cannot be read: it is empty; {LOCK}"),
        ("dvc.lock", conflict, ["sweep"], "line 6 begins a conflict that git could not merge"),
        ("sweep.db", b"hello", ["sweep", "sweep --resume"], "`rm sweep.db*` begins anew"),
        (
            ".dvc/config",
            b"[core",
            ["sweep --queue"],
            ".dvc/config or .dvc/config.local: config file error",
        ),
        # end
    ],
)
def test_it_is_named_with_the_way_out(damaged, call, monkeypatch, name, change, commands, says):
    damaged(name, change)
    for command in commands:
        message = call(*command.split())
        assert message.startswith("error: ") and says in message and len(message) < 1000, (
            command,
            message,
        )


@pytest.mark.parametrize(
    ("name", "change", "remedy"),
    [
        ("dvc.lock", conflict, "rm dvc.lock && dvc repro"),
        ("reports/metrics.json", b"{", "dvc repro evaluate"),
        ("models/churn.ubj", flipped, "dvc repro"),
        ("reports/plots/roc.csv", b"", "dvc checkout --force reports/plots/roc.csv"),
    ],
)
def test_what_is_named_mends_it(clone, damaged, name, change, remedy):
    """After the command that the message names, the file is what it was."""
    before = (clone.folder / name).read_bytes()
    damaged(name, change)
    clone.out("bash", "-ec", remedy)
    assert (clone.folder / name).read_bytes() == before


def test_the_store(tiny_pipeline, tmp_path):
    """A damaged SQLite file, in processes of their own (MLflow keeps a store open); then what the
    message says.
    """
    own = tiny_pipeline.copy(tmp_path)
    path = own.folder / "mlflow.db"
    before = path.read_bytes()
    cases = {b"hello": "not a database", truncated(before): "malformed", b"": "it is empty"}
    for content, what in cases.items():
        path.write_bytes(content)
        result = own.run("python", "src/report.py")
        assert result.returncode == 1 and "Traceback" not in result.stderr
        assert (
            "mlflow.db is damaged" in result.stderr
            and what in result.stderr
            and "or move it away" in result.stderr
        )
    path.rename(own.folder / "aside.db")
    own.out("python", "src/report.py")
    assert own.alias("staging") == "1"


# only forensics
def test_a_commit_with_a_damaged_lock(clone, inside):
    """why.py and reproduce.py read dvc.lock of commits."""
    from churn.errors import UserError
    from churn.forensics.resolve import resolve_recipe

    inside(clone)
    before = Path("dvc.lock").read_bytes()
    Path("dvc.lock").write_bytes(conflict(before))
    clone.commit("with a conflict")
    try:
        with pytest.raises(
            UserError, match="dvc.lock of HEAD .* cannot be read: line .* choose a commit"
        ):
            resolve_recipe("HEAD")
    finally:
        clone.out("git", "reset", "-q", "--hard", "HEAD~1")
    assert Path("dvc.lock").read_bytes() == before


# end
def test_the_pointer_of_the_table(clone, damaged, call):
    """Read before anything is pulled."""
    damaged("data/raw.parquet.dvc", conflict)
    table = paths.RAW.rename("aside.parquet")
    try:
        message = call("launch", "table")
    finally:
        table.rename(paths.RAW)
    assert (
        "data/raw.parquet.dvc cannot be read: line 6 begins a conflict" in message
        and "`dvc add`" in message
    )


def test_a_process_that_failed_is_no_traceback():
    """Its own message is the message of the command."""

    def failing() -> None:
        subprocess.run(["git", "no-such-command"], check=True, capture_output=True)

    with pytest.raises(SystemExit) as ended:
        run_command(failing)
    assert str(ended.value.code).startswith(
        "error: git no-such-command failed: git: 'no-such-command' is not a git command"
    )


@pytest.mark.sample
def test_a_remote_that_gives_another_table_is_refused(project):
    """DVC by itself believes a remote that an object has the md5 of its name."""
    (stored,) = (project.folder / "data/sample").rglob("2a/*")
    stored.chmod(0o644)
    content = bytearray(stored.read_bytes())
    content[1000] ^= 1
    stored.write_bytes(content)
    stored.chmod(0o444)
    shutil.rmtree(project.folder / ".dvc/cache")
    result = project.run("dvc", "pull", "data/raw.parquet.dvc")
    assert result.returncode != 0
    assert not (project.folder / "data/raw.parquet").exists()
