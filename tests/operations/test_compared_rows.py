"""After another seed, gate and promote.py compare on the rows that production has not seen."""

import re

import pandas as pd
import pytest

pytestmark = pytest.mark.sample


def test_another_seed_leaves_out_what_production_was_trained_on(
    tiny_pipeline, tmp_path, inside, call, capsys
):
    """By the ids in the splits that production was made of: the gate's reason, promote's table."""
    project = inside(tiny_pipeline.copy(tmp_path))
    prepared = project.folder / "data/prepared"
    trained = pd.concat(
        pd.read_parquet(prepared / f"{name}.parquet") for name in ("train", "valid")
    )
    project.client.set_registered_model_alias("ChurnXGB", "production", "1")
    seed = project.client.get_model_version("ChurnXGB", "1").tags["seed"]
    changed = {"seed": int(seed) + 1, "gate.max_auc_drop": 1.0, "gate.min_roc_auc": 0.5}
    project.set(**changed, **{"evaluate.segments": ["contract"]})
    printed = project.out("dvc", "repro")

    test = pd.read_parquet(prepared / "test.parquet")
    id_column = test.columns[0]
    assert id_column == "customer_id"
    unseen = int((~test[id_column].isin(trained[id_column])).sum())
    rows = f"on {unseen:,} of {len(test):,} test rows: version 1 was trained on the others"
    assert f"{rows} (seed {seed} then, {int(seed) + 1} now)" in printed
    assert re.search(r"gate passed \(roc_auc \S+ against production, 95 % interval .*, on", printed)

    capsys.readouterr()
    assert call("promote", "--reason", "x", "--dry-run") == "0"
    shown = capsys.readouterr().out
    assert shown.startswith(f"Compared {rows}")
    assert re.search(rf"^{unseen:,} test customers +staging 2 +production 1", shown, re.M)
