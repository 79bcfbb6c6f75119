"""Projects that are generated from this one."""

import os
import subprocess
from pathlib import Path

from conftest import BIN, Project, warm_environment


class Workshop:
    """A clone of this repository as the template, a home with a git identity, and folders to
    generate into.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "template").mkdir()
        self.template = Project.clone(folder / "template", committed=True)
        home = folder / "home"
        home.mkdir()
        (home / ".gitconfig").write_text("[user]\n    name = Ann\n    email = ann@example.com\n")
        # The hook's `make install` takes this environment, which was made from the same lock.
        self.env = {
            **os.environ,
            "HOME": str(home),
            "VENV": str(warm_environment()),
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def generate(
        self, *options: str, cwd: Path | None = None, **answers: str
    ) -> subprocess.CompletedProcess:
        """Run `cookiecutter --no-input`; without `cwd`, in the workshop's folder."""
        template = os.path.relpath(self.folder / "template", cwd or self.folder)
        given = options or ("--no-input", *(f"{name}={value}" for name, value in answers.items()))
        command = ["cookiecutter", template, "--directory", "cookiecutter", *given]
        return subprocess.run(
            command, cwd=cwd or self.folder, env=self.env, capture_output=True, text=True
        )

    def project(self, name: str, *options: str, cwd: Path | None = None, **answers: str) -> Project:
        """A generated project, with this environment as its own."""
        result = self.generate(*options, cwd=cwd, **answers)
        assert result.returncode == 0, result.stdout + result.stderr
        project = Project.__new__(Project)
        project.folder = Path(cwd or self.folder, name)
        project.uri = f"sqlite:///{project.folder}/mlflow.db"
        project.use_environment()
        project.out("git", "config", "user.name", "Ann")
        project.out("git", "config", "user.email", "ann@example.com")
        return project
