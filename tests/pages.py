"""What a page shows and what its commands print."""

import re

from conftest import ROOT, Project, free_port

BLOCK = re.compile(
    r"^```shell\n(?P<command>.*?)^```\n"
    r"(?:(?:\n|<!-- only \w+ -->\n)+```text\n(?P<shown>.*?)^```\n)?",
    re.M | re.S,
)


def comparable(text: str) -> list[str]:
    """The lines of an output, without what differs from day to day: times, ages, commits, names
    that DVC draws, ports and processes of services, and the widths they take.
    """
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "<time>", text)
    text = re.sub(r" \d+ (min|h|d) +[0-9a-f]{8}\+?", " <age> <commit>", text)
    text = re.sub(r"\b[0-9a-f]{7} \[", "<commit> [", text)
    text = re.sub(r"─+", "─", text)
    text = re.sub(r"127\.0\.0\.1:\d+ +process \d+", "<address> <process>", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def missing(shown: str, printed: str) -> list[str]:
    """The lines that a page shows and that were not printed, in this order; `...` stands for any
    lines.
    """
    lines = iter(comparable(printed))
    return [line for line in comparable(shown) if line != "..." and line not in lines]


def follow(page: str, clone: Project) -> None:
    """Run every command of a page, and compare what it prints."""
    port = str(free_port())
    text = (ROOT / page).read_text()
    found = list(BLOCK.finditer(text))
    assert len(found) == text.count("```shell\n") > 0
    shown = [block for block in found if block["shown"]]
    assert len(shown) == text.count("```text\n"), "an output that is compared with nothing"
    for block in found:
        command = f"source .venv/bin/activate\n{block['command']}"
        command = command.replace("5001", port)
        result = clone.run("bash", "-euc", f"exec 2>&1\n{command}")
        assert result.returncode == 0, result.stdout
        assert missing(block["shown"] or "", result.stdout) == [], result.stdout
