"""The packages, the Python and the machine of a run."""

import platform
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from churn.files import md5, reading

MODEL_PACKAGES = (
    "mlflow",
    "xgboost",
    "pandas",
    "numpy",
    "pyyaml",
)  # what the scoring model imports


def environment_tags() -> dict[str, str]:
    """lock_md5 of requirements.txt, whether the pinned packages are the installed ones, and the
    machine.
    """
    moved = []
    for pin in pinned_requirements():
        name, wanted = pin.split("==")
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            moved.append(f"{name} {found} (pinned {wanted})")
    with reading("requirements.txt"):
        lock_md5 = md5("requirements.txt")
    return {
        "lock_md5": lock_md5,
        "environment": "as pinned" if not moved else "differs: " + ", ".join(moved),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
    }


def processor() -> str:
    """The models of this machine's processor and NVIDIA GPUs, as Linux names them: "Intel Xeon E5,
    NVIDIA H100".
    """
    named = [(Path("/proc/cpuinfo"), "model name")]
    named += [
        (path, "Model") for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    ]
    found = []
    for path, key in named:
        lines = path.read_text().splitlines() if path.exists() else []
        found += [
            line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key
        ][:1]
    return ", ".join(found) or platform.processor() or platform.machine()


def read_project() -> dict:
    """The table [project] of pyproject.toml: the name of the project, its pins."""
    with reading("pyproject.toml"):
        return tomllib.loads(Path("pyproject.toml").read_text())["project"]


def pinned_requirements(*packages: str) -> list[str]:
    """The pins of pyproject.toml ("xgboost==3.2.0"), all of them or those of the named packages."""
    return [
        pin
        for pin in read_project()["dependencies"]
        if not packages or pin.split("==")[0] in packages
    ]
