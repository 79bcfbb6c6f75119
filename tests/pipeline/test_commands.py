"""Every make target and every command of the README runs, in fresh clones; what they leave is
whole.
"""

import os
import re
import shutil
import signal
import subprocess
import time
import urllib.request

import pytest

from conftest import AS_COMMITTED, BIN, ROOT, SAMPLE, Project, free_port, warm_environment
from pages import BLOCK, missing
from suspended import start_suspended

README = (ROOT / "README.md").read_text()
FIRST_STEPS = (ROOT / "docs/first-steps.md").read_text()


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """A fresh clone after `make repro`.

    Its .venv is this environment; .ci/run builds real ones, by uv and by pip.
    """
    clone = Project.clone(tmp_path_factory.mktemp("newcomer"))
    clone.use_environment()
    assert "staging     ChurnXGB version 1" in clone.out("make", "repro")
    if AS_COMMITTED:
        assert clone.out("git", "status", "--short") == "", (
            "the committed dvc.lock was not reproduced"
        )
    return clone


def test_readme_and_first_steps(clone):
    """The shell blocks one after the other; `make test` only collects, since this is it."""
    blocks = list(BLOCK.finditer(README))
    assert [block["command"] for block in blocks] == ["make repro\n", "make test\n"]
    blocks += BLOCK.finditer(FIRST_STEPS)
    commits = clone.out("git", "rev-list", "--count", "HEAD")
    for block in blocks:
        command = f"source .venv/bin/activate\n{block['command']}"
        result = clone.run(
            "bash", "-euc", f"exec 2>&1\n{command}", PYTEST_ADDOPTS="--collect-only -n0"
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}"
        assert not SAMPLE or missing(block["shown"] or "", result.stdout) == [], result.stdout
    assert clone.out("git", "rev-list", "--count", "HEAD") == commits, (
        "an experiment needs no commit"
    )
    for block in re.findall(r"^```python\n(.*?)^```", FIRST_STEPS, re.M | re.S):
        assert "churn_probability" in clone.out("python", "-c", block)


def test_second_repro_adds_nothing(clone):
    """`make repro` again, after the experiments: no stage runs, no version is added, no alias
    moves.
    """
    clone.out("git", "checkout", "-q", ".")
    clone.out("dvc", "checkout", "-q")
    clone.out("make", "repro")

    def state() -> tuple:
        return (
            len(clone.versions()),
            clone.alias("staging"),
            clone.alias("production"),
            len(clone.runs()),
        )

    before = state()
    printed = clone.out("make", "repro")
    assert "Running stage" not in printed
    assert state() == before


@pytest.fixture
def production(clone) -> None:
    """Some version is in production."""
    if clone.alias("production") is None:
        clone.client.set_registered_model_alias("ChurnXGB", "production", "1")


def first_answer(address: str, server: subprocess.Popen) -> str:
    """The page at an address, once the server is up."""
    deadline = time.monotonic() + 240
    while True:
        try:
            return urllib.request.urlopen(address, timeout=5).read().decode()
        except OSError:
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server did not come up"
            time.sleep(0.5)


def test_make_ui_serves_the_runs(clone, production, tmp_path):
    """The MLflow page answers on loopback, and through it, as a team's server, the pipeline's
    commands find it all. `make ui` prints the address of the runs.
    """
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    with (tmp_path / "printed").open("w") as printed:
        server = subprocess.Popen(
            ["make", "ui", f"PORT={port}"],
            cwd=clone.folder,
            env=env,
            stdout=printed,
            start_new_session=True,
        )
    try:
        assert "MLflow" in first_answer(f"{address}/", server)
        assert f"the runs: {address}/#/experiments/1/runs?" in (tmp_path / "printed").read_text()
        query = f"{address}/api/2.0/mlflow/registered-models/get?name=ChurnXGB"
        assert '"production"' in urllib.request.urlopen(query, timeout=120).read().decode()
        through = clone.out("python", "src/report.py", MLFLOW_TRACKING_URI=address)
        assert "production  ChurnXGB version" in through and "gate        passed" in through
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(120)


