"""What a stage is made of: its inputs, code and environment, as tags of its run."""

import json

from churn.errors import UserError
from churn.params import load_params
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


def check_inputs_unchanged(tags: dict[str, str], parameters: dict[str, object]) -> None:
    """End a stage whose files or parameters are no longer those with which it started.

    DVC reads both for dvc.lock after the stage ran: what was edited meanwhile would be recorded as
    the input of an output that was not made from it.

    Args:
        tags: stage_tags of the start.
        parameters: every parameter by its dotted name, as the stage read them.

    Raises:
        UserError: something was edited.
    """
    stage = tags["stage"]
    at_start = json.loads(tags[f"{stage}.inputs"])
    now = dvc_lock.stage_inputs(stage)
    changed = [path for path in now if now[path] != at_start.get(path)]

    changed += [f"{name} in params.yaml" for name in edited_parameters(stage, parameters)]
    if changed:
        raise UserError(f"{', '.join(changed)} changed while {stage} ran; run `dvc repro` again")


def edited_parameters(stage: str, parameters: dict[str, object]) -> list[str]:
    """The parameters of a stage that are no longer in params.yaml as they were read.

    Args:
        parameters: every parameter by its dotted name, as they were read.
    """
    now = load_params().flat()
    read = dvc_lock.stage_parameters(stage, parameters)
    return [name for name, value in read.items() if now.get(name) != value]
