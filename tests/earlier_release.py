"""A project whose registered version was made by the release before the packages of src/churn."""

import subprocess
from pathlib import Path

import pytest

from conftest import ROOT, TINY, Project

# The last commit in which src/churn was one folder of modules.
EARLIER_RELEASE = "93eed6ca0e04f56ed536aa3da235ebecfb5a8958"


def skip_without_history() -> None:
    """Skip the calling test if this repository does not hold the commit of the earlier release."""
    command = ["git", "cat-file", "-e", f"{EARLIER_RELEASE}^{{commit}}"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True).returncode == 0
    if not found:
        pytest.skip(f"git has no commit {EARLIER_RELEASE[:7]}: a shallow clone, or another project")


def build_earlier_release(folder: Path) -> None:
    """Fill a folder with a clone of this project in which the earlier release registered version 1.

    The clone ends at today's code, over the store and the DVC cache of the earlier release.
    """
    project = Project.clone(folder, tiny=True)
    project.out("git", "fetch", "-q", str(ROOT), EARLIER_RELEASE)
    project.out("git", "branch", "earlier-release", EARLIER_RELEASE)

    # A commit of its own: the tests' quick parameters belong to what the version was made of.
    project.out("git", "checkout", "-q", "earlier-release")
    project.set(**TINY)
    project.commit("the earlier release with the tests' parameters")
    project.out("dvc", "repro")

    # Its dvc.lock stays behind, so that the tests read what the registry alone says.
    project.out("git", "checkout", "-q", "--force", "main")
