"""The causes of a change, and their names in a table and in a sentence."""

from dataclasses import dataclass

from churn.errors import amount
from churn.forensics.difference import changed_values
from churn.forensics.snapshot import Snapshot

MOST_NAMED = 3


@dataclass(frozen=True)
class CauseNames:
    """What a cause is called."""

    short: str  # in a table: "column tenure"
    clause: str  # in a sentence, after "because": "column tenure changed in the data"


@dataclass(frozen=True)
class Cause:
    """A change, and what it did to the metric."""

    axis: str
    names: CauseNames
    contribution: float
    noise: float  # one standard deviation over seeds
    within_noise: bool  # whether chance alone explains it, with 95 % confidence

    @property
    def what(self) -> str:
        """Its name in a table."""
        return self.names.short

    def as_json(self) -> dict[str, object]:
        """Its fields in the answer of `why.py --json`."""
        return {
            "axis": self.axis,
            "what": self.names.short,
            "because": self.names.clause,
            "contribution": self.contribution,
            "noise": self.noise,
            "within_noise": self.within_noise,
        }


def name_axis(axis: str, a: Snapshot, b: Snapshot) -> CauseNames:
    """The names of a change along an axis other than data."""
    if axis == "randomness":
        return CauseNames(f"seed {a.seed} → {b.seed}", f"the seed went from {a.seed} to {b.seed}")
    if axis == "code":
        files = _some([str(path) for path in changed_values(a.code, b.code).index])
        return CauseNames(f"code: {files}", f"the code changed ({files})")
    if axis == "environment":
        packages = _some([str(name) for name in changed_values(a.packages, b.packages).index])
        return CauseNames(f"packages: {packages}", f"packages changed ({packages})")

    changes = changed_values(a.parameters, b.parameters)
    names = [str(name) for name in changes.index]
    if len(names) == 1:
        before, after = changes.iloc[0]
        return CauseNames(
            f"{names[0]} {before} → {after}", f"{names[0]} went from {before} to {after}"
        )
    listed = _some(names)
    return CauseNames(f"parameters: {listed}", f"{len(names)} parameters changed ({listed})")


def name_remainder(columns: list[str], customers: dict[str, int]) -> CauseNames:
    """The names of the step of the data axis that remains when columns were restored.

    Args:
        columns: those that were not restored.
        customers: of difference.customer_counts.
    """
    parts = []
    for direction in ("came", "went"):
        if customers[direction]:
            parts.append(f"{amount(customers[direction], 'customer')} {direction}")
    short, clause = list(parts), list(parts)
    if columns:
        noun = "columns" if len(columns) > 1 else "column"
        listed = f"{noun} {', '.join(columns)}"
        short.append(listed)
        clause.append(f"{listed} changed")
    if not short:
        short = clause = ["order of the rows, or contract"]
    return CauseNames(" and ".join(short), " and ".join(clause))


def _some(names: list[str]) -> str:
    text = ", ".join(names[:MOST_NAMED])
    left_out = len(names) - MOST_NAMED
    return f"{text} and {left_out} more" if left_out > 0 else text
