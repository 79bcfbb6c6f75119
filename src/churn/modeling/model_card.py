"""The model card: what a model is for, what it was made of, and how good it is, as Markdown.

Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. The text is docs/model_card.md.jinja,
which a team edits. It is an output of DVC, so it names no commit, no run and no time, and of the
data only the splits, which evaluate reads.
"""

from collections.abc import Mapping
from pathlib import Path

import jinja2
import numpy as np
import pandas as pd

from churn import paths
from churn.data.contract import Contract
from churn.data.time_split import describe_periods
from churn.errors import UserError
from churn.files import md5
from churn.modeling import backtest
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics_table import metrics_table
from churn.modeling.segments import readable_rows
from churn.modeling.single_columns import describe_suspicion
from churn.params import Params


def render_model_card(
    params: Params,
    contract: Contract,
    splits: Mapping[str, pd.DataFrame],
    metrics: dict[str, float],
    missed_thresholds: list[str],
    tables: Mapping[str, pd.DataFrame],
) -> str:
    """Fill in the template with what an evaluation knows.

    Args:
        metrics: the numbers of reports/metrics.json.
        missed_thresholds: gate.missed_thresholds of them.
        tables: the data of the plots, by name.

    Raises:
        UserError: as `fill_in`.
    """
    separation = tables["single_columns"]
    limit = params.evaluate.suspicious_auc
    by_period, by_segment = [], []
    if "backtest" in tables:
        by_period = backtest.readable_rows(tables["backtest"])
    if "segments" in tables:
        by_segment = readable_rows(tables["segments"])
    values = {
        "model": params.registry.model,
        "model_md5": md5(paths.MODEL),
        "raw": paths.RAW,
        "id": contract.id,
        "target": contract.target,
        "positive": contract.positive,
        "seed": params.seed,
        "time": contract.time,
        "split": params.split,
        "backtest": by_period,
        "splits": {name: _describe_split(name, rows, contract) for name, rows in splits.items()},
        "features": [column.name for column in contract.features],
        "derived": [f"{column.title} (`{column.name}`)" for column in contract.derived],
        "suspicion": describe_suspicion(separation, limit),
        "suspicious_auc": limit,
        "strongest": "{feature} with {roc_auc:.3f}".format(**separation.iloc[0]),
        "metrics_table": metrics_table(metrics),
        "segments": by_segment,
        "threshold": metrics["threshold"],
        "costs": params.evaluate.costs,
        "gate": "; ".join(missed_thresholds) or "passed",
    }
    return fill_in(paths.CARD_TEMPLATE, values)


def _describe_split(name: str, rows: pd.DataFrame, contract: Contract) -> dict[str, object]:
    periods = describe_periods(rows[contract.time]) if contract.time else ""
    return {
        "periods": periods,
        "rows": len(rows),
        "churn_rate": float(np.mean(encode_labels(rows, contract))),
        "md5": md5(paths.SPLITS[name]),
    }


def fill_in(template: Path, values: dict[str, object]) -> str:
    """Fill in a Jinja template.

    Raises:
        UserError: it cannot be read, is no valid Jinja, or uses a name that does not exist.
    """
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    try:
        text = template.read_text(encoding="utf-8")
        return environment.from_string(text).render(values)
    except OSError as error:
        raise UserError(f"{template}: {error.strerror}; `git checkout {template}`") from None
    except jinja2.TemplateSyntaxError as error:
        raise UserError(f"{template}: line {error.lineno}: {error.message}") from None
    except jinja2.TemplateError as error:
        raise UserError(f"{template}: {error.message}") from None
