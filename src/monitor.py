"""Compare a scored batch of customers with the rows that its model was trained on.

    python src/monitor.py customers.parquet scores.parquet
    python src/monitor.py customers.parquet scores.parquet --labels churned.parquet

The scores name the model version that made them, the version's tags name the md5 of its training
rows, and DVC has those. Prints a table of the columns, the most drifted first; draws the worst into
scores.drift.png; logs both to MLflow. With --labels, a table of id and target, also the metrics of
`evaluate` with their intervals.

Exit code 4: something is above the thresholds of `monitor:` in params.yaml.
"""

import argparse
import json
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from tqdm import tqdm

from churn.console import run_command
from churn.data import csv_table, customer_table, rejection
from churn.data.checks import failed_cells, pandera_schema
from churn.data.contract import Contract, free_name
from churn.data.drift import Bins, fit_bins, measure_drift
from churn.errors import UserError, short
from churn.modeling import plots
from churn.modeling.bootstrap import Resampling, bootstrap_intervals
from churn.modeling.encoding import encode_labels
from churn.modeling.metrics import MAIN_METRICS, point_metrics
from churn.params import Params, load_params
from churn.tracking import (
    dvc_cache,
    environment,
    evaluation_record,
    git_state,
    logged_model,
    registry,
    run_log,
    runs,
    store,
)
from churn.tracking.store_errors import explain_store_error

SCORE = "churn_probability"
COMPARED = (*MAIN_METRICS, "calibration_error", "value_per_customer")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Compare a scored batch with the training rows of its model."
    )
    parser.add_argument("customers", help="the table that was scored")
    parser.add_argument("scores", help="what src/score.py made of it")
    parser.add_argument(
        "--labels", help="a Parquet or CSV table of id and target, for customers whose end is known"
    )
    return parser.parse_args()


def origin(scores: str, customers: str) -> dict:
    """The lineage that src/score.py wrote into the scores.

    Raises:
        UserError: the scores have none, or they were made of another table.
    """
    with csv_table.opened(scores) as file:
        written = (pq.read_schema(file).metadata or {}).get(b"churn_lineage")
        written = written or (pq.read_metadata(file).metadata or {}).get(b"churn_lineage")
    if not written:
        raise UserError(f"{scores} does not say which model made it; src/score.py writes that")
    made = json.loads(written)
    if (found := customer_table.file_md5(customers)) != made["input_md5"]:
        raise UserError(
            f"{customers} (md5 {found}) is not the table that was scored (md5 {made['input_md5']})"
        )
    return made


def count(
    table: customer_table.CustomerTable, rules: Contract, bins: dict[str, Bins]
) -> tuple[dict, Counter, int]:
    """Counts of each column's bins over a table, of its values that break the contract, and its
    rows.
    """
    checks = pandera_schema(rules, without={rules.target, rules.id})
    counts = {name: np.zeros(len(column.labels), int) for name, column in bins.items()}
    invalid, rows = Counter(), 0
    bar = tqdm(
        total=table.rows,
        unit=" rows",
        unit_scale=True,
        disable=not sys.stderr.isatty(),
        leave=False,
    )
    for part in table.batches():
        frame, faults = rejection.to_contract_types(part, rules)
        for name, column in bins.items():
            counts[name] += column.count(frame[name])
        found = failed_cells(checks, frame)
        broken = set(zip(found["row"], found["column"], strict=True)) | set(faults)
        invalid.update(column for _, column in broken)
        rows += len(frame)
        bar.update(len(frame))
    return counts, invalid, rows


