"""Validate the raw table against its contract and split it by customer.

    python src/preprocess.py    (as a stage: dvc repro preprocess)

Reads data/raw.parquet and data/schema.yaml; writes data/prepared/{train,valid,test}.parquet; logs a run to MLflow.
A table that breaks its contract is refused with every violation in one message, and nothing is written.
"""

import contextlib
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn import contract, leftovers, lineage, params, tracking, validation
from churn.errors import UserError, run


def assign(ids: list, seed: int, shares: params.Split) -> np.ndarray:
    """The split ("train", "valid" or "test") of each customer: a keyed hash of the id, the seed being the key.

    A customer keeps its split when the table grows or is reordered, and no shuffle is needed. BLAKE2b with a key:
    RFC 7693.
    """
    key = str(seed).encode()
    hashes = (hashlib.blake2b(str(id).encode(), key=key, digest_size=8).digest() for id in ids)
    place = np.fromiter((int.from_bytes(h, "big") / 2**64 for h in hashes), float, len(ids))
    return np.select([place < shares.test, place < shares.test + shares.valid], ["test", "valid"], "train")


def split(table: pq.ParquetFile, rules: contract.Contract, p: params.Params, folder: Path) -> tuple:
    """Validate a table and write its splits into `folder`, a record batch at a time.

    Returns:
        For each split: rows, churned customers, and nulls per column ("nulls.<column>"); and validation.Findings.

    Raises:
        UserError: every violation of the contract, at the end of the table.
    """
    validation.check_rules(rules)
    validation.check_negatives(rules, p.data)
    schema, findings = contract.arrow_schema(rules), validation.Findings()
    positive = pa.scalar(rules.positive, schema.field(rules.target).type)
    counts = {name: Counter() for name in lineage.SPLITS}
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(pq.ParquetWriter(folder / path.name, schema))
            for name, path in lineage.SPLITS.items()
        }
        for rows in validation.checked_batches(table, rules, p.data.unlabelled, findings):
            where = assign(rows[rules.id].to_pylist(), p.seed, p.split)
            for name, writer in writers.items():
                part = rows.filter(where == name)
                writer.write_table(part)
                churned = pc.sum(pc.equal(part[rules.target], positive)).as_py() or 0
                counts[name].update(rows=len(part), churned=churned)
                counts[name].update({f"nulls.{c}": part[c].null_count for c in schema.names if part[c].null_count})
    if findings.violations.found:
        broken = f"{lineage.RAW} breaks its contract {lineage.SCHEMA} (rows count from 1)"
        raise UserError(f"{broken}:\n{findings.violations}")
    for name, count in counts.items():
        if not 0 < count["churned"] < count["rows"]:
            raise UserError(
                f"{lineage.RAW}: the {name} split has {count['rows']} customers, {count['churned']} of them with "
                f"{rules.target} = {rules.positive!r}; a model needs customers of both kinds in each split"
            )
    return counts, findings


def log(counts: dict[str, Counter], findings: validation.Findings, rules: contract.Contract) -> None:
    """Note in the active run, and print, how many customers each split and each label has."""
    import mlflow

    labels = findings.describe(rules)
    mlflow.set_tag("labels", labels[:5000])
    print(labels)
    numbers = {"unlabelled": findings.unlabelled(rules)}
    for name, count in counts.items():
        rate = count["churned"] / count["rows"]
        numbers |= {f"{name}.{what}": number for what, number in count.items()} | {f"{name}.churn_rate": rate}
        print(f"{name:>5}: {count['rows']:,} customers, {rate:.1%} churned")
    tracking.log_numbers(numbers)


def main() -> None:
    p = params.load()
    rules = contract.load(lineage.SCHEMA, p.data.id, p.data.target, p.data.positive)
    tags = lineage.tags("preprocess")
    tracking.note_executed("preprocess")
    with tracking.run("preprocess", tags):
        import mlflow

        with leftovers.scratch(Path("data"), ".prepared-") as folder:
            counts, findings = split(contract.open_table(lineage.RAW), rules, p, folder)
            lineage.verify(tags)
            for path in lineage.SPLITS.values():
                path.parent.mkdir(exist_ok=True)
                (folder / path.name).replace(path)
        mlflow.log_params(params.flatten(p.model_dump()))
        tracking.log_data(lineage.RAW, lineage.md5(lineage.RAW), "raw", "preprocessing")
        log(counts, findings, rules)


if __name__ == "__main__":
    run(main)
