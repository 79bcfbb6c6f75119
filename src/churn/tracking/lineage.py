"""What a stage is made of: its inputs, code and environment, as tags of its run."""

import json

from churn.errors import UserError
from churn.tracking import dvc_lock, environment, git_state


def stage_tags(stage: str) -> dict[str, str]:
    """The tags that every run of a stage has.

    Returns:
        `stage`; `<stage>.inputs`, JSON of {path: md5} of all that the stage reads; and the tags of
        git_state.code_tags and environment.environment_tags.
    """
    inputs = dvc_lock.stage_inputs(stage)
    return {
        "stage": stage,
        f"{stage}.inputs": json.dumps(inputs),
        **git_state.code_tags(),
        **environment.environment_tags(),
    }


def check_inputs_unchanged(tags: dict[str, str]) -> None:
    """End a stage whose inputs are no longer those with which it started.

    DVC hashes a stage's dependencies after it ran: a file edited meanwhile would be recorded in
    dvc.lock as the input of an output that was not made from it.

    Args:
        tags: stage_tags of the start.

    Raises:
        UserError: an input was edited.
    """
    stage = tags["stage"]
    at_start = json.loads(tags[f"{stage}.inputs"])
    now = dvc_lock.stage_inputs(stage)
    changed = [path for path in now if now[path] != at_start.get(path)]
    if changed:
        raise UserError(f"{', '.join(changed)} changed while {stage} ran; run `dvc repro` again")
