"""What dvc.lock says of a stage's inputs and outputs, compared with the files on disk."""

from pathlib import Path
from typing import Any, TypedDict

from churn import paths
from churn.errors import UserError
from churn.files import is_intact, md5, read_yaml, reading
from churn.params import flatten


class LockedStage(TypedDict):
    """One stage of dvc.lock."""

    deps: dict[str, str]  # {path: md5}
    outs: dict[str, str]  # {path: md5}
    params: dict[str, object]  # {dotted name: value}


def read_lock() -> dict[str, LockedStage]:
    """The stages of dvc.lock by name; empty if there is no dvc.lock.

    Raises:
        UserError: the file cannot be read.
    """
    if not Path("dvc.lock").exists():
        return {}
    with reading("dvc.lock"):
        return parse_lock(read_yaml("dvc.lock")["stages"])


def parse_lock(stages: dict[str, Any]) -> dict[str, LockedStage]:
    """The stages of a dvc.lock by name.

    Args:
        stages: the section `stages` of the file.
    """
    locked = {}
    for name, stage in stages.items():
        locked[name] = LockedStage(
            deps={item["path"]: item["md5"] for item in stage.get("deps", [])},
            outs={item["path"]: item["md5"] for item in stage.get("outs", [])},
            params=flatten(stage.get("params", {}).get("params.yaml", {})),
        )
    return locked


def stage_inputs(stage: str) -> dict[str, str]:
    """Hash every dependency of a stage now: what this run reads, whatever dvc.lock says later.

    Returns:
        {path: md5}, sorted by path.

    Raises:
        UserError: a dependency is missing.
    """
    with reading("dvc.yaml"):
        dependencies = sorted(read_yaml("dvc.yaml")["stages"][stage]["deps"])
    missing = [path for path in dependencies if not Path(path).exists()]
    if missing:
        raise UserError(
            f"{', '.join(missing)}: missing; `make repro` fetches the table and makes the rest"
        )
    return {path: md5(path) for path in dependencies}


def stage_parameters(stage: str, parameters: dict[str, object]) -> dict[str, object]:
    """The parameters that a stage reads, as dvc.yaml names them or their sections.

    Args:
        parameters: every parameter by its dotted name.
    """
    with reading("dvc.yaml"):
        sections = read_yaml("dvc.yaml")["stages"][stage]["params"]
    names = tuple(f"{section}." for section in sections)
    return {name: value for name, value in parameters.items() if f"{name}.".startswith(names)}


def data_tags(*splits: str) -> dict[str, str]:
    """md5 tags of the raw table, the contract and the splits, as dvc.lock chains them.

    Args:
        splits: the names of splits; all three, if none is given.

    Raises:
        UserError: the splits on disk are not those that `preprocess` wrote; their origin is then
            unknown.
    """
    names = splits or tuple(paths.SPLITS)
    preprocess = check_outputs("preprocess", *(paths.SPLITS[name] for name in names))
    tags = {
        "data_md5": preprocess["deps"][str(paths.RAW)],
        "schema_md5": preprocess["deps"][str(paths.SCHEMA)],
    }
    for name in names:
        tags[f"{name}_md5"] = preprocess["outs"][str(paths.SPLITS[name])]
    return tags


def check_outputs(stage: str, *outputs: Path) -> LockedStage:
    """Compare files that a stage wrote with dvc.lock, before anything is read from them.

    Returns:
        The stage as dvc.lock has it.

    Raises:
        UserError: a file is missing, damaged, or of another run.
    """
    locked = read_lock().get(stage, LockedStage(deps={}, outs={}, params={}))
    for path in outputs:
        if not is_intact(path, locked["outs"].get(str(path), "")):
            raise UserError(f"{path} is not what dvc.lock says `{stage}` wrote; run `dvc repro`")
    return locked
