"""dvc.yaml, the lock, conda.yaml and the repository itself say the same things."""

import ast
import re
import subprocess
import tomllib
from itertools import accumulate
from pathlib import Path

import pandas as pd
import pytest

from churn.files import md5, read_yaml
from churn.params import parameter_names
from conftest import ROOT, SAMPLE, Project

LOCKED = r"^([\w.-]+)==([\w.]+)(?: ;[^\\]*)? \\\n    --hash=sha256:"  # a line of a lock
STAGES = read_yaml(ROOT / "dvc.yaml")["stages"]


def modules(script: Path, seen: set[Path]) -> set[Path]:
    """The project's files that a script imports or starts, directly or not."""
    if script in seen:
        return seen
    seen.add(script)
    for node in ast.walk(ast.parse(script.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "churn":
            packages = list(accumulate(node.module.split("."), "{}/{}".format))
            names = [f"src/{package}/__init__.py" for package in packages] + [
                f"src/{packages[-1]}.py"
            ]
            names += [f"src/{packages[-1]}/{alias.name}.py" for alias in node.names]
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and node.value.endswith(".py")
        ):
            names = [node.value]
        for name in names:
            if (ROOT / name).is_file():
                modules(ROOT / name, seen)
    return seen


@pytest.mark.parametrize("stage", STAGES)
def test_deps_name_every_module(stage):
    """A stage depends on every file of code that it runs, and on no other: no change goes unseen,
    none is feigned.
    """
    ran = {str(path.relative_to(ROOT)) for path in modules(ROOT / "src" / f"{stage}.py", set())}
    assert {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py")} == ran
    assert STAGES[stage]["desc"]


def test_a_stage_reads_each_parameter():
    """What influences a model is a parameter of a stage in dvc.yaml: else a change of it would run
    nothing, and would not be in dvc.lock. (`evaluate` names the thresholds of the gate singly.)
    """
    declared = [f"{name}." for stage in STAGES.values() for name in stage["params"]]
    read = [f"{name}.".startswith(tuple(declared)) for name in parameter_names()]
    assert [name for name, known in zip(parameter_names(), read, strict=True) if not known] == []


def test_lock_conda_and_pyproject_agree():
    """pyproject.toml is the one source of versions; the lock pins everything by hash and names no
    index.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = project["dependencies"] + project["optional-dependencies"]["test"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    lock = (ROOT / "requirements.txt").read_text()
    locked = re.findall(r"^([\w.-]+==[\w.]+)(?: ;[^\\]*)? \\\n    --hash=sha256:", lock, re.M)
    # ruamel.yaml is ruamel-yaml there.
    names = [pin.replace(".yaml.", "-yaml-").replace(".yaml", "-yaml") for pin in pins]
    assert set(names) <= set(locked)
    assert len(locked) == len(re.findall(r"^[\w.-]+==", lock, re.M)), "a package without a hash"
    assert "://" not in lock and "--index" not in lock and "--find-links" not in lock
    conda = read_yaml(ROOT / "conda.yaml")["dependencies"]
    assert conda[-1] == {"pip": project["dependencies"]}


def test_the_lock_of_a_team_has_the_same_versions():
    """requirements-team.txt is requirements.txt with packages more, each by hash; of those in both
    one version differs, since botocore refuses the newer one.
    """
    team = (ROOT / "requirements-team.txt").read_text()
    locked = dict(re.findall(LOCKED, team, re.M))
    alone = dict(re.findall(LOCKED, (ROOT / "requirements.txt").read_text(), re.M))
    assert alone.keys() < locked.keys()
    differing = {name for name, version in alone.items() if locked[name] != version}
    assert differing == {"python-dateutil"} and locked["python-dateutil"] < "3"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for pin in project["optional-dependencies"]["team"]:
        name, version = pin.split("==")
        assert locked[name] == version
    assert len(locked) == len(re.findall(r"^[\w.-]+==", team, re.M)), "a package without a hash"
    assert "://" not in team and "--index" not in team and "--find-links" not in team


def test_no_big_data_in_git():
    """Git holds text and the one small sample at most; tables, models and databases are DVC's and
    MLflow's.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()]
    sample = ROOT / "data/sample/files/md5"
    assert [f for f in files if f.stat().st_size > 300_000] == []
    assert [
        f
        for f in files
        if f.suffix in {".parquet", ".csv", ".ubj", ".db", ".pkl"} and f.parent != ROOT / "reports"
    ] == []
    blobs = [f.relative_to(sample).as_posix() for f in files if sample in f.parents]
    assert blobs == (["2a/15b2735d3b55fd536faa99218c4d80"] if SAMPLE else [])


def pushed_to(bucket: Path, project: Project) -> None:
    """Point the default remote at a bucket (here a folder) and push, as README says."""
    project.out("dvc", "remote", "modify", "--local", "storage", "url", str(bucket))
    project.out("dvc", "push", "-q", "data/raw.parquet.dvc")


@pytest.mark.parametrize("noted_by", ["dvc add", "dvc repro"])
def test_own_table_reaches_a_colleague(tiny_pipeline, tmp_path, noted_by):
    """Another table in the sample's place is pushed to the default remote; a second clone pulls it
    from there, and nothing of it enters git.
    """
    mine = tiny_pipeline.copy(tmp_path / "mine")
    table = pd.read_parquet(mine.folder / "data/raw.parquet").iloc[:-3]
    table.to_parquet(mine.folder / "data/raw.parquet")
    if noted_by == "dvc add":
        mine.out("dvc", "add", "-q", "data/raw.parquet")
    else:
        mine.out("dvc", "repro", "-q", "preprocess")
    pushed_to(tmp_path / "bucket", mine)
    mine.commit("own customers")
    assert mine.out("git", "ls-files", "data/sample") == tiny_pipeline.out(
        "git", "ls-files", "data/sample"
    )

    tiny_pipeline.out("git", "clone", "-q", str(mine.folder), str(tmp_path / "theirs"))
    theirs = Project(tmp_path / "theirs")
    theirs.out("dvc", "remote", "modify", "--local", "storage", "url", str(tmp_path / "bucket"))
    theirs.out("python", "src/launch.py", "table")  # what `make repro` does first
    assert md5(theirs.folder / "data/raw.parquet") == md5(mine.folder / "data/raw.parquet")
    (theirs.folder / "data/raw.parquet").unlink()
    theirs.out("dvc", "pull", "-q", "data/raw.parquet.dvc")


@pytest.mark.sample
def test_the_sample_needs_no_remote_of_ones_own(tmp_path):
    """A clone that has nothing but git's files fetches the sample from them."""
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], check=True)
    clone = Project(tmp_path / "clone")
    clone.out("python", "src/launch.py", "table")
    assert (clone.folder / "data/raw.parquet").stat().st_size > 50_000


def test_push_and_pull_work_at_once(pipeline, tmp_path):
    """`dvc push` fills the default remote, and a second clone gets the outputs from there without
    running.
    """
    pipeline.out("dvc", "push", "-q")
    other = Project.clone(tmp_path)
    other.out(
        "dvc", "remote", "modify", "--local", "storage", "url", str(pipeline.folder / "storage")
    )
    other.out("dvc", "pull", "-q")
    assert md5(other.folder / "models/churn.ubj") == pipeline.outs()["models/churn.ubj"]
    assert other.executed() == []
