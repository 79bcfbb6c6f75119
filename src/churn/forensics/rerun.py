"""Run the stages of one workspace after another in one process, which imports their libraries once.

Started by `workspace.worker` with the Python of the workspace's own environment: nothing of this
project may be imported here. Reads requests from its input, a line of JSON each: the `folder` of a
workspace, and `instead`, {path of an output: the file to go on with in its place}. Answers each
with a line of JSON: the stage that failed and why, or null. What the stages print goes to stderr.

DVC runs a stage's command in a process of its own, three imports of MLflow for every run of the
pipeline. Here the very same scripts run as `__main__`, and dvc.lock gets, stage by stage, the md5s
that the next one reads.
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

from ruamel.yaml import YAML


def md5(path: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def names(entries: list) -> list[str]:
    """The paths of a stage's deps or outs; an output with settings is written as {path: settings}."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries or []]


def ordered(stages: dict) -> list[str]:
    """The stages' names, each after those whose outputs it reads."""
    makers = {out: name for name, stage in stages.items() for out in names(stage.get("outs"))}
    needs = {
        name: {makers[d] for d in names(stage.get("deps")) if d in makers}
        for name, stage in stages.items()
    }
    return list(TopologicalSorter(needs).static_order())


def value(tree: dict, name: str):
    """A parameter by its dotted name; None where there is none."""
    for part in name.split("."):
        tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def execute(command: str) -> str | None:
    """Run `python script.py ...` in this process, its project's modules imported anew; why it
    failed, or None.
    """
    sys.argv = shlex.split(command)[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    for name in [name for name in sys.modules if name.split(".")[0] == "churn"]:
        del sys.modules[name]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        return str(end.code) if end.code else None
    except Exception:
        return traceback.format_exc()
    return None


def pipeline(folder: str, instead: dict[str, str]) -> str | None:
    """Run every stage of a workspace; why one failed, or None."""
    os.chdir(folder)
    yaml, lock = YAML(typ="safe"), {"schema": "2.0", "stages": {}}
    stages, params = yaml.load(Path("dvc.yaml"))["stages"], yaml.load(Path("params.yaml"))
    for path in [out for stage in stages.values() for out in names(stage.get("outs"))]:
        shutil.rmtree(path) if os.path.isdir(path) else Path(path).unlink(missing_ok=True)
    for name in ordered(stages):
        random.seed()  # a stage in a process of its own begins with no seed
        if failure := execute(stages[name]["cmd"]):
            return f"{name}: {failure}"
        for path in set(names(stages[name].get("outs"))) & set(instead):
            shutil.copyfile(instead[path], path)
        lock["stages"][name] = {
            kind: [
                {"path": path, "md5": md5(path)}
                for path in names(stages[name].get(kind))
                if os.path.isfile(path)
            ]
            for kind in ("deps", "outs")
        } | {
            "params": {
                "params.yaml": {
                    leaf: value(params, leaf) for leaf in stages[name].get("params", ())
                }
            }
        }
        Path("dvc.lock").write_text(
            json.dumps(lock)
        )  # JSON is YAML, and quicker to write and to read
    return None


if __name__ == "__main__":
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Pictures are half of the time of a run and no part of its figures: the stage that starts
    # `python src/draw.py` in a process of its own starts a program that does nothing.
    sys.executable = shutil.which("true") or sys.executable
    for line in sys.stdin:
        answers.write(json.dumps(pipeline(**json.loads(line))) + "\n")
        answers.flush()
