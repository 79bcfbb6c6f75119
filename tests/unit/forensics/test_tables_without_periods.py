"""A model that was split by time, on the table of a model that has no periods."""

from types import SimpleNamespace

from churn.files import read_yaml
from churn.forensics.counterfactual import CombinationRunner
from churn.params import flatten, parameter_names, validate_params
from conftest import ROOT

BY_TIME = {
    "split.by": "time",
    "split.gap": 1,
    "evaluate.backtest": 3,
    "gate.min_backtest_auc": 0.5,
    "data.time": "month",
}
BY_CUSTOMER = dict.fromkeys(BY_TIME) | {"split.by": "customer", "split.gap": 0}


def snapshot(**changed: object) -> SimpleNamespace:
    tree = flatten(read_yaml(ROOT / "params.yaml"))
    own = {name: tree[name] for name in parameter_names()} | changed
    parameters = {name: value for name, value in own.items() if not name.startswith("data.")}
    labelling = {name: own[name] for name in ("data.negative", "data.unlabelled", "data.time")}
    roles = (own["data.id"], own["data.target"], own["data.positive"])
    return SimpleNamespace(
        own_parameters=own,
        parameters=parameters,
        labelling=labelling,
        roles=roles,
        recipe=SimpleNamespace(params=own),
    )


def test_parameters_of_a_split_by_time_fit_a_table_without_periods():
    """The mixture is one that params.yaml may have; before, why.py ended with its message."""
    months, customers = snapshot(**BY_TIME), snapshot(**BY_CUSTOMER)
    runner = SimpleNamespace(a=months, b=customers)
    for table, by in ((customers, "customer"), (months, "time")):
        combination = SimpleNamespace(
            table=SimpleNamespace(owner=table), parameters=months, seed=1, code=customers
        )
        found = CombinationRunner.parameters(runner, combination)
        assert found["split.by"] == by
        tree = read_yaml(ROOT / "params.yaml")
        for name, value in found.items():
            *sections, leaf = name.split(".")
            node = tree
            for section in sections:
                node = node[section]
            node[leaf] = value
        # only experiments
        tree["sweep"]["folds"] = 1
        # end
        validate_params(tree, "params.yaml")


def test_it_is_said():
    months, customers = snapshot(**BY_TIME), snapshot(**BY_CUSTOMER)
    runner = SimpleNamespace(a=months, b=customers)
    (sentence,) = CombinationRunner.warnings(runner)
    assert sentence.startswith("the other table has no data.time: on it, A's parameters split by")
    assert CombinationRunner.warnings(SimpleNamespace(a=months, b=months)) == []
