"""Parameters of params.yaml that contradict one another, all at once.

Types, ranges and unknown names are checked before, by the fields of params.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from churn.errors import amount

if TYPE_CHECKING:  # params.py calls this
    from churn.params import Data, Params, Split


Section = TypeVar("Section")


def without_faults(section: Section, faults: list[str]) -> Section:
    """The section, if there are no faults.

    Raises:
        ValueError: with the faults, one per line, as pydantic wants it from a check.
    """
    if faults:
        raise ValueError("\n".join(faults))
    return section


def data_faults(data: Data) -> list[str]:
    """Contradictions in the section `data`."""
    faults = []
    if data.id == data.target:
        faults.append(f"id and target are the same column, {data.id!r}")
    if data.time in (data.id, data.target):
        faults.append(f"time is also id or target, {data.time!r}")
    if data.negative and data.positive in data.negative:
        faults.append(f"negative lists {data.positive!r}, which is positive")
    return faults


def split_faults(split: Split) -> list[str]:
    """Contradictions in the section `split`."""
    faults = []
    if split.valid + split.test >= 1:
        held_out = f"{split.valid + split.test:g}"
        faults.append(f"valid + test is {held_out}, which leaves nothing to train on")
    if split.gap and split.by != "time":
        faults.append(f"gap is {amount(split.gap, 'period')}, which needs `by: time`")
    return faults


# only experiments
def range_faults(low: float, high: float, log: bool) -> list[str]:
    """Why a range of the search has no values."""
    if not low < high:
        return [f"low {low:g} is not below high {high:g}"]
    if log and low <= 0:
        return [f"low {low:g} has no logarithm; it must be above 0"]
    return []


def _search_space_faults(params: Params) -> list[str]:
    """Ends of a range of the search that the section `train` would refuse."""
    from pydantic import ValidationError  # a project without this part needs no import of it

    faults = []
    for name, limits in params.sweep.space.items():
        for value in (limits.low, limits.high):
            try:
                params.train.model_validate(params.train.model_dump() | {name: value})
            except ValidationError as error:
                fault = error.errors()[0]
                reason = fault["msg"]
                if fault["type"] == "extra_forbidden":
                    reason = "train has no such parameter"
                faults.append(f"sweep.space.{name}: {reason} (got {value!r})")
                break
    return faults


# end
def faults_between_sections(params: Params) -> list[str]:
    """Parameters that need another one, or another value of it, in another section."""
    evaluate, gate = params.evaluate, params.gate
    faults = []
    if params.data.time is None:
        needs_time = []
        if params.split.by == "time":
            needs_time.append("split.by: time")
        if evaluate.backtest is not None:
            needs_time.append("evaluate.backtest")
        if needs_time:
            verb = "needs" if len(needs_time) == 1 else "need"
            names = " and ".join(needs_time)
            faults.append(f"{names} {verb} data.time, the column with a row's period")
    if gate.min_backtest_auc is not None and evaluate.backtest is None:
        faults.append("gate.min_backtest_auc needs evaluate.backtest")
    if gate.max_segment_auc_drop is not None and not evaluate.segments:
        faults.append("gate.max_segment_auc_drop needs evaluate.segments")
    # only experiments
    if params.split.by == "time" and params.sweep.folds > 1:
        faults.append(
            f"sweep.folds is {params.sweep.folds}; with `split.by: time` it must be 1 (fit the "
            "training split, score the validation split), since folds would mix past and future"
        )
    faults += _search_space_faults(params)
    # end
    return faults
