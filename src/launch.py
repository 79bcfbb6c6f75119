"""Run the pipeline up to a stage, as `mlflow run` asks: entry points main, preprocess, train and evaluate call this.

    mlflow run . -P max_depth=6    (python src/launch.py evaluate, within a run of MLflow's launcher)

With the parameters of params.yaml this is `dvc repro`, with others a DVC experiment. The launching run becomes the
parent of every stage's run. It gets parameters, metrics and dvc.lock, also when every stage came from DVC's cache; when
a stage fails it is FAILED and says why.
"""

import difflib
import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml.error import YAMLError

from churn import experiments, lineage, params, tracking
from churn.errors import UserError, run
from churn.project_files import reading


def value(text: str) -> object:
    """What -P means, as params.yaml would hold it; what is no YAML is a text."""
    try:
        return lineage.parse_yaml(text)
    except YAMLError:
        return text


def changes(given: dict[str, str], leaves: dict[str, object]) -> dict[str, str]:
    """The parameters that were asked for and differ from params.yaml, by dotted name.

    Args:
        given: what MLflow noted in the launching run, by the last part of a parameter's name, as text.
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
    tree = lineage.read_yaml("params.yaml")
    for name, text in asked.items():
        *sections, leaf = name.split(".")
        functools.reduce(lambda node, section: node[section], sections, tree)[leaf] = value(text)
    params.check(tree, "params.yaml with the values of -P")


def fetch_table() -> None:
    """Bring the raw table into the workspace, if it is missing.

    The sample is in this repository, under the remote `sample`. Its pointer does not name that remote: `dvc add` of
    another table would keep the name, and `dvc push` would take the table there, where no colleague gets it.

    Raises:
        UserError: no remote has it, or what came is not the table that the pointer names.
    """
    if lineage.RAW.exists():
        return
    with reading(f"{lineage.RAW}.dvc"):
        digest = lineage.read_yaml(f"{lineage.RAW}.dvc")["outs"][0]["md5"]
    command = ["dvc", "pull", "--quiet", f"{lineage.RAW}.dvc"]
    from_sample = [*command, "--remote", "sample"]
    if subprocess.run(from_sample, capture_output=True).returncode and subprocess.run(command).returncode:
        raise UserError(f"{lineage.RAW} is missing and `dvc pull {lineage.RAW}.dvc` does not bring it")
    if not lineage.is_intact(lineage.RAW, digest):  # of a damaged file in the cache, DVC says nothing
        lineage.RAW.unlink()
        shutil.copyfile(lineage.fetch(digest, "the raw data"), lineage.RAW)


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
        tracking.close_abandoned()  # of a stage that was killed
        why = tracking.failure(os.environ["MLFLOW_RUN_ID"])
        raise UserError(f"{' '.join(command)} failed: {why or 'its message stands above'}")


def launch(stage: str, launcher: str) -> None:
    """Run the pipeline as the launching run's parameters say, and write into that run what came of it."""
    import mlflow

    given, leaves = mlflow.get_run(launcher).data.params, params.flatten(params.load().model_dump())
    asked = changes(given, leaves)
    check(asked)
    pipeline(stage, asked)
    if asked:
        mlflow.MlflowClient().set_tag(launcher, "dvc_experiment", experiments.latest())
    if stage == "evaluate":
        subprocess.run([sys.executable, "src/report.py"], check=True)
    else:
        leaves, executed = params.flatten(params.load().model_dump()), tracking.executed(launcher)
        tracking.log_launcher(launcher, leaves, {}, {"executed": ", ".join(executed) or "nothing"})


def main() -> None:
    import mlflow

    stage, launcher = sys.argv[1], os.environ.get("MLFLOW_RUN_ID")
    if stage == "table":  # `make repro`
        fetch_table()
        return
    if launcher is None:
        raise UserError(f"this is for `mlflow run . -e {stage}`; without a launcher, `dvc repro {stage}` does the same")
    mlflow_run = os.getppid()
    tracking.connect()
    try:
        with tracking.held(lambda: [launcher]):
            launch(stage, launcher)
    except UserError as error:
        mlflow.MlflowClient().set_tag(launcher, "error", str(error))
        raise
    finally:
        # `mlflow run` was killed, and nobody else closes its run. (Where it is process 1 and lives, it closes it next.)
        if os.getppid() != mlflow_run or mlflow_run == 1:
            mlflow.MlflowClient().set_terminated(launcher, "KILLED")


if __name__ == "__main__":
    run(main)
