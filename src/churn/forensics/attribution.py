"""How much of a change each of its causes made, and how much of that is chance.

Arithmetic only: no model is made here.

A cause is an *axis* (code, data, parameters, randomness, environment) that is moved from A to B. An
axis moves in one step or, where it can be split (changed data), in several. A *position* says how
many steps each axis has gone.
"""

import itertools
from collections.abc import Callable, Sequence
from math import factorial

import numpy as np
from scipy.stats import t

CONFIDENCE = 0.95

Position = tuple[int, ...]


def shapley(value: Callable[[Position], float], steps: list[int]) -> list[list[float]]:
    """What each step of each axis adds to the value, averaged over all orders of moving the axes.

    Shapley values over the axes (Zhang et al., "Why did the Model Fail?", ICML 2023, with the
    metric of a real run as the value). The steps of one axis keep their order, as in Faigle and
    Kern, "The Shapley value for cooperative games under precedence constraints", Int. J. Game
    Theory 21, 1992. All of them add up to value(end) - value(start).

    Args:
        value: the metric at a position.
        steps: the number of steps of each axis.

    Returns:
        For each axis, the contribution of each of its steps.
    """
    axes = len(steps)
    contributions = []
    for axis, count in enumerate(steps):
        others = [{0, steps[other]} for other in range(axes) if other != axis]
        totals = np.zeros(count)
        for position in itertools.product(*others):
            # The share of the orders in which just these other axes are moved before this one.
            moved = sum(step > 0 for step in position)
            weight = factorial(moved) * factorial(axes - moved - 1) / factorial(axes)
            before, after = position[:axis], position[axis:]
            values = [value((*before, step, *after)) for step in range(count + 1)]
            totals += weight * np.diff(values)
        contributions.append(totals.tolist())
    return contributions


def spread(draws: Sequence[float]) -> float:
    """The standard deviation of draws, of the shape (draws,); 0 for a single one."""
    return float(np.std(draws, ddof=1)) if len(draws) > 1 else 0.0


def limit(standard_deviation: float, draws: int) -> float:
    """How large chance makes a single contribution that is zero on average, with 95 % confidence.

    It would be two standard deviations, if we knew it. It is estimated from a few draws, so
    Student's quantile takes the place of the 2: 3.2 for four draws, 2.6 for six, 2.3 for ten.
    """
    quantile = t.ppf((1 + CONFIDENCE) / 2, max(draws - 1, 1))
    return float(quantile * standard_deviation)


def within_noise(draws: Sequence[float]) -> bool:
    """Whether chance alone explains a contribution: Student's t-test with 95 % confidence.

    Args:
        draws: the reported contribution, then those of reruns with other seeds, of the shape
            (draws,). A contribution whose reruns go the other way on average is chance too, however
            large it is.
    """
    mean = float(np.mean(draws))
    if mean * draws[0] <= 0:
        return True
    limit_of_mean = limit(spread(draws), len(draws)) / len(draws) ** 0.5
    return abs(mean) <= limit_of_mean
