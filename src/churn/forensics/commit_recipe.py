"""The recipe of a model that a commit, or a DVC experiment, holds in its dvc.lock."""

import json

from churn import paths
from churn.errors import UserError
from churn.files import numbers_only, parse_yaml, reading, text_md5
from churn.forensics.recipe import Recipe, code_and_contract
from churn.params import parameters_digest
from churn.tracking import dvc_lock, git_state

PROJECT_FILE = "MLproject"  # a file in the project's root that is nowhere else in it
INTACT_COMMIT = "choose a commit with an intact one"


def recipe_of_commit(name: str, commit: str, label: str) -> Recipe:
    """The recipe of the model that dvc.lock of a commit names (a DVC experiment is a commit too).

    Raises:
        UserError: the commit has no dvc.lock, or one without the whole pipeline.
    """
    at = f"{commit}:{project_folder_in(commit)}"
    lock = git_state.git("show", f"{at}dvc.lock", check=False)
    with reading(f"dvc.lock of {label}", INTACT_COMMIT):
        stages = dvc_lock.parse_lock(parse_yaml(lock)["stages"]) if lock else {}
    deps: dict[str, str] = {}
    outs: dict[str, str] = {}
    parameters: dict[str, object] = {}
    for stage in stages.values():
        deps |= stage["deps"]
        outs |= stage["outs"]
        parameters |= stage["params"]

    wanted = [str(path) for path in (*paths.SPLITS.values(), paths.MODEL)]
    text = git_state.git("show", f"{at}{paths.METRICS}", check=False)
    if not text or not set(wanted) <= outs.keys():
        raise UserError(
            f"{label}: dvc.lock of this commit names no model; `dvc repro` and a commit would have"
        )
    with reading(f"{paths.METRICS} of {label}", INTACT_COMMIT):
        metrics = numbers_only(json.loads(text))
    requirements = git_state.git("show", f"{at}requirements.txt", check=False)
    return Recipe(
        name=name,
        label=label,
        commit=commit,
        patch="",
        data_md5=deps[str(paths.RAW)],
        schema_md5=deps[str(paths.SCHEMA)],
        params=parameters,
        params_md5=parameters_digest(parameters),
        lock_md5=text_md5(requirements),
        outs={path: outs[path] for path in wanted},
        metrics=metrics,
        deps=code_and_contract(deps),
    )


def project_folder_in(commit: str) -> str:
    """Where the project is in the tree of a commit.

    It may have moved since, as when a repository of its own became a folder of a bigger one.

    Returns:
        "" for the repository's root, else a folder with a slash at its end.
    """
    today = git_state.git("rev-parse", "--show-prefix").removesuffix("\n")
    here = f"{commit}:{today}{PROJECT_FILE}"
    if git_state.git("rev-parse", "--verify", "--quiet", here, check=False):
        return today
    listing = git_state.git("ls-tree", "-r", "-z", "--name-only", "--full-tree", commit)
    folders = []
    for path in listing.split("\0"):
        if f"/{path}".endswith(f"/{PROJECT_FILE}"):
            folders.append(path.removesuffix(PROJECT_FILE))
    return folders[0] if len(folders) == 1 else today
