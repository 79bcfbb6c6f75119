"""src/why.py: planted causes are found, what changes nothing is called noise, and nothing of the
project is touched.
"""

import json
import re
from contextlib import ExitStack

import planted
import pytest
from planted import CAUSES

import why
from churn.errors import UserError
from churn.forensics import counterfactual, workspace
from churn.forensics.resolve import resolve_recipe
from churn.forensics.snapshot import read_snapshot
from conftest import Project

pytestmark = pytest.mark.sample


@pytest.fixture(scope="module")
def project(tiny_pipeline, tmp_path_factory):
    """A tiny project in which causes are planted; the tests of this module share its results."""
    with pytest.MonkeyPatch.context() as patch:
        project = planted.first_commit(tiny_pipeline.copy(tmp_path_factory.mktemp("why")))
        patch.chdir(project.folder)
        patch.setenv("MLFLOW_TRACKING_URI", project.uri)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("caches")))
        yield project


@pytest.fixture(scope="module")
def workers(project):
    """Workers, and the one that plants."""
    with ExitStack() as stack:
        yield planted.start(stack)


@pytest.fixture(scope="module")
def labels(project, workers):
    """A branch with 30 % of the labels flipped."""
    return planted.plant(project, "labels", workers[1], CAUSES["30 % of labels flipped"])


def plant_and_explain(project: Project, workers, *names: str) -> planted.Answer:
    """Plant causes and explain the change of the first one's metric; recorded figures must come
    out, and add up.
    """
    causes = [CAUSES[name] for name in names]
    branch = planted.plant(project, "planted", workers[1], *causes)
    answer = planted.explain("main", branch, workers[0], causes[0].metric)
    assert answer.warnings == []
    assert sum(cause.contribution for cause in answer.causes) == pytest.approx(
        answer.change, abs=1e-12
    )
    return answer


@pytest.mark.parametrize("name", CAUSES)
def test_a_planted_cause_is_found(project, workers, name):
    """It comes first, with at least 80 % of the change; what changes nothing is called noise."""
    cause, answer = CAUSES[name], plant_and_explain(project, workers, name)
    if cause.real:
        assert planted.is_one_of((cause,), answer.causes[0])
        assert not answer.causes[0].within_noise
        assert answer.share(cause) >= 0.8, answer
    else:
        assert all(found.within_noise for found in answer.causes), answer
        assert "within noise" in answer.sentence


@pytest.mark.parametrize(
    "names",
    [
        ("20 % newest customers only", "30 % of labels flipped"),  # both in the data
        ("learning rate x 10", "a dropped feature"),
        ("30 % of labels flipped", "another split seed"),
    ],
)
def test_two_planted_causes(project, workers, names):
    """Both before anything else, and 80 % of the change is theirs; one that does nothing is noise
    beside the other.
    """
    causes = tuple(CAUSES[name] for name in names)
    answer = plant_and_explain(project, workers, *names)
    real = tuple(cause for cause in causes if cause.real)
    unreal = tuple(cause for cause in causes if not cause.real)

    for cause in answer.causes:
        if planted.is_one_of(unreal, cause):
            assert cause.within_noise, answer
    ranks_of_others, ranks_of_real = [], []
    for rank, cause in enumerate(answer.causes):
        if not planted.is_one_of(causes, cause):
            ranks_of_others.append(rank)
        if planted.is_one_of(real, cause):
            ranks_of_real.append(rank)
    assert not ranks_of_others or max(ranks_of_real) < min(ranks_of_others)
    assert not answer.causes[0].within_noise
    assert answer.share(*causes) >= 0.8

    above_noise = [cause for cause in answer.causes if not cause.within_noise]
    for cause in real:  # each of the two, not only the larger
        assert any(planted.is_one_of((cause,), one) for one in above_noise), answer


