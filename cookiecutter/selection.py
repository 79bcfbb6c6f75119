"""Which files of the template, and which passages of them, belong into a project."""

import re
from pathlib import Path

from answers import REPO

TEMPLATE_ONLY = (
    "CHANGELOG.md",
    "cookiecutter/",
    ".ci/",
    "docs/start-a-project.md",
    "tests/earlier_release.py",
    "tests/forensics/test_rebuild_earlier_release.py",
    "tests/operations/test_earlier_release.py",
    "tests/template/test_cookiecutter.py",
    "tests/template/test_parts.py",
    "tests/workshop.py",
)
SAMPLE_ONLY = (
    "data/sample/",
    "data/raw.parquet.dvc",
    "dvc.lock",
    "reports/metrics.json",
    "tests/forensics/planted.py",
)
GITHUB = (".github/", "tests/template/test_workflows.py")
# The parts that a project can leave out, by the question that asks for each: the beginnings of the
# names of its files.
PARTS = {
    "operations": (
        ".github/workflows/promote.yml",
        "Dockerfile",
        "docs/flow.png",  # it ends with serving and scoring
        "docs/operations.md",
        "docs/serving.md",
        "src/churn/data/csv_",
        "src/churn/data/customer_table.py",
        "src/churn/data/output.py",
        "src/churn/data/rejection.py",
        "src/churn/data/urls.py",
        "src/churn/operations/",
        "src/image.py",
        "src/monitor.py",
        "src/promote.py",
        "src/score.py",
        "src/serve.py",
        "tests/operations/",
        "tests/team/test_migrate.py",
        "tests/team/test_operations_of_a_team.py",
        "tests/team/test_roles.py",
        "tests/unit/operations/",
    ),
    "experiments": (
        "src/churn/experiments/",
        "src/sweep.py",
        "tests/experiments/",
        "tests/unit/experiments/",
    ),
    "forensics": (
        "docs/tuesday-friday.md",
        "src/churn/forensics/",
        "src/reproduce.py",
        "src/why.py",
        "tests/forensics/",
        "tests/unit/forensics/",
    ),
}
# Files that stay as long as one of two parts does.
SHARED = {
    "src/churn/data/drift.py": ("operations", "forensics"),
    "tests/unit/test_drift.py": ("operations", "forensics"),
    "src/churn/signals.py": ("experiments", "forensics"),
    "src/churn/tracking/registered_versions.py": ("operations", "forensics"),
    "tests/unit/test_signals.py": ("experiments", "forensics"),
}
# A passage that only some projects get is between `# only sample` and `# end`, or between
# `<!-- only sample -->` and `<!-- end -->` or `%% only sample` and `%% end`, as lines of their own;
# that of Markdown also within a line. Several kinds are joined by `and` or by `or`. A passage may
# be within another one: the inner ones are chosen first.
KINDS = r"\w+(?: (?:and|or) \w+)*"
INNERMOST = r"(?:(?!(?:#|%%|<!--) only \w).)*?"
OWN_LINES = (
    rf"^[ ]*(?:(?:#|%%) only (?P<kind>{KINDS})|<!-- only (?P<html>{KINDS}) -->)\n"
    rf"(?P<lines>{INNERMOST})^[ ]*(?:(?:#|%%) end|<!-- end -->)\n"
)
WITHIN_A_LINE = rf"<!-- only (?P<inline>{KINDS}) -->(?P<text>{INNERMOST})<!-- end -->"
PASSAGES = re.compile(f"{OWN_LINES}|{WITHIN_A_LINE}", re.S | re.M)


def chosen_kinds(answers: dict) -> set[str]:
    """The kinds of passages that a project with these answers gets."""
    kinds = {part for part in PARTS if answers[part] == "yes"}
    if answers["data"] == "sample":
        kinds.add("sample")
    if answers["benchmarks"] == "yes":
        kinds.add("benchmarks")
    if answers["ci"] == "GitHub":
        kinds.add("github")
    return kinds


def is_left_out(name: str, answers: dict) -> bool:
    """Whether a file of the template does not belong into this project."""
    kinds = chosen_kinds(answers)
    if name.startswith(TEMPLATE_ONLY):
        return True
    for part, files in PARTS.items():
        if part not in kinds and name.startswith(files):
            return True
    if name in SHARED and not kinds.intersection(SHARED[name]):
        return True
    if name.startswith("benchmarks/") and "benchmarks" not in kinds:
        return True
    if name.startswith(GITHUB) and answers["ci"] != "GitHub":
        return True
    if "sample" in kinds:
        return False
    return name.startswith(SAMPLE_ONLY) or proves_the_sample(name)


def proves_the_sample(name: str) -> bool:
    """Whether a file is a module of tests that is marked `sample` as a whole."""
    mark = "\npytestmark = pytest.mark.sample\n"
    return name.startswith("tests/") and mark in (REPO / name).read_text()


def select_passages(name: str, text: str, kinds: set[str]) -> str:
    """A text without the passages of other kinds, and without the marks of the kept ones."""

    def kept(match: re.Match) -> str:
        condition = match["kind"] or match["html"] or match["inline"]
        passage = match["lines"] or match["text"] or ""
        return passage if holds(condition, kinds) else ""

    count = 1
    while count:
        text, count = PASSAGES.subn(kept, text)
    if Path(name).suffix == ".py":  # as ruff formats it: never more than two blank lines
        text = re.sub(r"\n{4,}", "\n\n\n", text).rstrip("\n") + "\n"
    return text


def holds(condition: str, kinds: set[str]) -> bool:
    """Whether a passage is of one of these kinds: "a", "a and b" or "a or b"."""
    if " or " in condition:
        return any(kind in kinds for kind in condition.split(" or "))
    return all(kind in kinds for kind in condition.split(" and "))
