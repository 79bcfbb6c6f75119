"""The pages of docs/ that tell a story: every command runs, in order, and prints what the page shows below it."""

import re
import sys

import pytest
from conftest import ROOT, Project, free_port

pytestmark = pytest.mark.sample

BLOCK = re.compile(r"^```shell\n(?P<command>.*?)^```\n(?:\n```text\n(?P<shown>.*?)^```\n)?", re.M | re.S)


def comparable(text: str) -> list[str]:
    """The lines of an output, without what differs from day to day: times, ages, commits and the widths they take."""
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "<time>", text)
    text = re.sub(r" \d+ (min|h|d) +[0-9a-f]{8}\+?", " <age> <commit>", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def missing(shown: str, printed: str) -> list[str]:
    """The lines that a page shows and that were not printed, in this order; `...` stands for any lines."""
    lines = iter(comparable(printed))
    return [line for line in comparable(shown) if line != "..." and line not in lines]


@pytest.fixture
def clone(pipeline, tmp_path) -> Project:
    """A clone after `make repro`."""
    project = pipeline.copy(tmp_path)
    (project.folder / ".venv").symlink_to(sys.prefix)
    return project


def follow(page: str, clone: Project, blocks: int) -> None:
    """Run every command of a page, of which there are so many, and compare what it prints."""
    port = str(free_port())
    found = list(BLOCK.finditer((ROOT / page).read_text()))
    assert len(found) == blocks
    for block in found:
        command = f"source .venv/bin/activate\n{block['command']}".replace("5001", port)
        result = clone.run("bash", "-euc", f"exec 2>&1\n{command}")
        assert result.returncode == 0, result.stdout
        assert missing(block["shown"] or "", result.stdout) == [], result.stdout


def test_operations(clone):
    """docs/operations.md: promote, serve, score, shift the data, monitor, train again, promote, roll back."""
    follow("docs/operations.md", clone, 7)
    assert (clone.alias("production"), clone.alias("staging")) == ("1", None)
    assert {str(v.version): v.tags["stage"] for v in clone.versions()} == {"1": "Production", "2": "Archived"}
    assert "batches" not in clone.out("git", "status", "--short"), "customers do not enter git"


def test_tuesday_and_friday(clone):
    """docs/tuesday-friday.md: two models 0.10 apart, the cause found, the old one rebuilt; git is clean."""
    follow("docs/tuesday-friday.md", clone, 4)
    assert clone.out("git", "status", "--short") == ""
    assert clone.alias("staging") == "1" and clone.versions()[0].tags["reproduced"] == "identical"
