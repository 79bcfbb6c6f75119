"""Processes that outlive their command, and files for one person: deploy/processes.py."""

import stat
import subprocess

import psutil
import pytest
from processes import make_private, remember, running, write_exports


@pytest.fixture
def sleeping():
    """The process of a service."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def test_a_service_is_found_after_the_clock_was_set(sleeping, tmp_path, monkeypatch):
    """The system then tells another hour for the start of everything, that of the machine too."""
    remember(tmp_path, "bucket", sleeping.pid)
    booted, created = psutil.boot_time, psutil.Process.create_time
    monkeypatch.setattr(psutil, "boot_time", lambda: booted() + 3600)
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: created(process) + 3600)
    assert running(tmp_path, "bucket").pid == sleeping.pid


def test_any_value_comes_back_from_a_file_of_exports(tmp_path):
    """Whatever signs an experiment's name or a password has, the shell reads them as they are."""
    value = 'Ann\'s "churn" $HOME `id` \\ # \n end'
    path = tmp_path / "ann.env"
    write_exports(path, {"NAME": value})
    script = 'source "$0"; printf %s "$NAME"'
    result = subprocess.run(["bash", "-euc", script, path], capture_output=True, text=True)
    assert result.stdout == value
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_that_others_could_enter_becomes_private(tmp_path):
    """Also one that was there before."""
    folder = tmp_path / ".team"
    folder.mkdir(mode=0o755)
    make_private(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
