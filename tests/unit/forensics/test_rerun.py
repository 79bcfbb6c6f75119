"""The process that runs the stages of many workspaces: their order, and what it writes of them."""

from churn.forensics import rerun

PARAMETERS = {"seed": 1, "train": {"max_depth": 4, "rounds": 20}}


def test_parameters_by_name_and_by_section(tmp_path, monkeypatch):
    """An older dvc.yaml names each parameter, a newer one the section that a stage reads whole.

    Both are looked up, and a parameter that params.yaml does not have is null, as in DVC.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text("print()\n")
    stage = {"cmd": "python train.py", "deps": ["train.py", "gone.py"], "outs": ["model"]}
    by_name = {**stage, "params": ["seed", "train.max_depth", "train.unknown"]}
    by_section = {**stage, "params": ["seed", "train"]}

    older = rerun.lock_entry(by_name, PARAMETERS)
    newer = rerun.lock_entry(by_section, PARAMETERS)

    assert older["params"]["params.yaml"] == {
        "seed": 1,
        "train.max_depth": 4,
        "train.unknown": None,
    }
    assert newer["params"]["params.yaml"] == {"seed": 1, "train": PARAMETERS["train"]}
    assert older["deps"] == newer["deps"] == [{"path": "train.py", "md5": rerun.md5("train.py")}]
    assert older["outs"] == []


def test_stages_are_run_after_those_whose_outputs_they_read():
    """In whatever order dvc.yaml has them; an output with settings is a mapping."""
    stages = {
        "evaluate": {"deps": ["model", "test"], "outs": ["plots"]},
        "train": {"deps": ["train"], "outs": ["model"]},
        "preprocess": {"deps": ["raw"], "outs": ["train", {"test": {"cache": False}}]},
    }
    assert rerun.execution_order(stages) == ["preprocess", "train", "evaluate"]
