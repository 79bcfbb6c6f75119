"""Validate the raw table against its contract and split it by customer.

    python src/preprocess.py    (as a stage: dvc repro preprocess)

Reads data/raw.parquet and data/schema.yaml; writes data/prepared/{train,valid,test}.parquet; logs a run to MLflow.
A table that breaks its contract is refused with every violation in one message, and nothing is written.
"""

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn import contract, lineage, params, tracking
from churn.errors import UserError, run

BATCH_ROWS = 65_536


def assign(ids: list, seed: int, shares: params.Split) -> np.ndarray:
    """The split ("train", "valid" or "test") of each customer: a keyed hash of the id, the seed being the key.

    A customer keeps its split when the table grows or is reordered, and no shuffle is needed. BLAKE2b with a key:
    RFC 7693.
    """
    key = str(seed).encode()
    hashes = (hashlib.blake2b(str(id).encode(), key=key, digest_size=8).digest() for id in ids)
    place = np.fromiter((int.from_bytes(h, "big") / 2**64 for h in hashes), float, len(ids))
    return np.select([place < shares.test, place < shares.test + shares.valid], ["test", "valid"], "train")


def split(table: pq.ParquetFile, rules: contract.Contract, p: params.Params, folder: Path) -> dict[str, Counter]:
    """Validate a table and write its splits into `folder`, a record batch at a time.

    Returns:
        For each split: rows, churned customers, and nulls a column ("nulls.<column>").

    Raises:
        UserError: every violation of the contract, at the end of the table.
    """
    violations = contract.check_columns(rules, table.schema_arrow)
    checks = contract.row_checks(rules, without={column for column, _ in violations.found})
    schema = contract.arrow_schema(rules)
    writers = {name: pq.ParquetWriter(folder / path.name, schema) for name, path in lineage.SPLITS.items()}
    counts = {name: Counter() for name in writers}
    first_row = 1
    checked = pa.schema([schema.field(name) for name in checks.columns])
    for batch in table.iter_batches(BATCH_ROWS, columns=checked.names):
        rows = pa.Table.from_batches([batch]).select(checked.names).cast(checked)
        contract.check_rows(checks, rows, first_row, violations)
        first_row += len(rows)
        if violations.found:
            continue  # nothing will be kept: only go on looking for violations
        where = assign(rows[rules.id].to_pylist(), p.seed, p.split)
        for name, writer in writers.items():
            part = rows.filter(where == name)
            writer.write_table(part)
            churned = pc.sum(pc.equal(part[rules.target], pa.scalar(rules.positive, schema.field(rules.target).type)))
            counts[name].update(rows=len(part), churned=churned.as_py() or 0)
            counts[name].update({f"nulls.{c}": part[c].null_count for c in schema.names if part[c].null_count})
    for writer in writers.values():
        writer.close()

    def ids() -> Iterator[list]:
        return (batch[0].to_pylist() for batch in table.iter_batches(BATCH_ROWS, columns=[rules.id]))

    if rules.id in checks.columns and (again := contract.duplicates(ids)):
        violations.add(rules.id, "duplicate id", again, again.values())
    if violations.found:
        raise UserError(f"{lineage.RAW} breaks its contract {lineage.SCHEMA} (rows count from 1):\n{violations}")
    for name, count in counts.items():
        if not 0 < count["churned"] < count["rows"]:
            raise UserError(
                f"{lineage.RAW}: the {name} split has {count['rows']} customers, {count['churned']} of them with "
                f"{rules.target} = {rules.positive!r}; a model needs customers of both kinds in each split"
            )
    return counts


def main() -> None:
    p = params.load()
    rules = contract.load(lineage.SCHEMA, p.data.id, p.data.target, p.data.positive)
    tags = lineage.tags("preprocess")
    tracking.note_executed("preprocess")
    with tracking.run("preprocess", tags):
        import mlflow

        with tempfile.TemporaryDirectory(dir="data", prefix=".prepared-") as folder:
            counts = split(contract.open_table(lineage.RAW), rules, p, Path(folder))
            lineage.verify(tags)
            for path in lineage.SPLITS.values():
                path.parent.mkdir(exist_ok=True)
                (Path(folder) / path.name).replace(path)
        mlflow.log_params(params.flatten(p.model_dump()))
        tracking.log_data(lineage.RAW, lineage.md5(lineage.RAW), "raw", "preprocessing")
        for name, count in counts.items():
            mlflow.log_metrics({f"{name}.{what}": number for what, number in count.items()})
            mlflow.log_metric(f"{name}.churn_rate", count["churned"] / count["rows"])
            print(f"{name:>5}: {count['rows']:,} customers, {count['churned'] / count['rows']:.1%} churned")


if __name__ == "__main__":
    run(main)
