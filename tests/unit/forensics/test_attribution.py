"""Contributions add up to the change, and chance is told from causes at the promised rate."""

import itertools
from collections import defaultdict

import numpy as np
import pytest

from churn.forensics import attribution


def drawn_values(steps: list[int]) -> dict[attribution.Position, float]:
    """A random value for each position that `shapley` asks for."""
    draw = np.random.default_rng(0)
    values: dict[attribution.Position, float] = defaultdict(draw.normal)
    attribution.shapley(values.__getitem__, steps)
    return values


def test_shapley_values_add_up():
    """What two axes do only together is shared; what one does alone is its own; the steps of an
    axis are told apart; all of it is the whole change. Four axes need 16 runs, two of them four.
    """
    table = {(0, 0): 1.0, (1, 0): 1.5, (0, 1): 1.0, (1, 1): 2.5}
    assert attribution.shapley(table.__getitem__, [1, 1]) == [[1.0], [0.5]]
    assert len(drawn_values([1, 1, 1, 1])) == 16 and len(drawn_values([1, 1])) == 4
    steps = [1, 3, 1]
    values = drawn_values(steps)
    assert len(values) == 4 * 4
    found = attribution.shapley(values.__getitem__, steps)
    assert [len(part) for part in found] == steps
    assert sum(map(sum, found)) == pytest.approx(values[1, 3, 1] - values[0, 0, 0], abs=1e-12)
    additive = attribution.shapley(lambda place: 2.0 * place[0] + 0.5 * place[1] ** 2, [1, 2])
    assert np.allclose(list(itertools.chain(*additive)), [2.0, 0.5, 1.5])


def test_noise_has_the_promised_rate_of_false_alarms():
    """Of contributions that are luck alone, 5 % are called a cause at most, with any number of
    reruns; of those that are twice as large as their noise, nine of ten are found with five reruns.
    """
    for reruns in (3, 5):
        luck = np.random.default_rng(1).normal(size=(4000, reruns + 1))
        assert np.mean([not attribution.within_noise(list(row)) for row in luck]) <= 0.05
        assert (
            np.mean(
                [
                    abs(row[0]) > attribution.limit(attribution.spread(row), reruns + 1)
                    for row in luck
                ]
            )
            <= 0.05
        )
    assert np.mean([not attribution.within_noise(list(row + 2)) for row in luck]) >= 0.9
    assert not attribution.within_noise([-0.1, -0.1, -0.1]) and attribution.within_noise(
        [0.0, 0.0, 0.0]
    )
    assert attribution.within_noise([0.01, -0.5, -0.5, -0.5, -0.5, -0.5])
