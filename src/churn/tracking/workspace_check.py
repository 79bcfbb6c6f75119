"""Whether the workspace is what dvc.lock describes."""

from pathlib import Path

from churn.errors import UserError
from churn.files import md5
from churn.tracking import dvc_lock


def check_workspace(parameters: dict[str, object]) -> None:
    """Refuse to report on files that dvc.lock does not describe: their origin is unknown.

    Raises:
        UserError: with everything that differs.
    """
    lock = dvc_lock.read_lock()
    if not lock:
        raise UserError("there is no dvc.lock; run `dvc repro` first")

    differences: dict[str, str] = {}  # several stages may read one file: it is listed once
    for stage in lock.values():
        differences |= changed_parameters(stage, parameters) | changed_files(stage)
    if differences:
        lines = "".join(f"\n  {name} {text}" for name, text in differences.items())
        raise UserError(f"the workspace is not what dvc.lock describes; run `dvc repro`:{lines}")


def changed_parameters(
    stage: dvc_lock.LockedStage, parameters: dict[str, object]
) -> dict[str, str]:
    """The parameters of a stage that no longer have the value of dvc.lock: {name: difference}."""
    changed = {}
    for name, value in stage["params"].items():
        if parameters.get(name) != value:
            changed[name] = f"was {value!r}, now {parameters.get(name)!r}"
    return changed


def changed_files(stage: dvc_lock.LockedStage) -> dict[str, str]:
    """The files of a stage that are not those of dvc.lock: {path: difference}."""
    changed = {}
    for path, digest in (stage["deps"] | stage["outs"]).items():
        if digest.endswith(".dir"):  # DVC's own md5 over a folder; `dvc status` checks it
            continue
        if not Path(path).exists():
            changed[path] = "is missing"
        elif md5(path) != digest:
            changed[path] = "is not the file that dvc.lock names"
    return changed
