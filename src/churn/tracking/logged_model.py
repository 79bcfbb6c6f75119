"""The logged scoring model: written, sealed by one digest over all its files, checked, loaded.

Nothing in a model runs before its files are checked, and what runs is the very copy that was
checked: a command makes one copy of its own, compares its digest with the version's tag, and loads
from it.
"""

import contextlib
import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from churn import paths
from churn.data.contract import Contract, load_contract
from churn.errors import UserError
from churn.files import md5
from churn.modeling.signature import model_signature
from churn.tracking import environment

CODE = Path("src/churn")
SCORING_MODEL = "src/churn/modeling/scoring.py"
# What churn/modeling/scoring.py runs, itself among it, when a registered model scores.
SCORING_CODE = (
    "data/contract.py",
    "errors.py",
    "modeling/booster.py",
    "modeling/encoding.py",
    "modeling/scoring.py",
)
# The same of the versions that releases before 0.2 registered.
SCORING_CODE_BEFORE_0_2 = ("contract.py", "errors.py", "model.py", "scoring.py")
# What is logged with a model: these packages and modules of the folder above.
LOGGED_CODE = ("__init__.py", "errors.py", "files.py", "params.py", "paths.py", "data", "modeling")
SEAL = "files_md5"  # the tag of a version that holds `digest` of its files
# MLflow writes it, name and version, into what it downloads; nothing reads it here
ADDED = "registered_model_meta"


