"""Measure how far a batch of customers has moved from the training rows, column by column.

Values are counted in bins that the training rows fix, so a batch of any size is read once and none
of it is kept.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2

from churn.data.contract import Column, Label

BINS = 10
FALSE_ALARMS = 0.01  # the chance that any column of an unchanged batch raises one


@dataclass
class Bins:
    """The bins of one column: first those of its values, in order, then `unknown` and `null`.

    A text has one bin per category. A number has one per value if there are at most ten values,
    else ten with equal shares of the training rows.
    """

    categories: tuple[Label, ...] = ()
    edges: np.ndarray | None = None  # the upper ends of the bins of a number, but the last one

    @property
    def labels(self) -> list[str]:
        """The names of the bins."""
        if self.edges is None:
            names = [str(category) for category in self.categories]
        elif len(self.edges) == 0:
            names = ["> "]
        else:
            ends = [f"{edge:g}" for edge in self.edges]
            between = [f"{low} to {high}" for low, high in pairwise(ends)]
            names = [f"<= {ends[0]}", *between, f"> {ends[-1]}"]
        return [*names, "unknown", "null"]

    def count(self, values: pd.Series) -> np.ndarray:
        """How many values each bin has; shape (bins,)."""
        known = values.dropna()
        if self.edges is None:
            unknown_bin = len(self.categories)
            numbers = {category: number for number, category in enumerate(self.categories)}
            bins = known.map(numbers).fillna(unknown_bin).to_numpy(dtype=int)
        else:
            bins = np.searchsorted(self.edges, known.to_numpy(dtype=float), side="left")
        counts = np.bincount(bins, minlength=len(self.labels))
        counts[-1] = len(values) - len(known)
        return counts


def fit_bins(values: pd.Series, column: Column | None = None) -> Bins:
    """Fix the bins of a column by its training values.

    Args:
        column: its column in the contract; None for the score, which is a number.
    """
    if column and column.kind == "text":
        return Bins(categories=column.allowed)
    numbers = values.dropna().to_numpy(dtype=float)
    distinct = np.unique(numbers)
    if len(distinct) <= BINS:
        return Bins(edges=distinct[:-1])
    quantiles = np.quantile(numbers, np.arange(1, BINS) / BINS)
    return Bins(edges=np.unique(quantiles))


@dataclass(frozen=True)
class Drift:
    """How far a batch has moved from the training rows."""

    psi: float
    js_distance: float
    noise: float  # the PSI that a batch of this size stays below when nothing has changed


def measure_drift(training: np.ndarray, batch: np.ndarray, columns: int = 1) -> Drift:
    """Compare two vectors of counts over the same bins, both of the shape (bins,).

    The measures are the population stability index (Siddiqi, "Credit Risk Scorecards", 2006) and
    the Jensen-Shannon distance (base 2, from 0 to 1; Lin, IEEE Trans. Inf. Theory 37, 1991).

    Of two samples of n and m rows from one distribution, PSI / (1/n + 1/m) is about chi-squared
    with one degree of freedom less than there are bins (Yurdakul and Naranjo, Journal of Risk Model
    Validation 14, 2020). The noise is the quantile that keeps the chance of a false alarm in any of
    `columns` columns below FALSE_ALARMS.
    """
    is_used = (training + batch) > 0
    bins = int(is_used.sum())
    # Half a row more in every bin: an empty one would make the index infinite.
    training_shares = (training[is_used] + 0.5) / (training.sum() + 0.5 * bins)
    batch_shares = (batch[is_used] + 0.5) / (batch.sum() + 0.5 * bins)
    differences = batch_shares - training_shares
    psi = (differences * np.log(batch_shares / training_shares)).sum()

    degrees_of_freedom = max(bins - 1, 1)
    sampling = 1 / training.sum() + 1 / batch.sum()
    noise = chi2.ppf(1 - FALSE_ALARMS / columns, degrees_of_freedom) * sampling
    distance = jensenshannon(training_shares, batch_shares, base=2)
    return Drift(float(psi), float(distance), float(noise))
