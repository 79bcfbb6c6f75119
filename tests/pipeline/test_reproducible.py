"""The same inputs give the same bytes, on any path, with any number of threads, on old and new
processors; other inputs give others.
"""

import pandas as pd
import pytest

from conftest import AS_COMMITTED, Project


def test_two_clones_make_the_same_bytes(pipelines):
    """Another folder, number of threads, order of Python's sets and processor: every output has the
    same md5.
    """
    one, two = (clone.outs() for clone in pipelines)
    assert one == two


@pytest.fixture
def as_committed(pipelines, tmp_path):
    """Clones after `dvc repro --force` with the committed parameters."""
    if AS_COMMITTED:
        return pipelines
    clone = Project.clone(tmp_path, committed=True)
    clone.out("dvc", "pull", "-q", "data/raw.parquet.dvc")
    clone.out("dvc", "repro", "--force")
    return [clone]


def test_a_clone_produces_the_committed_lock(as_committed):
    """dvc.lock in git is what any clone produces: `git diff` after a forced run is empty."""
    for clone in as_committed:
        assert clone.out("git", "diff", "--stat") == "", clone.out("git", "diff")


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_byte_of_the_model(pipeline, inside, tmp_path, threads):
    """train.threads is a parameter, and so stands in dvc.lock; the model it gives is the same
    file.
    """
    from churn import paths
    from churn.data.contract import load_contract
    from churn.files import md5
    from churn.modeling.booster import fit_booster, save_booster
    from churn.modeling.encoding import labelled_matrix
    from churn.params import load_params

    inside(pipeline)
    p = load_params()
    rules = load_contract(paths.SCHEMA, p.data.id, p.data.target, p.data.positive)
    rows = {name: pd.read_parquet(paths.SPLITS[name]) for name in ("train", "valid")}
    watched = {name: labelled_matrix(table, rules, threads) for name, table in rows.items()}
    booster, _ = fit_booster(
        watched["train"], watched, p.train.model_copy(update={"threads": threads}), p.seed
    )
    save_booster(booster, tmp_path / "churn.ubj")
    assert md5(tmp_path / "churn.ubj") == pipeline.outs()["models/churn.ubj"]


@pytest.fixture(scope="module")
def tiny(tiny_pipeline, tmp_path_factory):
    """A clone with a small model, to be changed by the tests of this module."""
    return tiny_pipeline.copy(tmp_path_factory.mktemp("changed"))


def test_repro_runs_what_changed_and_nothing_else(tiny):
    """Nothing without a change; evaluate alone for a cost; train and evaluate for a learning rate;
    all for a seed. And a changed seed changes every split, the model and the metrics.
    """
    assert tiny.executed() == []
    tiny.set(**{"evaluate.costs.contact": 41.0})
    assert tiny.executed() == ["evaluate"]
    tiny.set(**{"train.learning_rate": 0.2})
    assert tiny.executed() == ["train", "evaluate"]
    before = tiny.outs()
    tiny.set(seed=43)
    assert tiny.executed() == ["preprocess", "train", "evaluate"]
    same = [path for path, md5 in tiny.outs().items() if md5 == before[path]]
    assert same == []


def test_exp_run_leaves_one_run_named_after_the_experiment(tiny):
    """`dvc exp run --temp` works in a copy that is deleted; its run is in the project's store all
    the same.
    """
    tiny.out("git", "checkout", "-q", ".")
    tiny.out("dvc", "exp", "run", "--temp", "-n", "deeper", "-S", "train.max_depth=5")
    named = [run for run in tiny.runs() if run.info.run_name == "deeper"]
    assert [
        (run.data.params["train.max_depth"], run.data.tags["dvc_experiment"]) for run in named
    ] == [("5", "deeper")]
    assert "deeper" in tiny.out("dvc", "exp", "list")
