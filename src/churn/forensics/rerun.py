"""Run the stages of one workspace after another in one process, which imports their libraries once.

Started by `worker.start_worker` with the Python of the workspace's own environment, which may be
that of an older commit: nothing of this project may be imported here. It reads requests from its
input, one line of JSON each: the `folder` of a workspace, and `replacements`, {path of an output:
the file with which later stages go on in its place}. It answers each with a line of JSON: the stage
that failed and why, or null. What the stages print goes to stderr.

DVC runs a stage's command in a process of its own: three imports of MLflow per run of the pipeline.
Here the very same scripts run as `__main__`, and dvc.lock gets, stage by stage, the md5s that the
next one reads.

To run a script of another workspace, Python must forget the modules of the one before: `execute`
removes the project's own modules from sys.modules. Libraries stay, so this works for one
environment only, which is why there is one process per lock.
"""

import hashlib
import json
import os
import random
import runpy
import shlex
import shutil
import sys
import traceback
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

PACKAGE = "churn"


def main() -> None:
    """Answer requests until the input ends."""
    # The answers get the original stdout; what the stages print goes to stderr.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        failure = run_stages(request["folder"], request["replacements"])
        answers.write(json.dumps(failure) + "\n")
        answers.flush()


def run_stages(folder: str, replacements: dict[str, str]) -> str | None:
    """Run every stage of a workspace; why one failed, or None."""
    os.chdir(folder)
    yaml = YAML(typ="safe")
    stages = yaml.load(Path("dvc.yaml"))["stages"]
    parameters = yaml.load(Path("params.yaml"))
    remove_outputs(stages)
    lock: dict[str, Any] = {"schema": "2.0", "stages": {}}
    for name in execution_order(stages):
        stage = stages[name]
        random.seed()  # a stage in a process of its own begins with no seed
        failure = execute(stage["cmd"])
        if failure:
            return f"{name}: {failure}"
        for path in paths_of(stage.get("outs")):
            if path in replacements:
                shutil.copyfile(replacements[path], path)
        lock["stages"][name] = lock_entry(stage, parameters)
        Path("dvc.lock").write_text(json.dumps(lock))  # JSON is YAML, and faster
    return None


def execution_order(stages: dict[str, Any]) -> list[str]:
    """The names of the stages, each after those whose outputs it reads."""
    makers = {}
    for name, stage in stages.items():
        for path in paths_of(stage.get("outs")):
            makers[path] = name
    needs = {}
    for name, stage in stages.items():
        needs[name] = {makers[path] for path in paths_of(stage.get("deps")) if path in makers}
    return list(TopologicalSorter(needs).static_order())


def paths_of(entries: list[Any] | None) -> list[str]:
    """The paths of a stage's deps or outs; one with settings is written as {path: settings}."""
    paths = []
    for entry in entries or []:
        if not isinstance(entry, str):
            (entry,) = entry
        paths.append(entry)
    return paths


def execute(command: str) -> str | None:
    """Run `python script.py ...` in this process; why it failed, or None."""
    arguments = shlex.split(command)[1:]
    sys.argv = arguments
    sys.path[0] = str(Path(arguments[0]).resolve().parent)
    for name in list(sys.modules):  # those of the workspace before
        if name.split(".")[0] == PACKAGE:
            del sys.modules[name]
    try:
        runpy.run_path(arguments[0], run_name="__main__")
    except SystemExit as end:
        return str(end.code) if end.code else None
    except Exception:
        return traceback.format_exc()
    return None


def remove_outputs(stages: dict[str, Any]) -> None:
    """Remove what the stages make."""
    for stage in stages.values():
        for path in paths_of(stage.get("outs")):
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                Path(path).unlink(missing_ok=True)


def lock_entry(stage: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """What dvc.lock says of a stage: the md5s of its files, and its parameters."""
    entry: dict[str, Any] = {}
    for kind in ("deps", "outs"):
        files = [path for path in paths_of(stage.get(kind)) if os.path.isfile(path)]
        entry[kind] = [{"path": path, "md5": md5(path)} for path in files]
    # A stage that reads all of a section names the section: its value is a mapping.
    values = {name: value_of(parameters, name) for name in stage.get("params", ())}
    entry["params"] = {"params.yaml": values}
    return entry


def value_of(tree: Any, name: str) -> Any:
    """A parameter or a section by its dotted name; None where there is none."""
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def md5(path: str) -> str:
    """The md5 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


if __name__ == "__main__":
    main()
