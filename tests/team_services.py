"""The real services of a team: PostgreSQL, an S3 server, MLflow's server with users."""

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import BIN, ROOT, Project, warm_environment

PACKAGES = ("psycopg2", "boto3", "dvc_s3", "s3fs")
POSTGRESQL = shutil.which("initdb") or list(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def missing_part() -> str:
    """What keeps the services from running here, and what brings it; "" if nothing does."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent or not (BIN / "rclone").exists():
        return "the packages of a team are not installed: `make install-team`"
    if not POSTGRESQL:
        return "PostgreSQL is not installed: `apt-get install postgresql`"
    return ""


class Services:
    """The services of one folder, by the commands that a person uses."""

    def __init__(self, folder: Path):
        self.folder = folder

    def command(self, action: str, *names: str) -> subprocess.CompletedProcess:
        """Run `deploy/services.py ACTION [NAME ...]`."""
        command = [sys.executable, ROOT / "deploy/services.py", action, *names]
        return subprocess.run(
            [*command, "--folder", self.folder], capture_output=True, text=True, cwd=ROOT
        )

    def up(self, *names: str) -> None:
        """Start the services that do not run."""
        result = self.command("up", *names)
        assert result.returncode == 0, result.stdout + result.stderr + self.logs()

    def down(self, *names: str) -> None:
        """End services; their data stays."""
        result = self.command("down", *names)
        assert result.returncode == 0, result.stdout + result.stderr

    def logs(self) -> str:
        """The last lines of every log."""
        texts = [path.read_text()[-3000:] for path in sorted(self.folder.glob("logs/*.log"))]
        return "\n".join(texts)

    @property
    def env(self) -> dict[str, str]:
        """What `source .team/credentials` sets: the server's address and its admin, the bucket."""
        return self.exports("credentials")

    def exports(self, name: str) -> dict[str, str]:
        """What `source .team/NAME` sets: credentials, or database, for those who run the server."""
        text = (self.folder / name).read_text()
        return dict(re.findall(r"^export (\w+)=(.*)$", text, re.M))

    def status(self) -> str:
        """What `deploy/services.py status` prints."""
        return self.command("status").stdout

    def process(self, name: str) -> int:
        """The id of the process of a service."""
        return int(re.search(rf"^{name} .* process (\d+)$", self.status(), re.M)[1])

    def clone(self, folder: Path) -> Project:
        """A tiny clone whose remote is the bucket; its commands get `env`, or another user's."""
        project = Project.clone(folder, tiny=True)
        project.uri = self.env["MLFLOW_TRACKING_URI"]
        project.out(
            "make", "team-remote", f"URL=s3://dvc/{folder.name}", VENV=str(warm_environment())
        )
        return project

    def remove(self) -> None:
        """End the services and delete their data."""
        import postgresql

        self.down()
        data = postgresql.data_folder(self.folder)
        shutil.rmtree(data, ignore_errors=True)
        data.with_suffix(".log").unlink(missing_ok=True)