def log_scoring_model(contract: Contract, threshold: float, example: pd.DataFrame) -> str:
    """Log the scoring model (churn/scoring.py over the DVC-tracked booster and contract) into the
    active run.

    Args:
        example: a few customer rows, kept as the model's input example.

    Returns:
        Its URI.
    """
    import mlflow

    # An artifact rather than MLflow's `model_config`, which would add these to the run's
    # parameters.
    config = {
        "threshold": threshold,
        "id": contract.id,
        "target": contract.target,
        "positive": contract.positive,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scoring.json")
        path.write_text(json.dumps(config))
        _copy_logged_code(Path(folder, "churn"))
        return mlflow.pyfunc.log_model(
            name="churn",
            python_model=SCORING_MODEL,
            code_paths=[str(Path(folder, "churn"))],
            artifacts={
                "booster": str(paths.MODEL),
                "contract": str(paths.SCHEMA),
                "config": str(path),
            },
            signature=model_signature(contract),
            input_example=example[[c.name for c in contract.features]],
            pip_requirements=environment.pinned_requirements(*environment.MODEL_PACKAGES),
        ).model_uri


def _copy_logged_code(target: Path) -> None:
    """Copy LOGGED_CODE, without what Python compiled."""
    target.mkdir()
    for name in LOGGED_CODE:
        if (CODE / name).is_dir():
            shutil.copytree(
                CODE / name, target / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copyfile(CODE / name, target / name)


def scoring_code_md5(code: Path) -> str:
    """One md5 over the code that scores, in a folder `churn` of today's layout or of the one before
    0.2.
    """
    names = SCORING_CODE if (code / SCORING_CODE[0]).exists() else SCORING_CODE_BEFORE_0_2
    return hashlib.md5("".join(md5(code / name) for name in names).encode()).hexdigest()


def files_digest(folder: Path) -> str:
    """One md5 over every file in a folder: over "<md5> <relative path>" of each, sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / ADDED)
    lines = (f"{md5(path)} {path.relative_to(folder).as_posix()}" for path in files)
    return hashlib.md5("\0".join(lines).encode()).hexdigest()  # no name holds \0


def files_identity(folder: Path) -> dict[str, str]:
    """The tags of registry.identity, read from the files of a logged model."""
    artifacts = folder / "artifacts"
    return {
        "scoring_md5": scoring_code_md5(folder / "code/churn"),
        "model_md5": md5(artifacts / paths.MODEL.name),
        "schema_md5": md5(artifacts / paths.SCHEMA.name),
        "threshold": repr(json.loads((artifacts / "scoring.json").read_text())["threshold"]),
    }


@contextlib.contextmanager
def verified_copy(uri: str, tags: dict[str, str], what: str) -> Iterator[Path]:
    """A copy of a logged model whose files are those that the tags tell of; it is gone at the end.

    Args:
        tags: those of registry.identity, and SEAL if it is known.
        what: the model, as a message names it.

    Raises:
        UserError: a file is missing, was added, or is not the one that was registered.
    """
    import mlflow

    with tempfile.TemporaryDirectory(prefix="churn-model-") as parent:
        try:
            folder = Path(mlflow.artifacts.download_artifacts(uri, dst_path=parent))
            for compiled in list(
                folder.rglob("__pycache__")
            ):  # Python's own; unread, it needs no check
                shutil.rmtree(compiled)
            found = {**files_identity(folder), SEAL: files_digest(folder)}
        except (mlflow.MlflowException, OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{what}: its files cannot be read ({error}); train it again or choose another"
            ) from None
        for tag, value in found.items():
            recorded = tags.get(tag, value if tag == SEAL else None)
            if value != recorded:
                raise UserError(
                    f"{what} is not what was registered: {tag} of its files is {value}, its tag says {recorded}; "
                    "somebody changed them, train it again or choose another"
                )
        yield folder


@contextlib.contextmanager
def verified_version_copy(version) -> Iterator[Path]:
    """`checked` for a registered version."""
    what = f"{version.name} version {version.version}"
    if SEAL not in version.tags:
        checked_files = "its booster, its contract, its threshold and the code that scores"
        print(
            f"{what} is of an earlier release: of its files, only {checked_files} can be checked",
            file=sys.stderr,
        )
    with verified_copy(f"models:/{version.name}/{version.version}", version.tags, what) as folder:
        yield folder


def check_version(version) -> None:
    """Raise a UserError if a version is not what was registered."""
    with verified_version_copy(version):
        pass


@contextlib.contextmanager
def model_code() -> Iterator[None]:
    """Let a model that is loaded inside import the `churn` package it was logged with, not the
    workspace's.
    """
    ours = {
        name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "churn"
    }
    path = list(sys.path)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "churn"]:
            del sys.modules[name]
        sys.modules.update(ours)
        sys.path[:] = path


def load_scoring_model(folder: Path):
    """Load a checked copy, with its own code, as an MLflow PyFuncModel.

    The copy is not needed any more then.
    """
    import mlflow

    with model_code():
        return mlflow.pyfunc.load_model(str(folder))


def load_scorer(version):
    """The scoring model of a version for callers that judge the rows themselves: the ChurnModel of
    churn/scoring.py (with the code that it was logged with) and its contract.
    """
    with verified_version_copy(version) as folder:
        model = load_scoring_model(folder).unwrap_python_model()
        own = model.contract
        return model, load_contract(own.path, own.id, own.target, own.positive)


def load_predictor(version):
    """The scoring model of a version, as an MLflow PyFuncModel."""
    with verified_version_copy(version) as folder:
        return load_scoring_model(folder)


def score_rows(version, predictor, rows: pd.DataFrame) -> pd.DataFrame:
    """What a version's scoring model says of customer rows: `churn_probability` and `churn`, in the
    rows' order.

    Raises:
        UserError: it cannot score them, since its contract is another.
    """
    import mlflow

    wanted = set(predictor.metadata.signature.inputs.input_names())
    try:
        return predictor.predict(rows[[column for column in rows if column in wanted]])
    except mlflow.MlflowException as error:
        # MLflow's sentence begins with the whole table; this ends up in the gate's reason.
        reason = " ".join(str(error).rsplit("Error: ", 1)[-1].split())[:500]
        raise UserError(
            f"version {version.version} cannot score today's test rows: {reason}"
        ) from None
