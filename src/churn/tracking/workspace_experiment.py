"""Run a DVC experiment in the workspace, and put params.yaml back if it fails."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from churn.errors import UserError
from churn.files import read_yaml
from churn.params import flatten

PARAMS = Path("params.yaml")


def run_experiment(
    settings: Mapping[str, str], *arguments: str, environment: dict[str, str] | None = None
) -> bool:
    """Run `dvc exp run` with changed parameters. DVC alone would leave them changed if it fails.

    Where somebody has edited params.yaml meanwhile, it stays as it is, and a line says so.

    Args:
        settings: the changed parameters as `-S` takes them, {dotted name: text}.
        arguments: more of `dvc exp run`.
        environment: the environment variables of DVC; None for those of this process.

    Returns:
        Whether it succeeded.
    """
    content = PARAMS.read_bytes()
    before = flatten(read_yaml(PARAMS))
    command = ["dvc", "exp", "run"]
    for name, text in settings.items():
        command += ["-S", f"{name}={text}"]
    if subprocess.run([*command, *arguments], env=environment).returncode == 0:
        return True
    if _differs_only_in(settings, before):
        PARAMS.write_bytes(content)
    else:
        names = ", ".join(settings)
        text = f"params.yaml was edited meanwhile and stays so; {names} are the experiment's"
        print(text, file=sys.stderr, flush=True)
    return False


def _differs_only_in(settings: Mapping[str, str], before: dict[str, object]) -> bool:
    """Whether params.yaml has no other change than the experiment's: nobody has edited it."""
    try:
        now = flatten(read_yaml(PARAMS))
    except UserError:  # somebody is writing it
        return False
    for name in settings:
        now[name] = before[name]
    return now == before
