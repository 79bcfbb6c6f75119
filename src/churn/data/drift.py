"""How far a batch of customers has moved from the rows that a model was trained on, column by
column.

Everything is counted in bins that the training rows fix, so a batch of any size is read once and
none of it is held.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2

from churn.data.contract import Column

BINS = 10
FALSE_ALARMS = 0.01  # the chance that any column of an unchanged batch raises one


@dataclass
class Bins:
    """The bins of one column: those of its values, in order, and behind them `unknown` and `null`.

    A text has a bin a category. A number has one a value if there are at most ten, else ten with
    equal shares of the training rows.
    """

    categories: tuple = ()
    edges: np.ndarray | None = None

    @property
    def labels(self) -> list[str]:
        if self.edges is None:
            values = [str(category) for category in self.categories]
        else:
            low, high = (
                ["", *(f"{edge:g}" for edge in self.edges)],
                [*(f"{edge:g}" for edge in self.edges), ""],
            )
            values = [
                f"{a} to {b}" if a and b else f"<= {b}" if b else f"> {a}"
                for a, b in zip(low, high, strict=True)
            ]
        return [*values, "unknown", "null"]

    def count(self, values: pd.Series) -> np.ndarray:
        """How many values fall in each bin."""
        known = values.dropna()
        if self.edges is None:
            found = known.map({category: i for i, category in enumerate(self.categories)})
            which = found.fillna(len(self.categories)).to_numpy(dtype=int)
        else:
            which = np.searchsorted(self.edges, known.to_numpy(dtype=float), side="left")
        counts = np.bincount(which, minlength=len(self.labels))
        counts[-1] = len(values) - len(known)
        return counts


def fit_bins(values: pd.Series, column: Column | None = None) -> Bins:
    """The bins that training values fix; without a column of the contract they are numbers."""
    if column and column.kind == "text":
        return Bins(categories=column.allowed)
    distinct = np.unique(values.dropna().to_numpy(dtype=float))
    if len(distinct) > BINS:
        inner = np.quantile(values.dropna().to_numpy(dtype=float), np.arange(1, BINS) / BINS)
        return Bins(edges=np.unique(inner))
    return Bins(edges=distinct[:-1])


@dataclass(frozen=True)
class Drift:
    """`psi` and `js_distance` between training and batch; `noise` is the PSI that a batch of this
    size stays below when nothing has changed.
    """

    psi: float
    js_distance: float
    noise: float


def measure_drift(expected: np.ndarray, actual: np.ndarray, columns: int = 1) -> Drift:
    """Population stability index (Siddiqi, "Credit Risk Scorecards", 2006) and Jensen-Shannon
    distance (base 2, from 0 to 1; Lin, IEEE Trans. Inf. Theory 37, 1991) of two vectors of counts
    over the same bins.

    Of two samples of n and m rows from one distribution, PSI / (1/n + 1/m) is about chi-squared
    with one degree of freedom less than there are bins (Yurdakul and Naranjo, Journal of Risk Model
    Validation 14, 2020). `noise` is the quantile that keeps the chance of a false alarm over all
    `columns` below FALSE_ALARMS.
    """
    n, m = expected.sum(), actual.sum()
    used = (expected + actual) > 0
    # Half a row more in every bin: an empty one would make the index infinite.
    p = (expected[used] + 0.5) / (n + 0.5 * used.sum())
    q = (actual[used] + 0.5) / (m + 0.5 * used.sum())
    freedom = max(int(used.sum()) - 1, 1)
    noise = chi2.ppf(1 - FALSE_ALARMS / columns, freedom) * (1 / n + 1 / m)
    psi = float(((q - p) * np.log(q / p)).sum())
    return Drift(psi, float(jensenshannon(p, q, base=2)), float(noise))
