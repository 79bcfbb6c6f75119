"""The files of a logged scoring model: write them, identify them, check them.

Nothing in a model runs before its files are checked, and what runs is the very copy that was
checked: a command makes one copy of its own, compares its digest with the version's tag, and loads
from it (`model_loading`).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from churn import paths
from churn.data.contract import Contract
from churn.errors import UserError
from churn.files import md5, says_full_disk, text_md5
from churn.modeling.signature import model_signature
from churn.tracking import environment

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CODE = Path("src/churn")
SCORING_MODEL = "src/churn/modeling/scoring.py"
# What is logged with a model: these packages, and the modules of the folder above that they import.
LOGGED_CODE = (
    "__init__.py",
    "errors.py",
    "files.py",
    "param_checks.py",
    "params.py",
    "paths.py",
    "data",
    "modeling",
)
# What runs of it when a registered model scores.
SCORING_CODE = (
    "data/contract.py",
    "data/contract_file.py",
    "data/features.py",
    "errors.py",
    "modeling/booster.py",
    "modeling/encoding.py",
    "modeling/scoring.py",
)
# The same in the versions that releases before 0.2 registered.
SCORING_CODE_BEFORE_0_2 = ("contract.py", "errors.py", "model.py", "scoring.py")
IDENTITY = ("model_md5", "schema_md5", "scoring_md5", "threshold")  # the keys of `identity_tags`
SEAL = "files_md5"  # the tag of a version that holds `files_digest` of its files
# MLflow writes it, name and version, into what it downloads; nothing reads it here.
ADDED = "registered_model_meta"


def log_scoring_model(contract: Contract, threshold: float, example: pd.DataFrame) -> str:
    """Log the scoring model into the active run: modeling/scoring.py over booster and contract.

    Args:
        example: a few customer rows, kept as the model's input example.

    Returns:
        The model's URI.
    """
    import mlflow

    # An artifact, since MLflow would add its own `model_config` to the run's parameters.
    config = {
        "threshold": threshold,
        "id": contract.id,
        "target": contract.target,
        "positive": contract.positive,
        "time": contract.time,
        "features": [column.name for column in contract.derived],
    }
    columns = [column.name for column in contract.features]
    with tempfile.TemporaryDirectory() as folder:
        config_path = Path(folder, "scoring.json")
        config_path.write_text(json.dumps(config))
        code = Path(folder, "churn")
        _copy_logged_code(code)
        model = mlflow.pyfunc.log_model(
            name="churn",
            python_model=SCORING_MODEL,
            code_paths=[str(code)],
            artifacts={
                "booster": str(paths.MODEL),
                "contract": str(paths.SCHEMA),
                "config": str(config_path),
            },
            signature=model_signature(contract),
            input_example=example[columns],
            pip_requirements=environment.pinned_requirements(*environment.MODEL_PACKAGES),
        )
    return str(model.model_uri)


def _copy_logged_code(target: Path) -> None:
    """Copy LOGGED_CODE, without the files that Python compiled."""
    target.mkdir()
    compiled = shutil.ignore_patterns("__pycache__")
    for name in LOGGED_CODE:
        if (CODE / name).is_dir():
            shutil.copytree(CODE / name, target / name, ignore=compiled)
        else:
            shutil.copyfile(CODE / name, target / name)


def identity_tags(model: Path, schema: Path, code: Path, threshold: float) -> dict[str, str]:
    """What makes one version of a model: a change of one of these is another version.

    Args:
        model: the booster's file.
        schema: the contract's file.
        code: the folder `churn` of the code that scores with them.
        threshold: the probability from which a customer is contacted.

    Returns:
        The tags IDENTITY.
    """
    return {
        "model_md5": md5(model),
        "schema_md5": md5(schema),
        "scoring_md5": scoring_code_md5(code),
        "threshold": repr(threshold),
    }


def files_identity(folder: Path) -> dict[str, str]:
    """The identity of a logged model, read from its files."""
    artifacts = folder / "artifacts"
    config = json.loads((artifacts / "scoring.json").read_text())
    return identity_tags(
        artifacts / paths.MODEL.name,
        artifacts / paths.SCHEMA.name,
        folder / "code/churn",
        config["threshold"],
    )


def scoring_code_md5(code: Path) -> str:
    """One md5 over the code that scores.

    Args:
        code: a folder `churn`, of today's layout or of an earlier one.
    """
    names = SCORING_CODE if (code / SCORING_CODE[0]).exists() else SCORING_CODE_BEFORE_0_2
    # Modules that came later are missing in older versions.
    present = [code / name for name in names if (code / name).exists()]
    return text_md5("".join(map(md5, present)))


def files_digest(folder: Path) -> str:
    """One md5 over every file in a folder: over "<md5> <relative path>" of each, sorted by path."""
    lines = []
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / ADDED:
            lines.append(f"{md5(path)} {path.relative_to(folder).as_posix()}")
    return text_md5("\0".join(lines))  # the name of a file cannot contain \0


@contextlib.contextmanager
def verified_copy(uri: str, tags: dict[str, str], description: str) -> Iterator[Path]:
    """Copy a logged model into a temporary folder, and check that its files are the tagged ones.

    Args:
        tags: the tags IDENTITY, and SEAL if it is known.
        description: the model, as a message names it.

    Raises:
        UserError: a file is missing, was added, or is not the one that was registered.
    """
    import mlflow

    with tempfile.TemporaryDirectory(prefix="churn-model-") as parent:
        try:
            folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=parent))
            for compiled in list(folder.rglob("__pycache__")):  # Python makes its own
                shutil.rmtree(compiled)
            actual = {**files_identity(folder), SEAL: files_digest(folder)}
        except (mlflow.MlflowException, OSError, ValueError, KeyError) as error:
            if says_full_disk(str(error)):
                raise UserError(
                    f"{description} cannot be copied to {parent}: that disk is full, or your quota "
                    "is; make room, and run the command again"
                ) from None
            raise UserError(
                f"{description}: its files cannot be read ({error}); train it again or choose "
                "another"
            ) from None
        _check_tags(actual, tags, description)
        yield folder


def _check_tags(actual: dict[str, str], tags: dict[str, str], description: str) -> None:
    """Compare the digests of a model's files with its tags.

    Raises:
        UserError: one differs. Only a missing SEAL is allowed: earlier releases wrote none.
    """
    for tag, value in actual.items():
        if tag == SEAL and tag not in tags:
            continue
        if value != tags.get(tag):
            raise UserError(
                f"{description} is not what was registered: {tag} of its files is {value}, its tag "
                f"says {tags.get(tag)}; somebody changed them, train it again or choose another"
            )


@contextlib.contextmanager
def verified_version_copy(version: ModelVersion) -> Iterator[Path]:
    """Copy a registered version into a temporary folder, and check its files (`verified_copy`)."""
    description = f"{version.name} version {version.version}"
    if SEAL not in version.tags:
        checked = "its booster, its contract, its threshold and the code that scores"
        print(
            f"{description} is of an earlier release: of its files, only {checked} can be checked",
            file=sys.stderr,
        )
    uri = f"models:/{version.name}/{version.version}"
    with verified_copy(uri, version.tags, description) as folder:
        yield folder


# only operations
def check_version(version: ModelVersion) -> None:
    """Check the files of a registered version.

    Raises:
        UserError: they are not what was registered.
    """
    with verified_version_copy(version):
        pass


# end
