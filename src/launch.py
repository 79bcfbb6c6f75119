"""Run the pipeline up to a stage, as `mlflow run` asks: entry points main, preprocess, train and
evaluate call this.

    mlflow run . -P max_depth=6    (python src/launch.py evaluate, within a run of MLflow's
    launcher)

With the parameters of params.yaml this is `dvc repro`, with others a DVC experiment. The launching
run becomes the parent of every stage's run. It gets parameters, metrics and dvc.lock, also when
every stage came from DVC's cache; when a stage fails it is FAILED and says why.
"""

import difflib
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml.error import YAMLError

from churn import paths
from churn.console import run_command
from churn.errors import UserError
from churn.experiments import queue
from churn.files import is_intact, parse_yaml, read_yaml, reading
from churn.params import load_params, validate_params
from churn.tracking import dvc_cache, launching_run, runs, store
from churn.tracking.store_errors import explain_store_error


def value(text: str) -> object:
    """What -P means, as params.yaml would hold it; what is no YAML is a text."""
    try:
        return parse_yaml(text)
    except YAMLError:
        return text


def changes(given: dict[str, str], leaves: dict[str, object]) -> dict[str, str]:
    """The parameters that were asked for and differ from params.yaml, by dotted name.

    Args:
        given: what MLflow noted in the launching run, by the last part of a parameter's name, as
            text.
        leaves: params.yaml, flattened.

    Raises:
        UserError: a name that no parameter ends with, and the nearest that one does.
    """
    full = {name.split(".")[-1]: name for name in leaves}
    asked = {}
    for short, text in given.items():
        if short not in full:
            nearest = difflib.get_close_matches(short, full, n=1, cutoff=0)[0]
            raise UserError(f"-P {short}: there is no such parameter; did you mean {nearest}?")
        name, now = full[short], leaves[full[short]]
        if text != str(now) and (isinstance(now, str) or value(text) != now):
            asked[name] = text
    return asked


def check(asked: dict[str, str]) -> None:
    """Refuse values that params.yaml cannot have, before anything runs.

    Raises:
        UserError: every wrong value.
    """
    tree = read_yaml("params.yaml")
    for name, text in asked.items():
        *sections, leaf = name.split(".")
        functools.reduce(lambda node, section: node[section], sections, tree)[leaf] = value(text)
    validate_params(tree, "params.yaml with the values of -P")


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
    command = ["dvc", "pull", "--quiet", f"{paths.RAW}.dvc"]
    from_sample = [*command, "--remote", "sample"]
    if (
        subprocess.run(from_sample, capture_output=True).returncode
        and subprocess.run(command).returncode
    ):
        raise UserError(f"{paths.RAW} is missing and `dvc pull {paths.RAW}.dvc` does not bring it")
    if not is_intact(paths.RAW, digest):  # of a damaged file in the cache, DVC says nothing
        paths.RAW.unlink()
        shutil.copyfile(dvc_cache.fetch_to_cache(digest, "the raw data"), paths.RAW)


def pipeline(stage: str, asked: dict[str, str]) -> None:
    """`dvc repro`, or `dvc exp run` with changed parameters.

    Raises:
        UserError: it failed; params.yaml is then as it was.
    """
    fetch_table()
    before = Path("params.yaml").read_bytes()
    settings = [word for name, text in asked.items() for word in ("-S", f"{name}={text}")]
    command = ["dvc", "exp", "run", *settings, stage] if asked else ["dvc", "repro", stage]
    if subprocess.run(command).returncode:
        Path("params.yaml").write_bytes(before)
        runs.close_abandoned()  # of a stage that was killed
        why = launching_run.stage_failure(os.environ["MLFLOW_RUN_ID"])
        raise UserError(f"{' '.join(command)} failed: {why or 'its message stands above'}")


def launch(stage: str, launcher: str) -> None:
    """Run the pipeline as the launching run's parameters say, and write into that run what came of
    it.
    """
    import mlflow

    given, leaves = mlflow.get_run(launcher).data.params, load_params().flat()
    asked = changes(given, leaves)
    check(asked)
    pipeline(stage, asked)
    if asked:
        mlflow.MlflowClient().set_tag(launcher, "dvc_experiment", queue.latest())
    if stage == "evaluate":
        subprocess.run([sys.executable, "src/report.py"], check=True)
    else:
        leaves, executed = (
            load_params().flat(),
            launching_run.executed_stages(launcher),
        )
        launching_run.log_pipeline_run(
            launcher, leaves, {}, {"executed": ", ".join(executed) or "nothing"}
        )


def main() -> None:
    import mlflow

    stage, launcher = sys.argv[1], os.environ.get("MLFLOW_RUN_ID")
    if stage == "table":  # `make repro`
        fetch_table()
        return
    if launcher is None:
        raise UserError(
            f"this is for `mlflow run . -e {stage}`; without a launcher, `dvc repro {stage}` does the same"
        )
    mlflow_run = os.getppid()
    store.connect()
    try:
        with runs.hold_runs(lambda: [launcher]):
            launch(stage, launcher)
    except UserError as error:
        mlflow.MlflowClient().set_tag(launcher, "error", str(error))
        raise
    finally:
        # `mlflow run` was killed, and nobody else closes its run. (Where it is process 1 and lives,
        # it closes it next.)
        if os.getppid() != mlflow_run or mlflow_run == 1:
            mlflow.MlflowClient().set_terminated(launcher, "KILLED")


if __name__ == "__main__":
    run_command(main, explain_store_error)
