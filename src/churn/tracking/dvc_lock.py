"""What dvc.lock says of a stage's inputs and outputs, compared with the files on disk."""

from pathlib import Path

from churn import paths
from churn.errors import UserError
from churn.files import is_intact, md5, read_yaml, reading
from churn.params import flatten


def read_lock() -> dict[str, dict[str, dict[str, str]]]:
    """dvc.lock as {stage: {"deps": {path: md5}, "outs": {path: md5}, "params": {name: value}}}."""
    with reading("dvc.lock"):
        stages = read_yaml("dvc.lock")["stages"] if Path("dvc.lock").exists() else {}
        return parse_lock(stages)


def parse_lock(stages: dict) -> dict[str, dict[str, dict[str, str]]]:
    """The stages of a dvc.lock, as `lock` gives them."""
    return {
        name: {
            "deps": {d["path"]: d["md5"] for d in stage.get("deps", [])},
            "outs": {o["path"]: o["md5"] for o in stage.get("outs", [])},
            "params": flatten(stage.get("params", {}).get("params.yaml", {})),
        }
        for name, stage in stages.items()
    }


def stage_inputs(stage: str) -> dict[str, str]:
    """The md5 of every dependency of a stage, hashed now: what this run reads, whatever dvc.lock
    says later.

    Raises:
        UserError: a dependency is missing.
    """
    with reading("dvc.yaml"):
        dependencies = sorted(read_yaml("dvc.yaml")["stages"][stage]["deps"])
    if missing := [path for path in dependencies if not Path(path).exists()]:
        raise UserError(
            f"{', '.join(missing)}: missing; `make repro` fetches the table and makes the rest"
        )
    return {path: md5(path) for path in dependencies}


def data_tags(*splits: str) -> dict[str, str]:
    """md5 tags of the raw table, the contract and the splits (all three, or those named), as
    dvc.lock chains them.

    Raises:
        UserError: the splits on disk are not those that `preprocess` wrote; their origin is then
            unknown.
    """
    names = splits or tuple(paths.SPLITS)
    preprocess = check_outputs("preprocess", *(paths.SPLITS[name] for name in names))
    tags = {f"{name}_md5": preprocess["outs"][str(paths.SPLITS[name])] for name in names}
    return {
        "data_md5": preprocess["deps"][str(paths.RAW)],
        "schema_md5": preprocess["deps"][str(paths.SCHEMA)],
        **tags,
    }


def check_outputs(stage: str, *outputs: Path) -> dict[str, dict[str, str]]:
    """Compare files that a stage wrote with dvc.lock, before anything is read from them.

    Returns:
        The stage as `lock` gives it.

    Raises:
        UserError: one is missing, damaged, or of another run.
    """
    written = read_lock().get(stage, {"deps": {}, "outs": {}})
    for path in outputs:
        if not is_intact(path, written["outs"].get(str(path), "")):
            raise UserError(f"{path} is not what dvc.lock says `{stage}` wrote; run `dvc repro`")
    return written
