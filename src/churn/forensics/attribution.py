"""How much of a change each of its causes made, and how much of that is luck.

Arithmetic only: no model is made here.

A cause is an *axis* (code, data, parameters, randomness, environment) that is moved from A to B. An
axis moves in one step or, where it can be split (changed data), in several; a *position* says how
many steps each axis has gone.
"""

import itertools
from collections.abc import Callable
from math import factorial

import numpy as np
from scipy.stats import t

CONFIDENCE = 0.95

Position = tuple[int, ...]


def positions(steps: list[int]) -> list[Position]:
    """Every position that `shapley` looks at: each axis at its start or its end, and at most one
    between them.
    """
    ends = set(itertools.product(*({0, count} for count in steps)))
    for axis, count in enumerate(steps):
        others = [{0, n} if i != axis else range(count + 1) for i, n in enumerate(steps)]
        ends |= set(itertools.product(*others))
    return sorted(ends)


def shapley(value: Callable[[Position], float], steps: list[int]) -> list[list[float]]:
    """What each step of each axis adds to the value, averaged over every order in which the axes
    can be moved.

    Shapley values over the axes (Zhang et al., "Why did the Model Fail?", ICML 2023, with the
    figure of a real run as the value); the steps of one axis keep their order, as in Faigle and
    Kern, "The Shapley value for cooperative games under precedence constraints", Int. J. Game
    Theory 21, 1992. All of them add up to value(end) - value(start).

    Args:
        value: the figure at a position.
        steps: the number of steps of each axis.

    Returns:
        For each axis, the contribution of each of its steps.
    """
    n, found = len(steps), []
    for axis, count in enumerate(steps):
        sums = np.zeros(count)
        for others in itertools.product(*({0, steps[i]} for i in range(n) if i != axis)):
            moved = sum(place > 0 for place in others)
            weight = factorial(moved) * factorial(n - moved - 1) / factorial(n)
            line = [value((*others[:axis], step, *others[axis:])) for step in range(count + 1)]
            sums += weight * np.diff(line)
        found.append(sums.tolist())
    return found


def spread(draws: list[float]) -> float:
    """The standard deviation of draws, of shape (draws,); 0 for one."""
    return float(np.std(draws, ddof=1)) if len(draws) > 1 else 0.0


def limit(sd: float, draws: int) -> float:
    """How large chance makes a single contribution that is zero on average, with 95 % confidence.

    Two standard deviations, if we knew it; it is estimated from a few draws, so Student's quantile
    takes the place of the 2: 3.2 for four draws, 2.6 for six, 2.3 for ten.
    """
    return float(t.ppf((1 + CONFIDENCE) / 2, max(draws - 1, 1)) * sd)


def within_noise(draws: list[float]) -> bool:
    """Whether chance alone explains a contribution: Student's t-test, with 95 % confidence, that it
    is zero on average.

    Args:
        draws: the reported contribution, then those of reruns with other seeds, of shape (draws,).
            One whose reruns go the other way on average is chance too, however large.
    """
    mean = float(np.mean(draws))
    return mean * draws[0] <= 0 or abs(mean) <= limit(spread(draws), len(draws)) / len(draws) ** 0.5
