"""The four moving parts of a model (code, data, parameters, randomness) as md5s and git state."""

import json

from churn.errors import UserError
from churn.tracking import dvc_lock, environment, git_state


def check_inputs_unchanged(tags: dict[str, str]) -> None:
    """End a stage whose inputs are no longer those it was tagged with when it started.

    DVC hashes a stage's dependencies after it ran: a file edited meanwhile would stand in dvc.lock
    as the input of an output that it never made.
    """
    stage = tags["stage"]
    then, now = json.loads(tags[f"{stage}.inputs"]), dvc_lock.stage_inputs(stage)
    if changed := [path for path in now if now[path] != then.get(path)]:
        raise UserError(f"{', '.join(changed)} changed while {stage} ran; run `dvc repro` again")


def stage_tags(stage: str) -> dict[str, str]:
    """What every run of a stage is tagged with: its inputs, code and environment."""
    return {
        "stage": stage,
        f"{stage}.inputs": json.dumps(dvc_lock.stage_inputs(stage)),
        **git_state.code_tags(),
        **environment.environment_tags(),
    }
