"""Write all that a container image of a registered model is built from, into build/image.

    python src/image.py    (or make image, which also builds it; --alias staging)

The folder holds the Dockerfile with its values, the checked files of the model, and the locked
packages that it needs, with their hashes.
"""

import argparse
import re
import shutil
from pathlib import Path

from churn.console import run_command
from churn.errors import UserError
from churn.files import md5, read_yaml, reading
from churn.operations.image_requirements import locked_closure
from churn.params import load_params
from churn.tracking import logged_model, registered_versions, store
from churn.tracking.store_errors import explain_store_error

DOCKERFILE = Path("Dockerfile")
LOCK = Path("requirements.txt")
BUILD = Path("build/image")


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Write what a container image of a registered model is built from."
    )
    parser.add_argument(
        "--alias", default="production", help="which version (default: %(default)s)"
    )
    alias = parser.parse_args().alias
    store.connect()
    version = registered_versions.require_alias(load_params().registry.model, alias)
    description = f"{version.name} version {version.version}"
    if version.tags["lock_md5"] != md5(LOCK):
        raise UserError(
            f"{description} was made with another {LOCK} than the one here; `git checkout "
            f"{version.tags['git_commit'][:8]}` and `make install` bring its own"
        )

    with logged_model.verified_version_copy(version) as folder:
        pins = (folder / "requirements.txt").read_text().split()
        requirements = locked_closure(pins, LOCK.read_text())
        python = read_yaml(folder / "python_env.yaml")["python"]
        values = {
            "PYTHON": ".".join(python.split(".")[:2]),
            "VERSION": str(version.version),
            "MODEL_MD5": version.tags["model_md5"],
        }
        with reading(DOCKERFILE):
            dockerfile = with_values(DOCKERFILE.read_text(), values)

        shutil.rmtree(BUILD, ignore_errors=True)
        shutil.copytree(folder, BUILD / "model")
        (BUILD / "requirements.txt").write_text(requirements)
        (BUILD / "Dockerfile").write_text(dockerfile)
        make_readable(BUILD)
    count = requirements.count("==")
    print(f"{BUILD}: {description} ({alias}), Python {values['PYTHON']}, {count} packages")


def with_values(dockerfile: str, values: dict[str, str]) -> str:
    """A Dockerfile with values for its arguments (ARG).

    Raises:
        ValueError: it lacks one of them.
    """
    for name, value in values.items():
        argument = re.compile(rf"^ARG {name}\b.*$", re.M)
        dockerfile, count = argument.subn(f"ARG {name}={value}", dockerfile)
        if count != 1:
            raise ValueError(f"it has no `ARG {name}`")
    return dockerfile


def make_readable(folder: Path) -> None:
    """Let everybody read a folder: the server is not the user who builds the image."""
    for path in (folder, *folder.rglob("*")):
        mode = 0o755 if path.is_dir() else 0o644
        path.chmod(mode)


if __name__ == "__main__":
    run_command(main, explain_store_error)
