"""`make sbom` and `make secrets`, as far as they work without a network; the dev container."""

import json
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

LINT = ROOT / ".venv-lint"
needs_linters = pytest.mark.skipif(
    not (LINT / "bin/cyclonedx-py").exists(), reason="`make lint` makes the linters"
)


@pytest.fixture
def folder(tmp_path):
    """A git repository with this one's targets and locks."""
    for name in ("Makefile", "ci.mk", "pyproject.toml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def make(folder, target: str) -> subprocess.CompletedProcess:
    """Run a target with the linters that are there (`-o`: they are not built)."""
    subprocess.run(["git", "add", "--all"], cwd=folder, check=True)
    command = ["make", "-o", "install-lint", target, f"LINT={LINT}"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@needs_linters
def test_the_sbom_lists_every_pin(folder):
    """Each package of the lock with its version and hashes, and no other."""
    result = make(folder, "sbom")
    assert result.returncode == 0, result.stderr
    sbom = json.loads((folder / "sbom.json").read_text())
    assert sbom["bomFormat"] == "CycloneDX"
    listed = {f"{part['name']}=={part['version']}" for part in sbom["components"]}
    lock = (ROOT / "requirements.txt").read_text()
    assert listed == set(re.findall(r"^[\w.-]+==[\w.]+", lock, re.M)) and len(listed) > 100
    for component in sbom["components"]:
        assert component["externalReferences"][0]["hashes"], component["name"]


@needs_linters
def test_a_committed_key_is_found(folder):
    """Nothing is said of this repository's targets and md5s, and an access key is named."""
    pointer = "outs:\n- md5: 2a15b2735d3b55fd536faa99218c4d80\n  path: raw.parquet\n"
    (folder / "raw.parquet.dvc").write_text(pointer)
    assert make(folder, "secrets").returncode == 0
    key = "AKIA" + "Z3MQ" * 4  # in two parts, since this file is searched too
    (folder / "notes.md").write_text(f"export AWS_ACCESS_KEY_ID={key}\n")
    result = make(folder, "secrets")
    assert result.returncode != 0 and "notes.md:1" in result.stdout and key not in result.stdout


def test_the_dev_container_is_json():
    """With the project's Python, and targets that exist."""
    content = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert content["image"].endswith(":3.11-bookworm")
    makefile = (ROOT / "Makefile").read_text()
    for target in content["postCreateCommand"].removeprefix("make ").split():
        assert f"\n{target}:" in makefile