@pytest.mark.skipif(
    not shutil.which("chromium"), reason="no browser: install chromium to see the plots drawn"
)
def test_make_plots_draws_offline(clone, tmp_path):
    """The page loads nothing from elsewhere, and a real browser without a network draws all ten
    plots.
    """
    clone.out("make", "plots")
    page = clone.folder / "dvc_plots/index.html"
    assert not re.search(r"<(script|link)[^>]+(src|href)\s*=", page.read_text())
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--no-first-run",
    ]
    offline = [
        f"--user-data-dir={tmp_path}",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--virtual-time-budget=20000",
    ]
    command = ["chromium", *flags, *offline, "--dump-dom", page.as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    assert len(re.findall(r"<(?:svg|canvas)[^>]*class=\"marks\"", drawn)) == 10


def test_make_clean_loses_nothing(clone, production):
    """After `make clean` the pipeline is restored from the cache without a stage being run; the
    store stays.
    """
    clone.out("make", "clean")
    assert not (clone.folder / "models/churn.ubj").exists()
    assert clone.executed() == []
    assert (clone.folder / "models/churn.ubj").exists() and clone.alias("production")


def test_make_help_lists_every_target(clone):
    """And `make` alone is `make help`."""
    listed = {line.split()[0] for line in clone.out("make").splitlines()}
    rules = (ROOT / "Makefile").read_text() + (ROOT / "ci.mk").read_text()
    targets = set(re.findall(r"^([a-z-]+):.*##", rules, re.M))
    assert listed == targets >= {"setup", "repro", "test", "lint", "ui", "plots", "reset"}


@pytest.mark.skipif(not shutil.which("uv"), reason="make lock needs uv")
def test_make_lock_changes_nothing_without_a_change(clone):
    """The lock and conda.yaml in git are what `make lock` makes of pyproject.toml."""
    clone.out("git", "checkout", "-q", ".")
    clone.out("make", "lock")
    assert clone.out("git", "status", "--short", "requirements*.txt", "conda.yaml") == ""


def test_old_python_is_refused(project, tmp_path):
    """A python3 before 3.11 is one clear line."""
    old = tmp_path / "old-python"
    old.write_text(
        "#!/bin/sh\n"
        "exec python3 -c \"import sys; sys.version_info = (3, 9); sys.version = '3.9.1 x'\n$2\"\n"
    )
    old.chmod(0o755)
    result = project.run("make", "setup", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    assert (
        result.returncode != 0
        and "error: python3 is 3.9.1; 3.11 or later is needed" in result.stderr
    )


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_team_on_one_sqlite_file_is_refused(project):
    """A store of another user's: refused with the way out, before anything is logged."""
    project.out("dvc", "pull", "-q", "data/raw.parquet.dvc")
    project.out("python", "src/init.py")
    os.chown(project.folder / "mlflow.db", 12345, 12345)
    result = project.run("python", "src/preprocess.py")
    assert (
        result.returncode == 1 and "Point MLFLOW_TRACKING_URI at an MLflow server" in result.stderr
    )
    assert "Traceback" not in result.stderr


def test_stores_made_at_once_are_whole(project):
    """Five processes that find no store: one makes it, none breaks, all see the same."""
    code = (
        "import sys; sys.path.insert(0, 'src'); "
        "from churn.tracking import store; print(store.connect())"
    )
    command = [warm_environment() / "bin/python", "-c", code]
    started = [
        subprocess.Popen(command, cwd=project.folder, stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    answers = {process.communicate()[0].strip() for process in started}
    assert [process.returncode for process in started] == [0] * 5
    assert len(answers) == 1
    assert list(project.folder.glob("*.part")) == []


def test_an_input_edited_while_its_stage_runs_is_an_error(project):
    """DVC reads dependencies and parameters after a stage: what was edited meanwhile must not enter
    dvc.lock as its input. What the stage does not read may be edited.
    """
    project.out("dvc", "pull", "-q", "data/raw.parquet.dvc")
    running, process = start_suspended(project, "preprocess", "dvc", "repro", "preprocess")
    with (project.folder / "data/schema.yaml").open("a") as schema:
        schema.write("# edited meanwhile\n")
    project.set(**{"split.test": 0.25, "split.valid": 0.15, "train.learning_rate": 0.07})
    process.resume()
    printed = running.communicate()[0]
    assert running.returncode != 0
    changed = "data/schema.yaml, split.valid in params.yaml, split.test in params.yaml"
    assert f"{changed} changed while preprocess ran; run `dvc repro` again" in printed
    assert project.out("git", "status", "--short", "dvc.lock") == ""


@pytest.mark.parametrize(
    ("stage", "not_read"),
    [("train", {"evaluate.costs.contact": 42.0}), ("evaluate", {"data.unlabelled": "drop"})],
)
def test_a_parameter_edited_while_its_stage_runs_is_an_error(
    tiny_pipeline, tmp_path, stage, not_read
):
    """The next experiment's parameters, written while this one still runs, are not this one's. A
    parameter that the stage does not read may be edited.
    """
    project = tiny_pipeline.copy(tmp_path / "project")
    project.set(**{"evaluate.costs.contact": 41.0})  # an evaluation that has no record yet
    path, command = project.folder / "params.yaml", ("dvc", "repro", "-f", "-s", stage)
    parameters, lock = path.read_text(), project.lock()

    running, process = start_suspended(project, stage, *command)
    project.set(**{"train.learning_rate": 0.07}, **not_read)
    process.resume()
    printed = running.communicate()[0]
    assert running.returncode != 0
    changed = f"train.learning_rate in params.yaml changed while {stage} ran"
    assert f"error: {changed}; run `dvc repro` again" in printed
    assert project.lock() == lock

    path.write_text(parameters)
    running, process = start_suspended(project, stage, *command)
    project.set(**not_read)
    process.resume()
    printed = running.communicate()[0]
    assert running.returncode == 0, printed
