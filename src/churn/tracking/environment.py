"""The packages, the Python and the machine of a run."""

import platform
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from churn.files import md5, reading

# What the scoring model imports.
MODEL_PACKAGES = ("mlflow", "xgboost", "pandas", "numpy", "pyyaml")


def environment_tags() -> dict[str, str]:
    """The tags of the environment.

    Returns:
        lock_md5 (of requirements.txt), environment ("as pinned", or the packages that differ from
        their pins), python, platform and processor.
    """
    with reading("requirements.txt"):
        lock_md5 = md5("requirements.txt")
    differing = differing_packages()
    environment = f"differs: {', '.join(differing)}" if differing else "as pinned"
    return {
        "lock_md5": lock_md5,
        "environment": environment,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
    }


def differing_packages() -> list[str]:
    """The packages whose installed version is not the pinned one: "xgboost 3.1 (pinned 3.2)"."""
    differing = []
    for pin in pinned_requirements():
        name, pinned = pin.split("==")
        try:
            installed = version(name)
        except PackageNotFoundError:
            installed = "not installed"
        if installed != pinned:
            differing.append(f"{name} {installed} (pinned {pinned})")
    return differing


def processor() -> str:
    """The models of this machine's processor and NVIDIA GPUs, as Linux names them: "Intel Xeon E5,
    NVIDIA H100".
    """
    gpus = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    models = [_value_in(Path("/proc/cpuinfo"), "model name")]
    models += [_value_in(path, "Model") for path in gpus]
    known = ", ".join(model for model in models if model)
    return known or platform.processor() or platform.machine()


def _value_in(path: Path, key: str) -> str:
    """The value of the first line "KEY : VALUE" of a file of the kernel, or ""."""
    if not path.exists():
        return ""
    for line in path.read_text().splitlines():
        name, separator, value = line.partition(":")
        if separator and name.strip() == key:
            return value.strip()
    return ""


def read_project() -> dict[str, Any]:
    """The table [project] of pyproject.toml: the name of the project, its pins."""
    with reading("pyproject.toml"):
        content = tomllib.loads(Path("pyproject.toml").read_text())
        project: dict[str, Any] = content["project"]
        return project


def pinned_requirements(*packages: str) -> list[str]:
    """The pins of pyproject.toml ("xgboost==3.2.0"): all of them, or those of these packages."""
    pins: list[str] = read_project()["dependencies"]
    if not packages:
        return pins
    return [pin for pin in pins if pin.split("==")[0] in packages]