def drifts(expected: dict, actual: dict, invalid: Counter, rows: int) -> pd.DataFrame:
    """What each column did, the most drifted first: psi, js_distance and noise (drift.compare), and
    the shares of its values that break the contract (invalid) and that are null, now and in
    training.

    Args:
        expected, actual: counts of its bins in the training rows and in the batch, by column.
        invalid: values of the batch that break the contract, by column; of `rows`.
    """
    lines = {
        name: {
            **asdict(measure_drift(expected[name], actual[name], len(expected))),
            "invalid": invalid[name] / rows,
            "null": actual[name][-1] / rows,
            "null_in_training": expected[name][-1] / expected[name].sum(),
        }
        for name in expected
    }
    return pd.DataFrame(lines).T.sort_values("psi", ascending=False)


def labelled(
    table: customer_table.CustomerTable,
    rules: Contract,
    scores: pd.DataFrame,
    p: Params,
    threshold: float,
) -> dict:
    """The metrics of `evaluate`, with intervals, of the scored customers whose labels have arrived.

    Customers without a known label are left out where `data.unlabelled` says so.

    Raises:
        UserError: a label that the contract does not know, or no scored customers of both kinds.
    """
    parts = []
    for part in table.batches():
        frame, faults = rejection.to_contract_types(part, rules)
        for (_, column), why in faults.items():
            raise UserError(f"{table.url}: {column}: {why}")
        parts.append(frame)
    if table.broken:
        row, why = next(iter(table.broken.items()))
        raise UserError(f"{table.url}, row {row}: {why}")
    known = pd.concat(parts).dropna()
    if len(again := known.loc[known[rules.id].duplicated(), rules.id]):
        raise UserError(
            f"{table.url}: {len(again)} rows repeat an earlier {rules.id}, such as {again.iloc[0]!r}"
        )
    unknown = ~known[rules.target].isin(rules.labels)
    if unknown.any():
        found = f"{rules.target} is {short(known.loc[unknown, rules.target].iloc[0])}"
        wrong = f"{table.url}: {found}, not one of {', '.join(map(short, rules.labels))}"
        if p.data.unlabelled == "refuse":
            raise UserError(
                f"{wrong}; `unlabelled: drop` under `data:` in params.yaml leaves such customers out"
            )
        print(f"{wrong}: {unknown.sum():,} such customers are left out of the metrics")
    known = known[~unknown]
    probability = known[rules.id].map(scores.set_index(rules.id)[SCORE])
    scored = probability.notna()
    y, probability = encode_labels(known[scored], rules), probability[scored].to_numpy()
    if not 0 < y.sum() < len(y):
        raise UserError(f"{table.url} labels {len(y)} scored customers, not some of each kind")
    found = point_metrics(y, probability, threshold, p.evaluate.costs)
    return found | bootstrap_intervals(y, probability, Resampling(p.evaluate.bootstrap, p.seed))


def alarms(found: pd.DataFrame, later: dict, at_training: dict, limits) -> list[str]:
    """Everything that is above the thresholds.

    A PSI that chance explains in a batch of this size is no alarm.
    """
    lines = []
    for name, row in found.iterrows():
        if row.psi > max(limits.max_psi, row.noise):
            lines.append(f"{name}: PSI {row.psi:.3f} is above monitor.max_psi {limits.max_psi:g}")
        if row.invalid > limits.max_invalid:
            lines.append(
                f"{name}: {row.invalid:.1%} break the contract, above monitor.max_invalid {limits.max_invalid:g}"
            )
    if later and later["roc_auc_high"] < at_training["roc_auc"] - limits.max_auc_drop:
        lines.append(
            f"ROC AUC {later['roc_auc']:.4f} ({later['roc_auc_low']:.4f} to {later['roc_auc_high']:.4f}) is below the "
            f"test split's {at_training['roc_auc']:.4f} by more than monitor.max_auc_drop {limits.max_auc_drop:g}"
        )
    return lines


