"""Backtest: measure models of the past on each of the latest periods (rolling origins).

One test split says how good one model was once. A backtest fits a model for each of the last
periods, on what came before it, as if each had been the next month: so it shows whether the figure
holds over time. Nothing that is fitted here is kept. See data/time_split.py.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from churn import paths
from churn.data.contract import Contract
from churn.data.origins import backtest_origins
from churn.data.time_split import describe_periods
from churn.modeling.booster import fit_booster, predict_probabilities
from churn.modeling.bootstrap import Resampling, bootstrap_intervals
from churn.modeling.encoding import encode_labels, labelled_matrix
from churn.modeling.metrics import calibration_error
from churn.params import Params

FILE = paths.PLOTS / "backtest.csv"


def backtest_table(rows: pd.DataFrame, contract: Contract, params: Params) -> pd.DataFrame:
    """Measure a model on each of the last `evaluate.backtest` periods.

    Args:
        rows: of all splits, with their labels. Periods that split.gap left out are not among them.

    Returns:
        One row per period, with the columns period, customers, churn_rate, roc_auc with its 95 %
        interval (roc_auc_low, roc_auc_high), and calibration_error.

    Raises:
        UserError: there are too few periods. Whether each has customers of both kinds is checked
            before (data/origins.py).
    """
    times = rows[contract.time].to_numpy()
    table = []
    for cuts in backtest_origins(times, params):
        parts = {name: rows[np.isin(times, getattr(cuts, name))] for name in ("train", "valid")}
        test = rows[np.isin(times, cuts.test)]
        table.append(_measure_period(parts, test, contract, params))
    return pd.DataFrame(table)


def readable_rows(table: pd.DataFrame) -> list[dict[str, str]]:
    """The periods as people read them, one row each."""
    rows = []
    for row in table.to_dict("records"):
        shown = {
            "period": str(row["period"]),
            "rows": f"{row['customers']:,}",
            "churn rate": f"{row['churn_rate']:.1%}",
            "calibration error": f"{row['calibration_error']:.4f}",
            "ROC AUC": f"{row['roc_auc']:.4f}",
            "95 % interval": f"{row['roc_auc_low']:.4f} to {row['roc_auc_high']:.4f}",
        }
        rows.append(shown)
    return rows


def read_backtest() -> pd.DataFrame | None:
    """The backtest of the workspace's evaluation, None where none was asked for."""
    return pd.read_csv(FILE, dtype={"period": str}) if FILE.exists() else None


def backtest_metrics(table: pd.DataFrame) -> dict[str, float]:
    """The mean and the lowest ROC AUC over the periods."""
    return {
        "backtest_roc_auc": float(table["roc_auc"].mean()),
        "backtest_worst_roc_auc": float(table["roc_auc"].min()),
    }


def _measure_period(
    parts: dict[str, pd.DataFrame], test: pd.DataFrame, contract: Contract, params: Params
) -> dict[str, object]:
    matrices = {}
    for name, rows in parts.items():
        matrices[name] = labelled_matrix(rows, contract, params.train.threads)

    booster, _ = fit_booster(matrices["train"], matrices, params.train, params.seed)
    labels = encode_labels(test, contract)
    probabilities = predict_probabilities(booster, test, contract)
    resampling = Resampling(params.evaluate.bootstrap, params.seed)
    intervals = bootstrap_intervals(labels, probabilities, resampling)
    return {
        "period": describe_periods(test[contract.time]),
        "customers": len(test),
        "churn_rate": labels.mean(),
        "roc_auc": roc_auc_score(labels, probabilities),
        "roc_auc_low": intervals["roc_auc_low"],
        "roc_auc_high": intervals["roc_auc_high"],
        "calibration_error": calibration_error(labels, probabilities),
    }
