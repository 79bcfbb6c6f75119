"""reproduce.py rebuilds a model from its lineage alone, proves that it is the same or says what is
to blame, and changes nothing but three tags.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import planted
import pytest

from churn import paths
from churn.errors import UserError
from churn.forensics import locked_environment
from churn.tracking import environment
from conftest import BIN, Project

pytestmark = pytest.mark.sample

RAW = str(paths.RAW)


@pytest.fixture(scope="module")
def caches(tmp_path_factory) -> Path:
    """Where environments are kept that are built."""
    return tmp_path_factory.mktemp("caches")


@pytest.fixture(scope="module")
def clone(tiny_pipeline, tmp_path_factory, caches) -> Project:
    """Four models: version 1 of a commit; version 2 of a tree that differed from it in code,
    parameters and lock; version 3 of an experiment; version 4 of a commit whose training draws from
    a clock.
    """
    clone = tiny_pipeline.copy(tmp_path_factory.mktemp("reproduce") / "clone")
    clone.set(**{"gate.min_roc_auc": 0.5})
    clone.out("dvc", "repro")
    clone.commit("version 1")

    clone.set(**{"train.max_depth": 3})
    edit(
        clone,
        "src/churn/modeling/booster.py",
        "**settings,",
        '**{**settings, "max_depth": train.max_depth + 2},',
    )
    edit(clone, "requirements.txt", "tqdm==4.70.1", "tqdm==4.70.0")
    planted.overlay(clone, caches)
    clone.out("dvc", "repro")
    clone.out("git", "checkout", "-q", ".")

    clone.out("dvc", "exp", "run", "--temp", "-n", "shallow", "-S", "train.max_depth=2")

    edit(
        clone,
        "src/churn/modeling/booster.py",
        '"seed": seed',
        '"seed": __import__("time").time_ns() % 2**31',
    )
    clone.out("dvc", "repro")
    clone.commit("version 4")
    assert len(clone.versions()) == 4
    return clone


def edit(clone: Project, name: str, old: str, new: str) -> None:
    """Replace a text that stands in a file of the project."""
    text = (clone.folder / name).read_text()
    assert old in text
    (clone.folder / name).write_text(text.replace(old, new))


@pytest.fixture
def reproduce(clone, caches, tmp_path):
    """Call the command, with temporary files in a folder of this test: how it ended.

    It must be empty afterwards, and everything of the project as before.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def call(model: str) -> subprocess.CompletedProcess:
        before = state_of(clone)
        env = {"TMPDIR": str(temporary), "XDG_CACHE_HOME": str(caches)}
        result = clone.run("python", "src/reproduce.py", model, **env)
        assert list(temporary.iterdir()) == [], result.stderr
        assert "Traceback" not in result.stderr, result.stderr
        assert state_of(clone) == before
        return result

    return call


def state_of(clone: Project) -> dict:
    """Every file of the project but the MLflow store and DVC's scratch folder, git's state, and the
    registry but for the three tags.
    """
    skipped = (".dvc/tmp", "mlflow.db", ".git/index")  # `git status` itself refreshes the index
    files = {}
    for path in clone.folder.rglob("*"):
        name = str(path.relative_to(clone.folder))
        if name.startswith(skipped) or "__pycache__" in path.parts or not path.is_file():
            continue
        files[name] = (path.stat().st_mtime_ns, path.stat().st_size)

    versions = []
    for version in clone.versions():
        other_tags = {}
        for key, value in version.tags.items():
            if not key.startswith("reproduced"):
                other_tags[key] = value
        versions.append((version.version, version.current_stage, version.aliases, other_tags))
    return {
        "files": files,
        "status": clone.out("git", "status", "--short"),
        "versions": versions,
        "runs": [(run.info.run_id, run.info.end_time, run.data.tags) for run in clone.runs()],
    }


def tags(clone: Project, number: int) -> dict[str, str]:
    """The tags of a version."""
    return clone.client.get_model_version("ChurnXGB", str(number)).tags


def test_a_version_is_identical(clone, reproduce):
    """Of another commit than the one that is checked out: md5 by md5, digit by digit, and the tags
    say so.
    """
    result = reproduce("models:/ChurnXGB/1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "identical: data, splits, model and metrics" in result.stdout
    assert "DIFFERENT" not in result.stdout
    md5 = tags(clone, 1)["model_md5"][:8]
    assert re.search(rf"model +models/churn.ubj +{md5} +{md5} +same", result.stdout)
    written = tags(clone, 1)
    assert written["reproduced"] == "identical"
    assert written["reproduced_at"] > "2026"
    assert environment.environment_tags()["python"] in written["reproduced_on"]


def test_an_experiment_whose_data_only_a_remote_has(clone, reproduce):
    """By its name; the table comes from the remote, and the cache that lacked it lacks it still."""
    cached = clone.folder / ".dvc/cache/files/md5" / tags(clone, 3)["data_md5"][:2]
    aside = cached.with_name("aside")
    cached.rename(aside)
    try:
        result = reproduce("shallow")
        assert result.returncode == 0, result.stdout + result.stderr
        assert "identical" in result.stdout
        assert not cached.exists()
    finally:
        aside.rename(cached)
    assert tags(clone, 3)["reproduced"] == "identical"


def test_a_changed_tree_and_another_lock(clone, reproduce):
    """By its run id: code and parameters from the logged patch, in the environment of that tree's
    lock.
    """
    run_id = clone.client.get_model_version("ChurnXGB", "2").run_id
    result = reproduce(run_id)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"its patch +applied", result.stdout)
    assert tags(clone, 2)["reproduced"] == "identical"


