"""Whether a search's best parameters beat today's, or were only lucky with its seed."""

from collections.abc import Callable

import pandas as pd

from churn.data.contract import Contract
from churn.experiments.objective import load_folds, mean_roc_auc, score_folds
from churn.params import Params, Train

OTHER_SEEDS = 5


def compare_over_seeds(
    parameters: Params,
    contract: Contract,
    best: Train,
    after_seed: Callable[[int], None],
    check_interrupt: Callable[..., None],
) -> pd.DataFrame:
    """Score today's and the best parameters with seeds that the search did not use.

    Another seed means other folds, and other draws while fitting.

    Args:
        best: the section `train` with the parameters that the search found.
        after_seed: called with the number of seeds done.
        check_interrupt: called after every boosting round.

    Returns:
        Mean ROC AUC over the folds: one row per seed, columns today and best.
    """
    rows = []
    for done in range(1, OTHER_SEEDS + 1):
        seed = parameters.seed + done
        folds = load_folds(parameters, contract, seed)
        row = {}
        for name, train in (("today", parameters.train), ("best", best)):
            row[name] = mean_roc_auc(list(score_folds(train, folds, seed, check_interrupt)))
        rows.append(row)
        after_seed(done)
    return pd.DataFrame(rows)
