"""The verdict on a rebuilt model names the first artifact that differs, and what is to blame."""

import dataclasses

import pytest

from churn import paths
from churn.forensics.recipe import Recipe
from churn.forensics.verdict import Rebuilt, find_verdict
from churn.params import parameters_digest

RAW = str(paths.RAW)

LEAVES = {"seed": 1, "train.rounds": 20}
RECIPE = Recipe(
    name="3",
    label="version 3",
    commit="c" * 40,
    patch="",
    data_md5="d" * 32,
    schema_md5="5" * 32,
    params=LEAVES,
    params_md5=parameters_digest(LEAVES),
    lock_md5="1" * 32,
    outs={str(path): str(i) * 32 for i, path in enumerate([*paths.SPLITS.values(), paths.MODEL])},
    metrics={"roc_auc": 0.8},
    deps={"src/train.py": "a" * 32, str(paths.SCHEMA): "5" * 32},
    machine={
        "environment": "as pinned",
        "python": "3.11.9",
        "platform": "Linux x86_64",
        "processor": "P",
    },
)
SAME = Rebuilt(
    RECIPE.deps,
    RECIPE.data_md5,
    RECIPE.lock_md5,
    RECIPE.machine,
    dict(RECIPE.outs),
    dict(RECIPE.metrics),
)
TRAIN, MODEL = str(paths.SPLITS["train"]), str(paths.MODEL)
OTHER = {"outs": RECIPE.outs | {MODEL: "e" * 32}, "metrics": {"roc_auc": 0.7}}


@pytest.mark.parametrize(
    ("recorded", "rebuilt", "second", "tag"),
    [
        ({}, {}, None, "identical"),
        ({"patch": None}, {}, None, "identical"),  # what the patch changed was no matter
        ({}, {"machine": RECIPE.machine | {"processor": "Q"}}, None, "identical"),
        ({"patch": None}, OTHER, None, f"differs: {MODEL} (code)"),
        ({}, OTHER | {"deps": {}}, None, "differs: data/schema.yaml (code)"),
        (
            {},
            OTHER | {"deps": RECIPE.deps | {"data/schema.yaml": "6"}},
            None,
            "differs: data/schema.yaml (data)",
        ),
        ({"params": {"seed": 2}}, OTHER, None, f"differs: {MODEL} (params)"),
        ({}, OTHER | {"lock_md5": "2" * 32}, None, f"differs: {MODEL} (environment)"),
        (
            {"machine": {"environment": "differs: numpy 1"}},
            {"outs": RECIPE.outs | {TRAIN: "e"}},
            None,
            f"differs: {TRAIN} (environment)",
        ),
        (
            {},
            OTHER | {"machine": RECIPE.machine | {"processor": "Q"}},
            OTHER,
            f"differs: {MODEL} (environment)",
        ),
        ({}, OTHER, {}, f"differs: {MODEL} (randomness)"),
        ({}, {"metrics": {"roc_auc": 0.8000001}}, {}, "differs: roc_auc (randomness)"),
        ({"outs": RECIPE.outs | {MODEL: "f" * 32}}, {}, {}, f"differs: {MODEL} (record)"),
    ],
)
def test_blame(recorded, rebuilt, second, tag):
    """The first artifact that differs, and the cause, for each cause; a second rebuild only when
    none is known.
    """

    def again():
        assert second is not None, "there was no need for another rebuild"
        return dataclasses.replace(SAME, **second)

    recipe, found = dataclasses.replace(RECIPE, **recorded), dataclasses.replace(SAME, **rebuilt)
    verdict = find_verdict(recipe, found, again)
    assert verdict.tag == tag
    assert verdict.identical or verdict.artifact in str(verdict)
