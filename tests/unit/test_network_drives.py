"""A SQLite store on a network file system is refused, with the way out."""

from pathlib import Path

import pytest

from churn.errors import UserError
from churn.tracking import store_checks

MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
server:/home /home nfs4 rw,vers=4.2 0 0
tmpfs /home/ada/scratch tmpfs rw 0 0
//office/share /mnt/our\\040share cifs rw 0 0
/dev/sdb1 /mnt/again ext4 rw 0 0
ada@host:/ /mnt/again fuse.sshfs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/", "ext4"),
        ("/homestead/churn", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/churn", "nfs4"),
        ("/home/ada/scratch/churn", "tmpfs"),
        ("/mnt/our share/churn", "cifs"),
        ("/mnt/again/churn", "fuse.sshfs"),
    ],
)
def test_the_nearest_and_latest_mount_counts(folder, kind):
    assert store_checks.file_system(Path(folder), MOUNTS) == kind


def test_a_network_drive_is_refused(tmp_path, monkeypatch):
    """Where everything is one; and this machine's temporary folder, which is none, is accepted."""
    store_checks.check_local_disk(tmp_path / "mlflow.db")
    monkeypatch.setattr(store_checks, "MOUNTS", tmp_path / "mounts")
    (tmp_path / "mounts").write_text("server:/ / nfs4 rw 0 0\n")
    with pytest.raises(UserError, match=r"network file system \(nfs4\).*MLFLOW_TRACKING_URI=sqlit"):
        store_checks.check_local_disk(tmp_path / "mlflow.db")
    (tmp_path / "mounts").unlink()  # not Linux
    store_checks.check_local_disk(tmp_path / "mlflow.db")
