"""Fixtures: real clones of this project, each with its own git, DVC cache, MLflow store and
registry.
"""

import functools
import importlib
import importlib.util
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import filelock
import pytest

from churn.console import run_command
from churn.files import read_yaml
from churn.tracking import store
from churn.tracking.store_errors import explain_store_error

ROOT = Path(__file__).parent.parent
SAMPLE = (ROOT / "data/sample").exists()  # else this project has a table of its own
BIN = Path(sys.prefix, "bin")
WARM = Path(__file__).with_name("warm")

# Nothing of the caller's MLflow, DVC or make may reach a test, and nothing of a test's may reach
# the caller's.
OUTER = ("MLFLOW_", "DVC_", "AWS_", "OMP_", "MAKE", "MFLAGS")
for name in [n for n in os.environ if n.startswith(OUTER)]:
    del os.environ[name]
# A clone's modules are compiled once, not by each command that a test runs.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
# A shell's background jobs ignore Ctrl-C, and so would all that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Drawing takes a third of an evaluation's time. Only `pipelines` and the tests of pictures draw.
os.environ["CHURN_SKIP_PLOTS"] = "1"

# Whether the tests' parameters are those that the committed dvc.lock was made with.
PARAMETERS = read_yaml(Path(__file__).with_name("params.yaml"))
AS_COMMITTED = (read_yaml(ROOT / "params.yaml") | PARAMETERS) == read_yaml(ROOT / "params.yaml")
# The modules that take longest, the longest first: the others fill what is left of the workers'
# time.
LONGEST = (
    "docs",
    "why",
    "commands",
    "cookiecutter",
    "at_once",
    "reproduce",
    "faults",
    "commands_of_a_team",
    "team_page",
    "faults_of_a_team",
    "launchers",
)
# Unit tests, by parts of their names, that simulate for seconds and read nothing of the project.
SIMULATIONS = "estimated_rightly or cover_the_truth or false_alarms"
TINY = {"train.rounds": 20, "train.learning_rate": 0.3, "evaluate.bootstrap": 100}


def pytest_collection_modifyitems(items):
    """Tests marked `sample` prove something about the sample table.

    Without it they are skipped; a project with its own table never gets a module that is marked as
    a whole.
    """
    names = [f"test_{name}" for name in LONGEST]
    items.sort(
        key=lambda item: (
            names.index(item.module.__name__) if item.module.__name__ in names else len(names)
        )
    )
    if not SAMPLE:
        if not (ROOT / "data/raw.parquet").exists() or not (ROOT / "dvc.lock").exists():
            pytest.exit(
                "the tests work on the project's own table and lock: `make repro` comes first", 1
            )
        for item in items:
            if item.get_closest_marker("sample"):
                item.add_marker(pytest.mark.skip(reason="needs the sample table"))


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def flat(tree: dict) -> dict[str, object]:
    """Parameters by dotted name. A range of a search space is one value."""
    leaves = {}
    for name, value in tree.items():
        if isinstance(value, dict) and "low" not in value:
            leaves |= {f"{name}.{rest}": leaf for rest, leaf in flat(value).items()}
        else:
            leaves[name] = value
    return leaves


@functools.cache
def warm_environment() -> Path:
    """This environment, but for its `python`, `dvc` and `mlflow`: these are forked from a process
    that has imported their libraries already; see warm/server.py.

    Returns:
        The folder of the environment, as .venv would be.
    """
    folder = Path(tempfile.mkdtemp(prefix="churn-tests-"))
    (folder / "bin").mkdir()
    for program in BIN.iterdir():
        (folder / "bin" / program.name).symlink_to(program)
    address, python = folder / "socket", BIN / "python"
    programs = {
        "python": "python",
        "python3": "python",
        "dvc": BIN / "dvc",
        "mlflow": BIN / "mlflow",
    }
    for name, program in programs.items():
        script = folder / "bin" / name
        script.unlink()
        asking = f'"{python}" -IS "{WARM}/ask.py" "{address}" "{python}" {program} "$@"'
        script.write_text(f"#!/bin/sh\nexec {asking}\n")
        script.chmod(0o755)
    activate = folder / "bin/activate"
    text = activate.read_text().replace(sys.prefix, str(folder))
    activate.unlink()
    activate.write_text(text)
    (folder / "lib").symlink_to(Path(sys.prefix, "lib"))
    shutil.copy(Path(sys.prefix, "pyvenv.cfg"), folder)
    # `make` installs nothing into an environment that notes the locks it was made from.
    shutil.copy(ROOT / "requirements.txt", folder)
    if importlib.util.find_spec("dvc_s3"):
        shutil.copy(ROOT / "requirements-team.txt", folder)

    command = [python, WARM / "server.py", address, folder / "bin/python"]
    # It ends when this process does, since that closes its input.
    server = subprocess.Popen(command, stdin=subprocess.PIPE)
    while not address.exists() and server.poll() is None:
        time.sleep(0.05)
    return folder