def table_text(found: pd.DataFrame, later: dict, at_training: dict) -> str:
    """The columns, the most drifted first, and below them the metrics of labelled customers beside
    the test split's.
    """
    text = found.to_string(
        formatters={
            **dict.fromkeys(("psi", "noise", "js_distance"), "{:.4f}".format),
            **dict.fromkeys(("invalid", "null", "null_in_training"), "{:.1%}".format),
        }
    )
    if later:
        text += f"\n\n{'labelled customers':<20} {'test split':>10} {'now':>10}   95 % interval"
        for name in COMPARED:
            text += f"\n{name:<20} {at_training.get(name, np.nan):>10.4f} {later[name]:>10.4f}"
            if f"{name}_low" in later:
                text += f"   {later[f'{name}_low']:.4f} to {later[f'{name}_high']:.4f}"
    return text


def main() -> None:
    options, p = arguments(), load_params()
    made = origin(options.scores, options.customers)
    store.connect()
    version = registry.version_by_number(made["model"], made["model_version"])
    if version is None or version.tags["model_md5"] != made["model_md5"]:
        raise UserError(
            f"the registry has no {made['model']} version {made['model_version']} that made {options.scores}"
        )
    scorer, rules = logged_model.load_scorer(version)
    train = pd.read_parquet(
        dvc_cache.fetch_to_cache(version.tags["train_md5"], "the training split")
    )
    test = pd.read_parquet(dvc_cache.fetch_to_cache(version.tags["test_md5"], "the test split"))
    with csv_table.opened(options.scores) as file:
        scores = pd.read_parquet(file, columns=[rules.id, SCORE])

    with runs.open_run(
        "monitor",
        {"stage": "monitor", **git_state.code_tags(), **environment.environment_tags(), **made},
    ):
        import mlflow

        bins = {column.name: fit_bins(train[column.name], column) for column in rules.features}
        expected = {name: column.count(train[name]) for name, column in bins.items()}
        actual, invalid, rows = count(
            customer_table.CustomerTable(options.customers, rules, list(bins)), rules, bins
        )
        if len(scores):  # against rows that the model has not seen, as it has not seen the batch
            usual = scorer.predict(None, test)[SCORE]
            today = point_metrics(
                encode_labels(test, rules), usual.to_numpy(), scorer.threshold, p.evaluate.costs
            )
            name = free_name(SCORE, bins)
            bins[name] = fit_bins(usual)
            expected[name], actual[name] = bins[name].count(usual), bins[name].count(scores[SCORE])

        found = drifts(expected, actual, invalid, rows)
        later, at_training = {}, evaluation_record.registered_metrics(version)
        otherwise = (
            evaluation_record.metric_changes(at_training, today, COMPARED) if len(scores) else []
        )
        if options.labels and len(scores):
            known = customer_table.CustomerTable(options.labels, rules, [rules.id, rules.target])
            later = labelled(known, rules, scores, p, scorer.threshold)
        above = alarms(found, later, at_training, p.monitor)
        above += [] if len(scores) else ["no customer was scored: each one was rejected"]

        picture = Path(options.scores).with_suffix(".drift.png")
        worst = {
            name: (bins[name].labels, expected[name], actual[name]) for name in found.index[:6]
        }
        plots.draw_drift(worst).savefig(picture, dpi=100)
        for column in found:
            run_log.log_metrics(
                {f"{column}.{name}": value for name, value in found[column].items()}
            )
        mlflow.log_metrics({f"labelled.{name}": value for name, value in later.items()})
        mlflow.log_text(found.to_csv(), "drift.csv")
        mlflow.log_artifact(str(picture))
        mlflow.set_tag("alarms", "; ".join(above) or "none")

    print(table_text(found, later, at_training))
    against = f"{len(train):,} training rows of {version.name} version {version.version}"
    if otherwise:
        print(
            f"\nnote: on the same test split, today's code does not give what was recorded: {'; '.join(otherwise)}"
        )
    print(f"\n{rows:,} customers against {against}; {picture}")
    if above:
        print("alarm: " + "\nalarm: ".join(above), file=sys.stderr)
        sys.exit(4)


if __name__ == "__main__":
    run_command(main, explain_store_error)