def test_the_command(project, labels, monkeypatch, capsys):
    """The sentence on top, JSON, the picture and the run in MLflow; free the second time; and
    neither git, nor the registry, nor DVC's cache, nor a file of the workspace is another one
    afterwards.
    """

    def state() -> tuple:
        files = [path for path in (project.folder / ".dvc/cache").rglob("*") if path.is_file()]
        return (
            sorted(path.name for path in files),
            project.out("git", "status", "--short"),
            [dict(version.tags) for version in project.versions()],
            [run.info.run_id for run in project.runs()],
        )

    before = state()
    command = ("src/why.py", "2", labels, "--attribute", "--seeds", "3", "--output", "../why.png")
    result = project.run("python", *command, MLFLOW_TRACKING_URI=project.uri)
    assert result.returncode == 0, result.stderr
    text = result.stdout
    assert text.startswith("AUC fell by 0.2")
    assert "because column churn changed in the data" in text.splitlines()[0]
    assert "test split of A" in text
    assert "A  ChurnXGB version 2" in text
    assert "raw.parquet" in text
    assert (project.folder / "../why.png").stat().st_size > 10_000

    monkeypatch.setattr("sys.argv", [*command, "--json"])
    why.main()
    answer = json.loads(capsys.readouterr().out)
    least, most = re.search(r"about (\d+)(?: to (\d+))? runs", result.stderr).groups()
    assert int(least) <= answer["combinations"] <= int(most or least), "the estimate was wrong"
    assert answer["run_now"] == 0
    assert answer["warnings"] == []
    assert list(answer["differs"]) == ["data"]
    model_a, model_b = answer["two_by_two"]["figures"]
    assert model_a[0] == answer["a"]
    assert model_b[1] == answer["b"]
    # It is the test that got harder, not the model that got worse.
    assert model_a[0] - model_a[1] > 0.1
    assert abs(model_a[0] - model_b[0]) < 0.1
    assert state() == before

    ids = [experiment.experiment_id for experiment in project.client.search_experiments()]
    logged = [run for run in project.client.search_runs(ids) if "why" in run.data.tags]
    assert len(logged) == 2
    assert logged[0].data.tags["why"] == answer["sentence"]
    assert not {"stage", "model_md5", "params_md5"} & set(logged[0].data.tags)
    artifacts = project.client.list_artifacts(logged[0].info.run_id)
    assert {file.path for file in artifacts} == {"why.png", "why.txt", "why.json"}

    kept = {
        path: path.read_bytes() for path in (project.folder / ".dvc/tmp/why").glob("*/metrics.json")
    }
    for path in kept:
        path.write_bytes(b"{")
    with pytest.raises(
        UserError, match="metrics.json cannot be read: .* `rm -r .dvc/tmp/why` has it run again"
    ):
        why.main()
    for path, content in kept.items():
        path.write_bytes(content)


def test_a_figure_that_does_not_come_again_is_said_loudly(project, workers, labels):
    """B's recorded figure is not what its own recipe gives."""
    project.out("git", "checkout", "-q", "-B", "better", labels)
    path = project.folder / "reports/metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"roc_auc": 0.9}))
    project.commit("better")
    project.out("git", "checkout", "-q", "main")
    (warning,) = planted.explain("main", "better", workers[0]).warnings
    assert warning.startswith(
        "WARNING: B was recorded with roc_auc 0.900000, and its rerun here gives 0.6"
    )


def test_fifty_commits_and_a_parameter_that_only_one_model_has(project, workers):
    """Fifty commits are one switch: as many runs as with one.

    The one that touches a stage is named. What only the newer code knows is left at its default
    under the older, and said.
    """
    project.out("git", "checkout", "-q", "-f", "-B", "many", "main")
    for number in range(50):
        project.out("git", "commit", "-q", "--allow-empty", "-m", f"commit {number}")
    for path, old, new in (
        (
            "src/churn/params.py",
            "class Train(Section):\n",
            "class Train(Section):\n    gamma: float = Field(ge=0)\n",
        ),
        ("params.yaml", "  subsample: 0.8\n", "  subsample: 0.8\n  gamma: 5.0\n"),
    ):
        text = (project.folder / path).read_text()
        assert old in text
        (project.folder / path).write_text(text.replace(old, new, 1))
    workers[1](project.folder)
    project.commit("regularise")
    project.out("git", "checkout", "-q", "main")
    text = project.out("python", "src/why.py", "main", "many", MLFLOW_TRACKING_URI=project.uri)
    assert (
        "commits between: 51, 1 of them change what a stage runs" in text and "regularise" in text
    )
    answer = planted.explain("main", "many", workers[0], seeds=1)
    assert answer.warnings == []
    # gamma comes and goes with the code, whoever's parameters.
    assert answer.combinations == 2 * 2
    without_effect = [(cause.axis, cause.contribution == 0) for cause in answer.causes]
    assert without_effect == [("code", False), ("parameters", True)]
    with ExitStack() as stack:
        snapshots = []
        for name in ("main", "many"):
            recipe = resolve_recipe(name)
            folder = stack.enter_context(workspace.checkout(recipe))
            snapshots.append(read_snapshot(recipe, folder))
        warnings = counterfactual.CombinationRunner(*snapshots, workers[0]).warnings()
    assert warnings == ["train.gamma is a parameter of B only: the other code runs without it"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("main", "main"), "made of the same code, data, parameters, seed and environment"),
        (("main", "nothing"), "nothing: no version"),
        (
            ("main", "labels", "--attribute", "--metric", "auc"),
            "the pipeline measures no auc; it measures roc_auc",
        ),
        (("main", "labels", "--attribute", "--seeds", "0"), "--seeds must be at least 1"),
    ],
)
def test_mistakes(labels, monkeypatch, arguments, says):
    """What is wrong, in one line."""
    monkeypatch.setattr("sys.argv", ["why.py", *arguments])
    with pytest.raises(UserError, match=says):
        why.main()
