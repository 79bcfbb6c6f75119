"""A process that runs the stages of many workspaces, one after another."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from churn.errors import UserError
from churn.forensics.workspace import Outcome, clean_environ, read_outcome, temporary
from churn.tracking import pictures

LAST_CHARACTERS = 3000  # of what a process that died printed


@contextlib.contextmanager
def start_worker(environment: Path) -> Iterator[Callable[..., Outcome]]:
    """One process that runs the stages of any number of workspaces, one after another (rerun.py).

    It imports MLflow once, where `run_pipeline` does three times per run. The code that it runs is
    the workspace's own. Its MLflow store is its own, and is thrown away.

    Args:
        environment: the bin folder of its Python environment.

    Yields:
        A function that takes the folder of a workspace and, if wanted, `replacements`: {path of an
        output: the file that later stages read in its place}. It returns the outcome, and raises a
        UserError if a stage failed.
    """
    with temporary() as folder, open(folder / "log", "w+") as log:
        env = clean_environ(folder, environment)
        env["DVC_ROOT"] = str(folder)  # where the stages keep their artifacts
        env[pictures.SKIP] = "1"
        process = subprocess.Popen(
            [str(environment / "python"), str(Path(__file__).with_name("rerun.py"))],
            cwd=folder,
            env=env,
            text=True,
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )

        def run_stages(workspace: Path, replacements: dict[str, Path] | None = None) -> Outcome:
            files = {path: str(file) for path, file in (replacements or {}).items()}
            request = {"folder": str(workspace), "replacements": files}
            assert process.stdin and process.stdout
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:  # the process died
                raise UserError(Path(log.name).read_text()[-LAST_CHARACTERS:])
            failure = json.loads(answer)
            if failure:
                raise UserError(failure)
            return read_outcome(workspace)

        try:
            yield run_stages
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