def place_empty_store(folder: Path) -> None:
    """Give a folder an MLflow store without experiments of its own, as a first command would make
    it: MLflow's migrations take longer than most commands.
    """
    shutil.copy(empty_store(), folder / "mlflow.db")


@functools.cache
def empty_store() -> Path:
    path = warm_environment() / "empty.db"
    store.create_store(path)
    return path


class Project:
    """A clone of this project in a folder of its own."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.uri = f"sqlite:///{folder}/mlflow.db"

    @classmethod
    def clone(cls, folder: Path, tiny: bool = False, committed: bool = False) -> "Project":
        """What git would commit now, so that the tests see uncommitted changes too, with the tests'
        own parameters.

        A tiny project has a quick model's parameters, and its data pulled; `committed` leaves
        params.yaml alone.
        """
        self = cls(folder)
        listed = self.out(
            "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT
        )
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).exists():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        self.out("git", "init", "-q", "-b", "main")
        self.out("git", "config", "user.email", "test@example.com")
        self.out("git", "config", "user.name", "test")
        self.out("git", "add", "-A")
        if SAMPLE:
            self.out("git", "add", "-f", "data/sample")
        # The default remote is an empty folder: the table is in the clone's cache, so that `dvc
        # pull` finds it.
        md5 = read_yaml(folder / "data/raw.parquet.dvc")["outs"][0]["md5"]
        blob = Path("files/md5", md5[:2], md5[2:])
        table = ROOT / "data/raw.parquet"
        cached = folder / ".dvc/cache" / blob
        cached.parent.mkdir(parents=True)
        shutil.copy(
            ROOT / "data/sample" / blob if (ROOT / "data/sample" / blob).exists() else table, cached
        )
        # Whatever bucket the project pushes to, a test pushes to a folder.
        (folder / ".dvc/config.local").write_text("['remote \"storage\"']\n    url = ../storage\n")
        if not (committed or AS_COMMITTED):
            self.set(**flat(PARAMETERS))
        if tiny:
            self.set(**TINY)
            self.out("dvc", "pull", "-q", "data/raw.parquet.dvc")
        self.commit("clone")
        return self

    def copy(self, folder: Path) -> "Project":
        """This project in another folder: its files, its cache, its runs and its registry."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        moved = (str(self.folder), str(folder))
        with (
            closing(sqlite3.connect(folder / "mlflow.db")) as store,
            store,
        ):  # MLflow keeps absolute paths
            for (table,) in store.execute(
                "select name from sqlite_master where type = 'table'"
            ).fetchall():
                for _, column, *_ in store.execute(f"pragma table_info({table})").fetchall():
                    change = (
                        f"update {table} set {column} = replace({column}, ?, ?) "
                        f"where instr({column}, ?)"
                    )
                    store.execute(change, (*moved, moved[0]))
        return Project(folder)

    def copy_files(self, folder: Path) -> "Project":
        """This project in another folder, with the same server."""
        shutil.copytree(self.folder, folder, symlinks=True)
        other = Project(folder)
        other.uri = self.uri
        return other

    def run(
        self, *command: str, cwd: Path | None = None, **env: str
    ) -> subprocess.CompletedProcess:
        """Run a command in the clone, with the warm environment's programs first on PATH."""
        path = f"{warm_environment() / 'bin'}:{BIN}:{os.environ['PATH']}"
        env = {**os.environ, "PATH": path, **env}
        return subprocess.run(
            command, cwd=cwd or self.folder, env=env, capture_output=True, text=True
        )

    def out(self, *command: str, cwd: Path | None = None, **env: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        result = self.run(*command, cwd=cwd, **env)
        assert result.returncode == 0, (
            f"{command} ended with {result.returncode}:\n{result.stdout}\n{result.stderr}"
        )
        return result.stdout

    def use_environment(self) -> None:
        """Let the warm environment be the project's .venv, for `make` and for pages."""
        (self.folder / ".venv").symlink_to(warm_environment())

    def commit(self, message: str) -> None:
        self.out("git", "add", "-A")
        self.out("git", "commit", "-q", "-m", message)

    def set(self, **values: object) -> None:
        """Set parameters by dotted name: set(**{"train.max_depth": 6})."""
        from ruamel.yaml import YAML

        yaml, path = YAML(), self.folder / "params.yaml"
        yaml.preserve_quotes = True
        tree = yaml.load(path)
        for name, value in values.items():
            *sections, leaf = name.split(".")
            node = tree
            for section in sections:
                node = node[section]
            node[leaf] = value
        yaml.dump(tree, path)

    def executed(self, **env: str) -> list[str]:
        """`dvc repro`, and the stages whose commands it ran."""
        printed = self.out("dvc", "repro", **env)
        return [
            line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")
        ]

    def lock(self) -> dict:
        from ruamel.yaml import YAML

        return YAML(typ="safe").load(self.folder / "dvc.lock")["stages"]

    def outs(self) -> dict[str, str]:
        """{path: md5} of every output in dvc.lock."""
        return {out["path"]: out["md5"] for stage in self.lock().values() for out in stage["outs"]}

    @property
    def client(self):
        import mlflow

        return mlflow.MlflowClient(self.uri, self.uri)

    def runs(self, stage: str = "train") -> list:
        """The finished and unfinished runs of a stage, latest first."""
        ids = [e.experiment_id for e in self.client.search_experiments()]
        return list(self.client.search_runs(ids, f"tags.stage = '{stage}'"))

    def versions(self) -> list:
        """The registered versions, newest first (MLflow's order is that of the last change)."""
        found = self.client.search_model_versions("name = 'ChurnXGB'")
        return sorted(found, key=lambda version: int(version.version), reverse=True)

    def alias(self, alias: str) -> str | None:
        """The version that an alias names."""
        found = self.client.search_registered_models("name = 'ChurnXGB'")
        version = found[0].aliases.get(alias) if found else None
        return version and str(version)


@dataclass
class Server:
    """A real MLflow server over a project's store."""

    address: str
    process: subprocess.Popen

    @classmethod
    def over(cls, project: Project, *options: str, **settings: str) -> "Server":
        """Start one, with more options and environment variables, and wait until it answers."""
        port = free_port()
        command = [
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            *options,
        ]
        command += ["--backend-store-uri", project.uri]
        command += ["--default-artifact-root", str(project.folder / "mlartifacts")]
        env = {
            **os.environ,
            "PATH": f"{warm_environment() / 'bin'}:{BIN}:{os.environ['PATH']}",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        }
        env |= settings
        with open(project.folder / "server.log", "w") as log:
            running = subprocess.Popen(command, cwd=project.folder, env=env, stdout=log, stderr=log)
        self, deadline = cls(f"http://127.0.0.1:{port}", running), time.monotonic() + 300
        while not self.is_up():
            assert running.poll() is None and time.monotonic() < deadline, (
                "the server did not come up"
            )
            time.sleep(0.3)
        return self

    def is_up(self) -> bool:
        try:
            return urllib.request.urlopen(f"{self.address}/health", timeout=5).status == 200
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(120)


@pytest.fixture(autouse=True)
def unit_tests_start_nothing(request, monkeypatch):
    """Let a unit test fail that starts a process, opens a store or goes to the network.

    So `make test-fast`, which runs them alone, takes seconds.
    """
    if "unit" not in request.path.parts:
        return

    def refuse(*arguments, **options):
        raise AssertionError("a unit test starts no process and opens no store or connection")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    for name in ("fork", "posix_spawn", "system"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(sqlite3, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "refused://unit-tests-have-no-store")


@pytest.fixture(autouse=True, scope="module")
def own_environment_of_a_module() -> Iterator[None]:
    """No module hands its store to the next one: mlflow.set_tracking_uri sets the environment,
    too, also where a fixture of a module calls it.
    """
    yield from restored_environment()


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """No test hands its store to the next one."""
    yield from restored_environment()


def restored_environment() -> Iterator[None]:
    """Put the environment variables back after the `yield`."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture
def project(tmp_path) -> Project:
    """A clone with nothing pulled and nothing run."""
    return Project.clone(tmp_path)


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id) -> Callable[[str, Callable[[Path], None]], Path]:
    """A folder for all the processes of this test run (pytest-xdist), filled by the first one that
    asks for it.
    """
    root = tmp_path_factory.getbasetemp()
    root = root if worker_id == "master" else root.parent

    def filled(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with filelock.FileLock(root / f"{name}.lock"):
            if not done.exists():
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def tiny_pipeline(once) -> Project:
    """A tiny project after `dvc repro`, committed: to be copied, not to be changed."""

    def fill(folder: Path) -> None:
        project = Project.clone(folder, tiny=True)
        project.out("dvc", "repro")
        project.commit("tiny")

    return Project(once("tiny", fill))


@pytest.fixture(scope="session")
def pipelines(once) -> list[Project]:
    """Two clones in different folders after `dvc repro --force` with the committed parameters, run
    at once: one with one thread, the other with two, another order of Python's sets, and the
    instructions of an old processor. To be looked at or copied.
    """
    folder = once("pipelines", fill_pipelines)
    return [Project(folder / threads) for threads in ("1", "2")]


# What the libraries take for their processor: one of 2008, without AVX.
OLD_PROCESSOR = {
    "OPENBLAS_CORETYPE": "Nehalem",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "ARROW_USER_SIMD_LEVEL": "NONE",
    "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX,-AVX2,-FMA,-FMA4,-AVX512F",
}


def fill_pipelines(folder: Path) -> None:
    running = []
    for threads, processor in (("1", {}), ("2", OLD_PROCESSOR)):
        clone = Project.clone(folder / threads)
        clone.out("dvc", "pull", "-q", "data/raw.parquet.dvc")
        env = {
            **os.environ,
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": threads,
            "PYTHONHASHSEED": threads,
            "CHURN_SKIP_PLOTS": "0",
            **processor,
        }
        command = ["dvc", "repro", "--force"]
        running.append(
            subprocess.Popen(
                command, cwd=clone.folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        )
    for process in running:
        printed = process.communicate()[0].decode()
        assert process.returncode == 0, printed


@pytest.fixture(scope="session")
def pipeline(pipelines) -> Project:
    """One of the two, with what `make repro` leaves."""
    return pipelines[0]


@pytest.fixture
def inside(monkeypatch):
    """Enter a project: the current folder and the tracking store of code that a test calls in this
    process.
    """

    def enter(project: Project) -> Project:
        monkeypatch.chdir(project.folder)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", project.uri)
        return project

    return enter


@pytest.fixture
def call(monkeypatch) -> Callable[..., str]:
    """Call a command of src/ in this process, in the current folder: its message, or its exit code
    as text. What it starts is forked, as what a Project runs.
    """
    programs = warm_environment() / "bin"
    monkeypatch.setattr(sys, "executable", str(programs / "python"))
    monkeypatch.setenv("PATH", str(programs), prepend=":")

    def called(command: str, *arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", [f"src/{command}.py", *arguments])
        try:
            run_command(importlib.import_module(command).main, explain_store_error)
        except SystemExit as end:
            return str(end.code or 0)
        return "0"

    return called


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    """The services, for one module of tests: started before it, ended and deleted after it."""
    from team_services import Services, missing_part

    reason = missing_part()
    if reason:
        pytest.skip(reason)
    services = Services(tmp_path_factory.mktemp("team") / "services")
    try:
        services.up()
        yield services
    finally:
        services.remove()


@pytest.fixture
def on_services(services, monkeypatch):
    """This process, and what it starts, is the server's admin and reaches the bucket."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # which remembers another module's bucket
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{BIN}:{os.environ['PATH']}")
    return services
