"""What a git revision says of its model, and how the model of the workspace compares with it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from sklearn.metrics import roc_auc_score

from churn import paths
from churn.data.contract import Contract
from churn.errors import UserError
from churn.files import numbers_only, parse_yaml, reading
from churn.modeling.booster import load_booster, predict_probabilities
from churn.modeling.bootstrap import Resampling, paired_differences
from churn.modeling.encoding import encode_labels
from churn.params import Params, flatten
from churn.tracking import dvc_cache, dvc_lock, git_state
from churn.tracking.evaluation_record import TOLERANCE

Differences = dict[str, tuple[float, float, float]]  # (difference, low, high) by metric


@dataclass(frozen=True)
class Revision:
    """What a git revision says of its model."""

    name: str  # as the user calls it
    commit: str
    metrics: dict[str, float]  # empty where the revision has none
    parameters: dict[str, object]  # by dotted name
    stages: dict[str, dvc_lock.LockedStage]  # of its dvc.lock

    @property
    def outs(self) -> dict[str, str]:
        """The md5 of each output, by path."""
        outs: dict[str, str] = {}
        for stage in self.stages.values():
            outs |= stage["outs"]
        return outs


@dataclass(frozen=True)
class Comparison:
    """How the workspace's model compares with a revision's on the same test rows."""

    differences: Differences = field(default_factory=dict)  # empty if they cannot be compared
    reason: str = ""  # why they cannot be compared


def read_revision(name: str) -> Revision:
    """Read metrics, parameters and dvc.lock of a git revision.

    Raises:
        UserError: this clone has no such revision.
    """
    commit = git_state.commit_of(name)
    if not commit:
        raise UserError(
            f"{name} is no revision of this clone; `git fetch origin` brings the branches of the "
            "remote (in a shallow clone `git fetch --unshallow`)"
        )

    import dvc.api  # 0.6 s

    try:
        metrics = dvc.api.metrics_show(str(paths.METRICS), rev=commit)
    except FileNotFoundError:  # a project before its first model
        metrics = {}
    parameters = file_parameters(commit)
    lock = git_state.git("show", f"{commit}:./dvc.lock", check=False)
    with reading(f"dvc.lock of {name}", "compare with another revision"):
        stages = dvc_lock.parse_lock(parse_yaml(lock)["stages"]) if lock else {}
    return Revision(name, commit, numbers_only(metrics), parameters, stages)


def file_parameters(commit: str | None = None) -> dict[str, object]:
    """Every parameter of params.yaml, also those that no stage reads, by its dotted name.

    Args:
        commit: None for the workspace.
    """
    import dvc.api

    return flatten(dvc.api.params_show(rev=commit))


def compare_models(revision: Revision, contract: Contract, params: Params) -> Comparison:
    """Measure the revision's model beside the workspace's, on the workspace's test rows.

    The revision's model is encoded and called by today's code. So it is compared only if it gives
    the very ROC AUC that the revision recorded.
    """
    reason = _obstacle(revision)
    if reason:
        return Comparison(reason=reason)
    try:
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder, paths.MODEL.name)
            digest = revision.outs[str(paths.MODEL)]
            dvc_cache.copy_tracked_file(digest, model, f"the model of {revision.name}")
            test = pd.read_parquet(paths.SPLITS["test"])
            theirs = predict_probabilities(load_booster(model), test, contract)
    except UserError as error:
        return Comparison(reason=str(error))

    labels = encode_labels(test, contract)
    if abs(roc_auc_score(labels, theirs) - revision.metrics["roc_auc"]) > TOLERANCE:
        return Comparison(reason=f"today's code measures the model of {revision.name} otherwise")
    ours = predict_probabilities(load_booster(paths.MODEL), test, contract)
    resampling = Resampling(params.evaluate.bootstrap, params.seed)
    return Comparison(paired_differences(labels, ours, theirs, resampling))


def _obstacle(revision: Revision) -> str:
    """Why the two models are not measured on the same rows; "" if they are."""
    if str(paths.MODEL) not in revision.outs or "roc_auc" not in revision.metrics:
        return f"{revision.name} has no model"
    here = dvc_lock.read_lock()
    test = str(paths.SPLITS["test"])
    if here["preprocess"]["outs"][test] != revision.outs.get(test):
        return f"the test rows are others than those of {revision.name}"
    ours, theirs = here["train"], revision.stages["train"]
    schema = str(paths.SCHEMA)
    if ours["deps"][schema] != theirs["deps"].get(schema):
        return f"the contract is another than that of {revision.name}"
    if ours["params"].get("features") != theirs["params"].get("features"):
        return f"the features are others than those of {revision.name}"
    return ""


def uncommitted_outputs() -> list[str]:
    """What the pipeline writes for git, and is not as in the commit: dvc.lock and the metrics."""
    files = ("dvc.lock", str(paths.METRICS))
    return git_state.git("diff", "--name-only", "--relative", "HEAD", "--", *files).splitlines()
