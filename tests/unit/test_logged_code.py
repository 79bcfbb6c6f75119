"""The code that is logged with a model."""

import ast

from churn.tracking.logged_model import LOGGED_CODE, SCORING_CODE
from conftest import ROOT

PACKAGE = ROOT / "src/churn"


def logged_files():
    for name in LOGGED_CODE:
        path = PACKAGE / name
        yield from path.rglob("*.py") if path.is_dir() else [path]


def imported_modules(path) -> set[str]:
    """The modules of `churn` that a file imports, wherever in the file: "data.contract"."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        modules |= {name.removeprefix("churn.") for name in names if name.startswith("churn.")}
    return modules


def test_it_is_whole():
    """What is logged imports nothing of `churn` that is not logged."""
    allowed = {name.removesuffix(".py") for name in LOGGED_CODE}
    for path in logged_files():
        for module in imported_modules(path):
            assert module.split(".")[0] in allowed, f"{path} imports churn.{module}"


def test_the_code_that_scores_is_part_of_it():
    files = {path.relative_to(PACKAGE).as_posix() for path in logged_files()}
    assert set(SCORING_CODE) <= files
