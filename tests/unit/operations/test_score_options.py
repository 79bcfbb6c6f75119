"""What score.py refuses of its options before it reads anything."""

import sys

import pytest

import score
from churn.errors import UserError

REFUSED = [
    (["--max-rejected", "1.5"], "--max-rejected 1.5 is no share from 0 to 1"),
    (["--max-rejected", "-0.1"], "--max-rejected -0.1 is no share from 0 to 1"),
    (["--max-rejected", "nan"], "--max-rejected nan is no share from 0 to 1"),
    (["--budget", "0"], "--budget 0 selects nobody"),
    (["--budget-money", "inf"], "--budget-money inf is no amount to spend"),
    (["--holdout", "1", "--campaign", "may"], "--holdout 1 is not between 0 and 1"),
    (["--holdout", "0.1"], "--holdout needs --campaign NAME"),
    (["--holdout", "0.1", "--campaign", ""], "--holdout needs --campaign NAME"),
    (["--holdout", "0.1", "--campaign", " "], "--campaign ' ' is blank"),
    (["--campaign", "may"], "--campaign does nothing alone"),
]


def options(monkeypatch, *arguments: str):
    monkeypatch.setattr(sys, "argv", ["score.py", "c.parquet", "s.parquet", *arguments])
    return score.parse_arguments()


@pytest.mark.parametrize(("arguments", "says"), REFUSED)
def test_options_that_mean_nothing_are_refused(arguments, says, monkeypatch):
    with pytest.raises(UserError, match=says):
        score.check_options(options(monkeypatch, *arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--max-rejected", "0"],
        ["--max-rejected", "1"],
        ["--budget", "10", "--campaign", "may"],
        ["--budget-money", "10.5", "--campaign", "may"],
        ["--budget", "10", "--holdout", "0.1", "--campaign", "may"],
    ],
)
def test_others_are_taken(arguments, monkeypatch):
    score.check_options(options(monkeypatch, *arguments))


def test_empty_options_of_mlproject_are_none(monkeypatch):
    """`mlflow run` passes on every option of MLproject, empty where it was not given."""
    empty = ["--budget", "", "--budget-money", "", "--holdout", "", "--campaign", ""]
    given = options(monkeypatch, *empty)
    score.check_options(given)
    assert score.campaign_options(given) == {}
