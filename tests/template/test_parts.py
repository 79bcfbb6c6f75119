"""A project without one of the parts has nothing of it, and works.

The parts are operations, experiments and forensics; each of the eight combinations is generated.
"""

import ast
import itertools
import re
import shutil
from pathlib import Path

import pytest

from conftest import ROOT, Project
from workshop import Workshop

PARTS = ("operations", "experiments", "forensics")
COMBINATIONS = list(itertools.product(("yes", "no"), repeat=3))
# What nobody may speak of in a project without the part.
TERMS = {
    "operations": (
        r"promote\.py|serve\.py|score\.py|monitor\.py|operations/|churn\.operations|operations\.md"
        r"|serving\.md|make serve|^monitor:|monitor\.max|csv_table|customer_table|fsspec=="
        r"|image\.py|Dockerfile|make image|make promote|promote\.yml"
    ),
    "experiments": r"sweep|optuna|churn\.experiments|src/churn/experiments|tests/experiments",
    "forensics": (
        r"why\.py|reproduce\.py|churn\.forensics|forensics/|tuesday-friday|require_reproduced"
        r"|[Ss]hapley|why\.png"
    ),
}
# Where the answers are kept, where packages that others need are locked, and what names no file.
SPEAKS_OF_ALL = (
    ".cookiecutter.json",
    "requirements.txt",
    "requirements-team.txt",
    "requirements-lint.txt",
    "LICENSE",
)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("parts"))


@pytest.fixture(scope="module")
def generated(workshop) -> dict[tuple, Project]:
    """A project of each combination."""
    projects = {}
    for combination in COMBINATIONS:
        slug = "parts-" + "-".join(combination)
        answers = dict(zip(PARTS, combination, strict=True))
        projects[combination] = workshop.project(slug, slug=slug, **answers)
    return projects


def tracked_files(project: Project) -> list[Path]:
    """The files of a project that are text."""
    names = project.out("git", "ls-files").split()
    return [Path(name) for name in names if not name.startswith("data/sample/")]


@pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
def test_nothing_refers_to_what_is_gone(generated, combination):
    """No file, import, command, page, parameter, package or entry point of a part that is left out;
    no mark of a passage.
    """
    project = generated[combination]
    gone = [part for part, answer in zip(PARTS, combination, strict=True) if answer == "no"]
    found = []
    for path in tracked_files(project):
        if path.suffix == ".png" or path.name in SPEAKS_OF_ALL:
            continue
        text = (project.folder / path).read_text()
        assert not re.search(r"(#|%%|<!--) only (op|ex|fo|sa|te|be|gi)\w+|^ *# end$", text, re.M), (
            path
        )
        for part in gone:
            found += [f"{path}: {word}" for word in re.findall(TERMS[part], text, re.M)]
    assert found == []
    if "experiments" in gone:
        for lock in ("requirements.txt", "requirements-team.txt"):
            assert "optuna" not in (project.folder / lock).read_text()


@pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
def test_every_import_is_there(generated, combination):
    """Each module of the project that a file of it imports exists."""
    project = generated[combination]
    places = [project.folder / "src", project.folder / "tests"]
    for path in tracked_files(project):
        if path.suffix != ".py":
            continue
        for node in ast.walk(ast.parse((project.folder / path).read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("churn."):
                module = node.module.replace(".", "/")
                modules = [module, *(f"{module}/{alias.name}" for alias in node.names)]
                files = [places[0] / f"{name}.py" for name in modules]
                is_package = (places[0] / module / "__init__.py").exists()
                assert any(file.exists() for file in files), f"{path}: {node.module}"
                assert is_package or files[0].exists(), f"{path}: {node.module}"


def test_the_page_says_how_large_the_smallest_is(generated):
    """docs/start-a-project.md gives the lines of src/ in a project without the three parts."""
    lines = 0
    for path in (generated["no", "no", "no"].folder / "src").rglob("*.py"):
        lines += len(path.read_text().splitlines())
    page = (ROOT / "docs/start-a-project.md").read_text()
    stated = int(re.search(r"([\d,]+) lines, since", page)[1].replace(",", ""))
    assert abs(stated - lines) <= 100, lines


@pytest.mark.parametrize("part", PARTS)
def test_each_part_works_alone(generated, part):
    """Without the other two parts, its entry points, pages and unit tests are whole."""
    project = generated[tuple("yes" if name == part else "no" for name in PARTS)]
    quick = ["tests/unit/test_launch.py", "tests/template/test_pages.py"]
    if part == "forensics":
        quick.append("tests/unit/forensics")
    assert " passed" in project.out("python", "-m", "pytest", "-q", "-n0", *quick)


@pytest.mark.skipif(not (ROOT / ".venv-lint").exists(), reason="`make lint` makes the linters")
@pytest.mark.parametrize("combination", COMBINATIONS, ids="-".join)
def test_its_style_is_clean(generated, combination):
    """As `make lint` says: nothing is imported that only a left-out part used."""
    project = generated[combination]
    lint = ROOT / ".venv-lint/bin"
    project.out(str(lint / "ruff"), "check", "src", "tests", "deploy")
    project.out(str(lint / "ruff"), "format", "--check", "src", "tests", "deploy")
    printed = project.out(str(lint / "lint-imports"), PYTHONPATH="src")
    assert "1 kept, 0 broken" in printed


@pytest.fixture(scope="module")
def smallest(generated, workshop) -> Project:
    """The pipeline alone, after `make repro` in an environment that its own lock made."""
    project = generated["no", "no", "no"]
    (project.folder / ".venv").unlink()
    project.printed = make(project, workshop, "repro")
    return project


def make(project: Project, workshop: Workshop, *arguments: str, **env: str) -> str:
    """Run make with the project's own environment."""
    return project.out("make", *arguments, **workshop.env | {"VENV": ".venv"} | env)


def test_the_smallest_reproduces_the_model(smallest):
    """The code that was cut makes the same bytes, and the project's dvc.lock names that code."""
    assert "staging     ChurnXGB version 1" in smallest.printed
    assert smallest.out("git", "status", "--short") == ""


def test_the_smallest_has_only_its_packages(smallest, workshop):
    """There is no optuna in its environment, and its lock is what `make lock` writes."""
    assert list(smallest.folder.glob(".venv/lib/*/site-packages/xgboost"))
    assert not list(smallest.folder.glob(".venv/lib/*/site-packages/optuna"))
    if shutil.which("uv"):
        make(smallest, workshop, "lock")
        assert smallest.out("git", "status", "--short") == ""


def test_the_smallest_passes_its_own_checks(smallest, workshop):
    """`make lint` and `make test`.

    Of its tests all are collected, and the quick ones run: all of them take half as long as those
    of this repository (docs/start-a-project.md says what they gave).
    """
    if (ROOT / ".venv-lint").exists():
        (smallest.folder / ".venv-lint").symlink_to(ROOT / ".venv-lint")
    make(smallest, workshop, "lint")
    assert "test_registered_model.py" in make(
        smallest, workshop, "test", PYTEST_ADDOPTS="--collect-only -q -n0"
    )
    quick = "-n0 -k 'unit or test_pages or test_lock_conda'"
    printed = make(smallest, workshop, "test", PYTEST_ADDOPTS=quick)
    assert " passed" in printed and " failed" not in printed
