"""Score a table of customers with a registered model.

    python src/score.py customers.parquet scores.parquet
    python src/score.py s3://crm/customers.csv scores.parquet --alias staging --explain

Reads Parquet or CSV, a local path or any fsspec URL, in record batches; writes the id, the churn
probability and the decision at the model's threshold, and with --explain the three features that
move each customer's score most. Rows that break the model's contract go to scores.rejected.parquet
with their reasons: scored + rejected = read. Both files appear whole or not at all, and the same
input gives the same bytes. Logs a run to MLflow.

Exit code 3: more than --max-rejected (a share) of the rows were rejected.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from churn.console import run_command
from churn.data import csv_table, customer_table, output, rejection
from churn.data.arrow import arrow_schema
from churn.data.checks import duplicate_ids, pandera_schema
from churn.data.contract import Contract, free_name
from churn.errors import UserError
from churn.modeling.booster import feature_contributions
from churn.params import load_params
from churn.tracking import environment, git_state, logged_model, registry, runs, store
from churn.tracking.store_errors import explain_store_error

REASONS = 3  # features named a customer, fewer if the model has fewer
COUNTED = ("rows_read", "rows_scored", "rows_rejected", "rows_contacted")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Score a table of customers with a registered model."
    )
    parser.add_argument(
        "customers", help="Parquet or CSV; a path or a URL such as s3://bucket/customers.parquet"
    )
    parser.add_argument("scores", help="the Parquet file to write")
    parser.add_argument(
        "--alias", default="production", help="whose model scores (default: production)"
    )
    parser.add_argument(
        "--explain", action="store_true", help="add the three strongest reasons; far slower"
    )
    parser.add_argument(
        "--max-rejected", type=float, default=0.01, help="share of rejected rows (default: 0.01)"
    )
    return parser.parse_args()


def reasons(booster, frame: pd.DataFrame, rules: Contract) -> dict[str, np.ndarray]:
    """The features that move each customer's score most, the strongest first: reason_1 ("contract =
    One year") and contribution_1, what it adds to the log odds of churn (TreeSHAP), and so on; each
    of shape (rows,).
    """
    values = feature_contributions(booster, frame, rules).to_numpy()[:, :-1]  # less the bias
    strongest = np.argsort(-np.abs(values), axis=1, kind="stable")[:, :REASONS]
    texts = np.column_stack(
        [f"{column.name} = " + shown(frame[column.name], column.kind) for column in rules.features]
    )
    rows = np.arange(len(frame))
    columns = {}
    for place in range(strongest.shape[1]):
        which = strongest[:, place]
        columns |= {
            f"reason_{place + 1}": texts[rows, which],
            f"contribution_{place + 1}": values[rows, which],
        }
    return columns


def shown(values: pd.Series, kind: str) -> pd.Series:
    """Values as a reason names them."""
    known = values.notna()
    values = values.astype("boolean") if kind == "flag" else values
    return values.astype(str).where(known, "null")


def output_schema(rules: Contract, explain: bool) -> pa.Schema:
    """The columns of the scores."""
    columns = {"churn_probability": pa.float64(), "churn": pa.bool_()}
    for place in range(1, min(REASONS, len(rules.features)) + 1) if explain else ():
        columns |= {f"reason_{place}": pa.string(), f"contribution_{place}": pa.float32()}
    return pa.schema([(rules.id, arrow_schema(rules).field(rules.id).type), *columns.items()])


def ids(table: customer_table.CustomerTable, rules: Contract) -> Iterator[list]:
    """The ids of a table, a list a batch."""
    return (
        rejection.to_contract_types(part, rules)[0][rules.id].tolist()
        for part in table.batches([rules.id])
    )


def score(
    table: customer_table.CustomerTable,
    scorer,
    rules: Contract,
    explain: bool,
    paths: tuple,
    lineage: dict,
    advance,
) -> Counter:
    """Score a table into two Parquet files, of the scores and of the rejected rows.

    Args:
        paths: where to write the two.
        lineage: goes into the metadata of the scores, with the counts.
        advance: called with the number of rows of each batch.

    Returns:
        rows_read, rows_scored, rows_rejected, rows_contacted (at or above the threshold) and
        probability, their sum.
    """
    checks = pandera_schema(rules, without={rules.target})
    again = duplicate_ids(lambda: ids(table, rules))
    schema, counts = output_schema(rules, explain), Counter()
    number_name, reason_name = (free_name(name, table.schema.names) for name in ("row", "reason"))
    aside_schema = pa.schema([*table.schema, (number_name, pa.int64()), (reason_name, pa.string())])
    parsed = last = (
        0  # rows that came out of the file so far, and the number of the last of them in the file
    )
    with (
        pq.ParquetWriter(paths[0], schema) as scores,
        pq.ParquetWriter(paths[1], aside_schema) as rejected,
    ):

        def set_aside(rows: list[dict]) -> None:
            rejected.write_table(
                pa.Table.from_pylist(
                    sorted(rows, key=lambda row: row[number_name]), rejected.schema
                )
            )
            counts["rows_rejected"] += len(rows)

        def broken(after: int, until: float) -> list[dict]:
            return [
                {number_name: n, reason_name: why}
                for n, why in table.broken.items()
                if after < n <= until
            ]

        for part in table.batches():
            frame, faults = rejection.to_contract_types(part, rules)
            why = rejection.rejection_reasons(frame, checks, faults)
            for row in range(len(frame)) if again else ():
                if value := again.get(parsed + row + 1):
                    why[row] = "; ".join(
                        filter(None, [why.get(row), f"{rules.id}: duplicate id {value!r}"])
                    )
            number = customer_table.row_numbers(table, last, len(frame))
            aside = [
                {
                    **part.slice(row, 1).to_pylist()[0],
                    number_name: number[row],
                    reason_name: why[row],
                }
                for row in why
            ]
            set_aside(aside + broken(last, number[-1]))
            if len(good := frame.drop(index=list(why))):
                found = {**scorer.predict(None, good)}
                found |= reasons(scorer.booster, good, rules) if explain else {}
                ordered = [good[rules.id], *(found[name] for name in schema.names[1:])]
                arrays = [
                    pa.array(v, f.type, from_pandas=True)
                    for v, f in zip(ordered, schema, strict=True)
                ]
                scores.write_table(pa.Table.from_arrays(arrays, schema=schema))
                counts["rows_contacted"] += int(found["churn"].sum())
                counts["probability"] += float(found["churn_probability"].sum())
                counts["rows_scored"] += len(good)
            parsed, last = parsed + len(frame), number[-1]
            advance(len(frame))
        set_aside(broken(last, float("inf")))
        counts["rows_read"] = parsed + len(table.broken)
        lineage = {
            **lineage,
            **{key: counts[key] for key in ("rows_read", "rows_scored", "rows_rejected")},
        }
        scores.add_key_value_metadata({"churn_lineage": json.dumps(lineage)})
    return counts


def progress(rows: int | None):
    """A callback that shows the rows: a bar with rows a second on a terminal, a line every million
    in a log.
    """
    bar = tqdm(
        total=rows, unit=" rows", unit_scale=True, disable=not sys.stderr.isatty(), leave=False
    )
    done = Counter()

    def advance(count: int) -> None:
        bar.update(count)
        done["rows"] += count
        if bar.disable and done["rows"] // 1_000_000 > (done["rows"] - count) // 1_000_000:
            print(f"{done['rows']:,} rows", flush=True)

    return advance


def main() -> None:
    options, p = arguments(), load_params()
    aside = str(Path(options.scores).with_suffix(".rejected.parquet"))
    if csv_table.locate(options.customers)[1] in (
        csv_table.locate(options.scores)[1],
        csv_table.locate(aside)[1],
    ):
        raise UserError(
            f"{options.customers} is the table of customers; write the scores to another file"
        )
    for path in (options.scores, aside):
        output.check_writable(path)
    store.connect()
    version = registry.require_alias(p.registry.model, options.alias)
    what = f"{version.name} version {version.version}"
    scorer, rules = logged_model.load_scorer(version)
    table = customer_table.CustomerTable(
        options.customers, rules, [rules.id, *(column.name for column in rules.features)]
    )
    origin = {
        "model": version.name,
        "model_version": str(version.version),
        **{tag: version.tags[tag] for tag in ("model_md5", "schema_md5", "threshold")},
        "input_md5": customer_table.file_md5(options.customers),
    }
    with runs.open_run(
        "score",
        {"stage": "score", **git_state.code_tags(), **environment.environment_tags(), **origin},
    ):
        import mlflow

        start = time.monotonic()
        with (
            output.atomic_output(options.scores) as scores,
            output.atomic_output(aside) as rejected,
        ):
            counts = score(
                table,
                scorer,
                rules,
                options.explain,
                (scores, rejected),
                origin,
                progress(table.rows),
            )
        seconds = time.monotonic() - start
        mlflow.log_params(
            {"customers": options.customers, "scores": options.scores, "alias": options.alias}
        )
        mlflow.log_metrics(
            {name: counts[name] for name in COUNTED}
            | {"rows_per_second": counts["rows_read"] / seconds}
        )
        mlflow.set_tag("scores_md5", customer_table.file_md5(options.scores))

    read, refused = counts["rows_read"], counts["rows_rejected"]
    print(
        f"{read:,} customers read, {counts['rows_scored']:,} scored by {what}, {refused:,} rejected"
    )
    if counts["rows_scored"]:
        mean, share = (
            counts[key] / counts["rows_scored"] for key in ("probability", "rows_contacted")
        )
        print(
            f"mean churn probability {mean:.4f}; {share:.1%} at or above the threshold {scorer.threshold:.4f}"
        )
    if refused:
        print(f"{aside} says why each row was rejected")
    if refused > options.max_rejected * read:
        print(
            f"error: {refused / read:.2%} rejected, more than --max-rejected {options.max_rejected:g}",
            file=sys.stderr,
        )
        sys.exit(3)


if __name__ == "__main__":
    run_command(main, explain_store_error)