def test_an_environment_is_built_from_a_lock(clone, inside, tmp_path, monkeypatch, capsys):
    """Once, and kept; nothing half-built stays beside it."""
    inside(clone)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    cache = os.environ.get("UV_CACHE_DIR") or Path.home() / ".cache/uv"
    monkeypatch.setenv("UV_CACHE_DIR", str(cache))
    shutil.copy("pyproject.toml", tmp_path)
    (block,) = re.findall(r"^tqdm==.*\n(?:    .*\n)+", Path("requirements.txt").read_text(), re.M)
    lock = tmp_path / "requirements.txt"
    lock.write_text(block)
    python = locked_environment.environment_for(tmp_path) / "python"
    printed = subprocess.run(
        [python, "-c", "import tqdm; print(tqdm.__file__)"], capture_output=True, text=True
    )
    assert printed.stdout.startswith(str(tmp_path / "caches")), printed.stderr
    assert "building the environment" in capsys.readouterr().err
    assert locked_environment.environment_for(tmp_path) / "python" == python
    assert capsys.readouterr().err == ""
    assert len(list((tmp_path / "caches/churn-environments").iterdir())) == 1


def test_chance_is_blamed(clone, reproduce):
    """Training that draws from a clock: exit code 5, the model is the first that differs,
    randomness is to blame.
    """
    result = reproduce("4")
    assert result.returncode == 5, result.stdout + result.stderr
    assert "the first that differs is models/churn.ubj. To blame: randomness" in result.stdout
    assert tags(clone, 4)["reproduced"] == "differs: models/churn.ubj (randomness)"
    assert re.search(r"data/prepared/train.parquet .* same", result.stdout)


def test_what_cannot_be_done_is_said(clone, reproduce, monkeypatch, tmp_path):
    """Data that nobody has: the md5 and every place that was asked.

    A commit that is not here. Nothing of the name. A run without a model. Exit code 1, no tag.
    """
    store = tmp_path / "mlflow.db"
    shutil.copy(clone.folder / "mlflow.db", store)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{store}")
    monkeypatch.setattr(clone, "uri", f"sqlite:///{store}")
    client = clone.client

    def refused(model: str, *says: str) -> None:
        result = reproduce(model)
        assert result.returncode == 1, result.stderr
        for part in says:
            assert part in result.stderr

    client.set_model_version_tag("ChurnXGB", "3", "git_commit", "c0ffee" + "0" * 34)
    refused("3", "commit c0ffee", "is not in this clone", "git fetch")
    client.set_model_version_tag("ChurnXGB", "1", "data_md5", "0" * 32)
    refused("1", "0" * 32, "DVC's cache", "storage", "dvc push")
    refused("nobody", "no DVC experiment")
    refused(clone.runs("preprocess")[0].info.run_id, "made no model")
    assert "reproduced" not in tags(clone, 1) or tags(clone, 1)["data_md5"] == "0" * 32


@pytest.mark.parametrize(
    ("number", "during"), [(signal.SIGINT, "train"), (signal.SIGTERM, "preprocess")]
)
def test_interrupted(clone, tmp_path, number, during):
    """Ctrl-C, or a scheduler's SIGTERM, while a stage runs: exit code 130, no folder, and no
    process goes on.
    """
    before = state_of(clone)
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "src/reproduce.py", "3"],
        cwd=clone.folder,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr:
            if line == f"running {during}\n":
                break
        process.send_signal(number)
        _, printed = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "Traceback" not in printed
    assert list(tmp_path.iterdir()) == []
    for folder in Path("/proc").glob("[0-9]*/cwd"):  # of every process that this user may see
        if os.access(folder, os.R_OK):
            assert str(tmp_path) not in os.readlink(folder)
    assert state_of(clone) == before


# only operations
def test_promotion_can_demand_it(clone):
    """gate.require_reproduced is no parameter of a model (nothing runs again), and only an
    identical rebuild passes.
    """
    promote = ["python", "src/promote.py", "--reason", "x", "--dry-run"]
    clone.client.set_registered_model_alias("ChurnXGB", "staging", "4")
    for tag in ("reproduced", "reproduced_at", "reproduced_on"):
        clone.client.delete_model_version_tag("ChurnXGB", "4", tag)
    assert clone.run(*promote).returncode == 0
    clone.set(**{"gate.require_reproduced": True})
    try:
        assert clone.executed() == []
        refused = clone.run(*promote)
        assert refused.returncode == 1
        assert "was never rebuilt" in refused.stderr
        assert "python src/reproduce.py 4" in refused.stderr
        clone.client.set_model_version_tag(
            "ChurnXGB", "4", "reproduced", "differs: models/churn.ubj (randomness)"
        )
        assert "rebuilt, and differs: models/churn.ubj" in clone.run(*promote).stderr
        clone.client.set_model_version_tag("ChurnXGB", "4", "reproduced", "identical")
        assert clone.run(*promote).returncode == 0
    finally:
        clone.out("git", "checkout", "-q", "params.yaml")


# end
def test_a_package_that_is_gone(tmp_path, inside, clone, monkeypatch):
    """A pin that the index does not have: one error that names it, and no half environment is
    left.
    """
    inside(clone)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    if "UV_CACHE_DIR" not in os.environ:
        monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    (tmp_path / "requirements.txt").write_text(f"tqdm==0.0.1 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(UserError, match=r"cannot be built here:[\s\S]*tqdm==0.0.1"):
        locked_environment.environment_for(tmp_path)
    assert list((tmp_path / "caches/churn-environments").iterdir()) == []
