"""Whether a table's periods allow the backtest that params.yaml asks for.

preprocess checks this, long before evaluate fits a model for each period (modeling/backtest.py).
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from churn.data.time_split import Cuts, describe_periods, rolling_origins
from churn.errors import UserError, amount
from churn.params import Params


def backtest_origins(periods: np.ndarray, params: Params) -> Iterator[Cuts]:
    """The cuts of the backtest.

    Args:
        periods: of all rows of the splits, in any order.

    Raises:
        UserError: there are too few periods.
    """
    shares = params.split
    count = params.evaluate.backtest or 0
    yield from rolling_origins(np.unique(periods), shares.valid, shares.gap, count)


def backtest_faults(periods: pd.Series, has_churned: np.ndarray, params: Params) -> list[str]:
    """Everything that keeps `evaluate.backtest` from being made.

    Args:
        periods: of all rows of the splits.
        has_churned: shape (rows,).
    """
    if params.evaluate.backtest is None:
        return []
    try:
        origins = list(backtest_origins(periods.to_numpy(), params))
    except UserError as error:
        return [str(error)]

    counts = pd.DataFrame({"period": periods.to_numpy(), "churned": has_churned})
    table = counts.groupby("period")["churned"].agg(["size", "sum"])
    faults = []
    for cuts in origins:
        tested = describe_periods(pd.Series(cuts.test))
        parts = {
            f"the rows to train on before {tested}": cuts.train,
            f"the validation rows before {tested}": cuts.valid,
            tested: cuts.test,
        }
        for where, part in parts.items():
            rows, churned = table.loc[part].sum().astype(int)
            if not 0 < churned < rows:
                faults.append(
                    f"evaluate.backtest: {where} has {amount(rows, 'row')}, {churned:,} of them "
                    "churned; a backtest needs both kinds, choose fewer periods or longer ones"
                )
    return faults
