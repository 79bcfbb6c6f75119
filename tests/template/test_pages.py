"""The pages name files that exist, link to pages that exist, and show the whole tree."""

import re
from pathlib import Path

import pytest

from conftest import ROOT

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
ARCHITECTURE = ROOT / "docs/architecture.md"
FILE = re.compile(r"`((?:src|tests|docs|data|benchmarks|cookiecutter)/[\w./-]*)`")
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(#[\w-]+)?\)")
WRITTEN_LATER = ("data/raw.parquet", "data/prepared")  # by the pipeline
GENERATED = ROOT / "cookiecutter/{{cookiecutter.slug}}"  # files of new projects only


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_links_exist(page):
    """Every file and every link of a page leads somewhere, also to the heading that it names."""
    text = page.read_text()
    for name in FILE.findall(text):
        exists = (ROOT / name).exists() or (GENERATED / name).exists()
        assert exists or name.startswith(WRITTEN_LATER), name
    for target, anchor in LINK.findall(text):
        linked = (page.parent / target).resolve() if target else page
        assert linked.exists(), target
        if anchor:
            assert anchor in headings(linked), f"{target}{anchor}"


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    anchors = set()
    for title in re.findall(r"^#+ (.*)$", page.read_text(), re.M):
        words = re.sub(r"[^\w\- ]", "", title.lower())
        anchors.add("#" + words.replace(" ", "-"))
    return anchors


def test_the_tree_is_the_repository():
    """docs/architecture.md names every command, every base module and every package, and no
    other.
    """
    tree = re.search(r"^```\n(src/\n.*?)^```", ARCHITECTURE.read_text(), re.M | re.S)[1]
    named = set(re.findall(r"\w+\.py", tree))
    commands = {path.name for path in (ROOT / "src").glob("*.py")}
    modules = {path.name for path in (ROOT / "src/churn").glob("*.py")} - {"__init__.py"}
    assert named == commands | modules
    packages = {path.parent.name for path in (ROOT / "src/churn").glob("*/__init__.py")}
    assert set(re.findall(r"^    (\w+)/ ", tree, re.M)) == packages


def test_the_core_can_be_read_in_an_afternoon():
    """The minutes of the reading order are those of 40 lines a minute, and those of the core are
    three hours at most.
    """
    text = ARCHITECTURE.read_text()
    rows = re.findall(r"^\| (.*`) \|.*\| (\d+) \|", text[text.index("## Reading order") :], re.M)
    core = 0
    for listed, minutes in rows:
        lines = 0
        for name in re.findall(r"`([^`]+)`", listed):
            path = ROOT / name
            for file in path.glob("*.py") if path.is_dir() else [path]:
                lines += len(file.read_text().splitlines())
        assert abs(lines / 40 - int(minutes)) < 5, listed
        if not listed.startswith(("later", "last")):
            core += int(minutes)
    assert 60 < core <= 180


def test_the_diagram_names_what_exists():
    """Each file and each stage of the Mermaid diagram exists, and each arrow joins known nodes."""
    diagram = re.search(r"^```mermaid\n(.*?)^```", ARCHITECTURE.read_text(), re.M | re.S)[1]
    first, *lines = diagram.splitlines()
    assert first == "flowchart LR"
    for name in re.findall(r"[\w/]+\.(?:py|yaml|ubj)", diagram):
        places = (ROOT / name, ROOT / "src" / name)
        assert name == "models/churn.ubj" or any(place.exists() for place in places), name
    defined = set(re.findall(r"(\w+)(?:\[|\{|\[\()", diagram))
    for line in lines:
        if line.strip().startswith("%%"):  # a comment
            continue
        nodes = re.sub(r"\[.*?\]|\{.*?\}|-- .*? -->|-->|-\. .*? \.->|-\.->|&", " ", line).split()
        assert nodes and set(nodes) <= defined, line
