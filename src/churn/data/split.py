"""Split a table into training, validation and test rows by customer."""

import contextlib
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn import paths
from churn.data.arrow import arrow_schema
from churn.data.contract import Contract
from churn.data.validation import Findings, check_known_rules, check_labels, validated_batches
from churn.errors import UserError
from churn.params import Params, Split


def assign_splits(ids: list, seed: int, shares: Split) -> np.ndarray:
    """The split ("train", "valid" or "test") of each customer: a keyed hash of the id, the seed
    being the key.

    A customer keeps its split when the table grows or is reordered, and no shuffle is needed.
    BLAKE2b with a key: RFC 7693.
    """
    key = str(seed).encode()
    hashes = (hashlib.blake2b(str(id).encode(), key=key, digest_size=8).digest() for id in ids)
    place = np.fromiter((int.from_bytes(h, "big") / 2**64 for h in hashes), float, len(ids))
    return np.select(
        [place < shares.test, place < shares.test + shares.valid], ["test", "valid"], "train"
    )


def write_splits(table: pq.ParquetFile, rules: Contract, p: Params, folder: Path) -> tuple:
    """Validate a table and write its splits into `folder`, a record batch at a time.

    Returns:
        For each split: rows, churned customers, and nulls per column ("nulls.<column>"); and
            validation.Findings.

    Raises:
        UserError: every violation of the contract, at the end of the table.
    """
    check_known_rules(rules)
    check_labels(rules, p.data)
    schema, findings = arrow_schema(rules), Findings()
    positive = pa.scalar(rules.positive, schema.field(rules.target).type)
    counts = {name: Counter() for name in paths.SPLITS}
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(pq.ParquetWriter(folder / path.name, schema))
            for name, path in paths.SPLITS.items()
        }
        for rows in validated_batches(table, rules, p.data.unlabelled, findings):
            where = assign_splits(rows[rules.id].to_pylist(), p.seed, p.split)
            for name, writer in writers.items():
                part = rows.filter(where == name)
                writer.write_table(part)
                churned = pc.sum(pc.equal(part[rules.target], positive)).as_py() or 0
                counts[name].update(rows=len(part), churned=churned)
                counts[name].update(
                    {f"nulls.{c}": part[c].null_count for c in schema.names if part[c].null_count}
                )
    if findings.violations.found:
        broken = f"{paths.RAW} breaks its contract {paths.SCHEMA} (rows count from 1)"
        raise UserError(f"{broken}:\n{findings.violations}")
    for name, count in counts.items():
        if not 0 < count["churned"] < count["rows"]:
            raise UserError(
                f"{paths.RAW}: the {name} split has {count['rows']} customers, {count['churned']} of them with "
                f"{rules.target} = {rules.positive!r}; a model needs customers of both kinds in each split"
            )
    return counts, findings
