"""Names in params.yaml that the contract does not have are refused before anything is computed."""

from churn.files import md5


def test_each_stage_names_all_of_them_and_the_metrics_come_back(
    tiny_pipeline, tmp_path, inside, call
):
    """Also those that only evaluate uses. DVC has deleted the metrics then, and that is said."""
    project = inside(tiny_pipeline.copy(tmp_path))
    metrics = project.folder / "reports/metrics.json"
    before = md5(metrics)

    project.set(features=["nothing"], **{"evaluate.segments": ["moon", "moon"]})
    for stage in ("preprocess", "train", "evaluate"):
        message = call(stage)
        assert "features names 'nothing', which" in message, stage
        assert "evaluate.segments names 'moon' twice" in message, stage
        assert "evaluate.segments names 'moon', no feature of the contract" in message, stage

    # dvc repro with settings of which only evaluate depends: it runs alone.
    project.set(features=None)
    failed = project.run("dvc", "repro")
    assert failed.returncode != 0
    assert "Running stage 'train'" not in failed.stdout
    assert (
        "DVC deletes the outputs of a stage before it runs, reports/metrics.json" in failed.stderr
    )
    assert not metrics.exists()

    project.set(**{"evaluate.segments": None})
    project.out("dvc", "repro")
    assert md5(metrics) == before
