"""What each derived feature gains: ROC AUC over 5 folds, with and without it.

    python benchmarks/features.py    (after `make repro`)

Reads the training and validation splits; the test split is not touched. Prints for each feature of
src/churn/data/features.py, and for all of them together, the mean gain over ten seeds (of folds and
model), and its standard deviation over the seeds.
"""

import sys

sys.path.insert(0, "src")

import numpy as np

from churn.console import run_command, text_table
from churn.data.contract import with_derived
from churn.data.features import FEATURES
from churn.data.project_contract import load_project_contract
from churn.experiments.objective import load_folds, score_folds
from churn.params import load_params

SEEDS = range(10)


def main() -> None:
    params = load_params()
    contract = load_project_contract(params)
    without = mean_auc(params, with_derived(contract, []))
    print(f"without: ROC AUC {without.mean():.4f}, standard deviation {without.std(ddof=1):.4f}")

    rows = []
    for names in [*([name] for name in FEATURES), list(FEATURES)]:
        gains = mean_auc(params, with_derived(contract, names)) - without
        rows.append(
            {
                "features": " ".join(names),
                "gain": f"{gains.mean():+.4f}",
                "standard deviation": f"{gains.std(ddof=1):.4f}",
                "seeds with a gain": f"{(gains > 0).sum()} of {len(gains)}",
            }
        )
    print(text_table(rows))


def mean_auc(params, contract) -> np.ndarray:
    """The mean ROC AUC over the folds for each seed, shape (seeds,)."""
    means = []
    for seed in SEEDS:
        folds = load_folds(params, contract, seed)
        scores = score_folds(params.train, folds, seed)
        means.append(np.mean([score.roc_auc for score in scores]))
    return np.array(means)


if __name__ == "__main__":
    run_command(main)
