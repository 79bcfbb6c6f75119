"""Run the pipeline up to a stage, as `mlflow run` asks.

    mlflow run . -P max_depth=6    (which calls python src/launch.py evaluate)

The entry points main, preprocess, train and evaluate call this. With the parameters of params.yaml
it is `dvc repro`, with others a DVC experiment. The launching run becomes the parent of every
stage's run. It gets parameters, metrics and dvc.lock, also when every stage came from DVC's cache;
when a stage fails, it is FAILED and says why.
"""

import difflib
import os
import shutil
import subprocess
import sys

from ruamel.yaml.error import YAMLError

from churn import paths
from churn.console import run_command
from churn.errors import UserError
from churn.files import is_intact, parse_yaml, read_yaml, reading
from churn.params import load_params, validate_params
from churn.tracking import dvc_cache, git_state, held_runs, launching_run, leftovers, store
from churn.tracking.store_errors import explain_store_error
from churn.tracking.workspace_experiment import run_experiment


def main() -> None:
    stage = sys.argv[1]
    if stage == "table":  # `make repro`
        fetch_table()
        return
    run_id = launching_run.launching_run_id()
    if run_id is None:
        raise UserError(
            f"this is for `mlflow run . -e {stage}`; without a launcher, `dvc repro {stage}` does "
            "the same"
        )

    launcher_has_ended = leftovers.watch_starter()
    store.connect()
    import mlflow

    try:
        with held_runs.hold_runs(lambda: [run_id]):
            launch(stage, run_id)
    except UserError as error:
        mlflow.MlflowClient().set_tag(run_id, "error", str(error))
        raise
    finally:
        # Where `mlflow run` was killed, nobody else closes its run. (A child of process 1 cannot
        # tell; if the launcher lives, it sets the status again.)
        if launcher_has_ended() or os.getppid() == 1:
            mlflow.MlflowClient().set_terminated(run_id, "KILLED")


def launch(stage: str, run_id: str) -> None:
    """Run the pipeline with the launching run's parameters, and log the outcome into that run."""
    import mlflow

    launching_run.name_launching_run()
    given = mlflow.get_run(run_id).data.params
    try:
        changes = changed_parameters(given, load_params().flat())
        check_values(changes)
    except UserError:
        launching_run.mark_refused(run_id)
        raise

    run_pipeline(stage, changes, run_id)
    if changes:
        mlflow.MlflowClient().set_tag(run_id, "dvc_experiment", git_state.latest_experiment())
    if stage == "evaluate":
        subprocess.run([sys.executable, "src/report.py"], check=True)
    else:
        executed = ", ".join(launching_run.executed_stages(run_id)) or "nothing"
        parameters = load_params().flat()
        launching_run.log_pipeline_run(run_id, parameters, {}, {"executed": executed})


def changed_parameters(given: dict[str, str], parameters: dict[str, object]) -> dict[str, str]:
    """The parameters that were given and differ from params.yaml, by dotted name.

    Args:
        given: what MLflow logged into the launching run: text, by the last part of the name.
        parameters: every parameter of params.yaml by its dotted name.

    Raises:
        UserError: a name that no parameter ends with; the message suggests the nearest one.
    """
    dotted_names = {name.split(".")[-1]: name for name in parameters}
    changes = {}
    for last_part, text in given.items():
        if last_part not in dotted_names:
            nearest = difflib.get_close_matches(last_part, dotted_names, n=1, cutoff=0)[0]
            raise UserError(f"-P {last_part}: there is no such parameter; did you mean {nearest}?")
        name = dotted_names[last_part]
        if not is_same_value(text, parameters[name]):
            changes[name] = text
    return changes


def is_same_value(text: str, value: object) -> bool:
    """Whether the text of a -P means a value of params.yaml."""
    if text == str(value):
        return True
    return not isinstance(value, str) and parse_value(text) == value


def parse_value(text: str) -> object:
    """The value of a -P as params.yaml would hold it; what is no YAML is a text."""
    try:
        value: object = parse_yaml(text)
    except YAMLError:
        return text
    return value


def check_values(changes: dict[str, str]) -> None:
    """Refuse values that params.yaml cannot have, before anything runs.

    Raises:
        UserError: every wrong value.
    """
    tree = read_yaml("params.yaml")
    for name, text in changes.items():
        *sections, leaf = name.split(".")
        node = tree
        for section in sections:
            node = node[section]
        node[leaf] = parse_value(text)
    validate_params(tree, "params.yaml with the values of -P")


def run_pipeline(stage: str, changes: dict[str, str], run_id: str) -> None:
    """Run `dvc repro`, or `dvc exp run` with changed parameters.

    Raises:
        UserError: it failed; what was changed in params.yaml for it is put back.
    """
    fetch_table()
    if changes:
        succeeded = run_experiment(changes, stage)
    else:
        succeeded = subprocess.run(["dvc", "repro", stage]).returncode == 0
    if not succeeded:
        held_runs.close_abandoned()  # of a stage that was killed
        reason = launching_run.stage_failure(run_id) or "its message is above"
        command = f"dvc exp run {stage}" if changes else f"dvc repro {stage}"
        raise UserError(f"{command} failed: {reason}")


def fetch_table() -> None:
    """Bring the raw table into the workspace, if it is missing.

    The sample is in this repository, under the remote `sample`. Its pointer does not name that
    remote: `dvc add` of another table would keep the name, and `dvc push` would take the table
    there, where no colleague gets it.

    Raises:
        UserError: no remote has it, or what came is not the table that the pointer names.
    """
    if paths.RAW.exists():
        return
    with reading(f"{paths.RAW}.dvc"):
        digest = read_yaml(f"{paths.RAW}.dvc")["outs"][0]["md5"]

    pull = ["dvc", "pull", "--quiet", f"{paths.RAW}.dvc"]
    from_sample = subprocess.run([*pull, "--remote", "sample"], capture_output=True)
    if from_sample.returncode and subprocess.run(pull).returncode:
        raise UserError(f"{paths.RAW} is missing and `dvc pull {paths.RAW}.dvc` does not bring it")

    if not is_intact(paths.RAW, digest):  # DVC says nothing of a damaged file in the cache
        paths.RAW.unlink()
        shutil.copyfile(dvc_cache.fetch_to_cache(digest, "the raw data"), paths.RAW)


if __name__ == "__main__":
    run_command(main, explain_store_error)
