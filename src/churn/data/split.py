"""Split a table into training, validation and test rows, by customer or by time.

By customer: customer_split.py. By time: time_split.py.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn import paths
from churn.data.arrow import arrow_schema
from churn.data.contract import Contract
from churn.data.customer_split import assign_splits
from churn.data.parquet import read_batches
from churn.data.time_split import cut_periods
from churn.data.validation import Findings, check_known_rules, check_labels, validated_batches
from churn.errors import UserError
from churn.params import Params, Split

SplitCounts = dict[str, Counter[str]]  # by split: rows, churned, and nulls.<column>


def write_splits(
    table: pq.ParquetFile, contract: Contract, params: Params, folder: Path
) -> tuple[SplitCounts, Findings]:
    """Validate a table and write its splits into `folder`, one batch of rows after another.

    Raises:
        UserError: every violation of the contract; or a split lacks one kind of customer.
    """
    check_known_rules(contract)
    check_labels(contract, params.data)
    schema = arrow_schema(contract)
    findings = Findings()
    counts: SplitCounts = {name: Counter() for name in paths.SPLITS}

    with contextlib.ExitStack() as stack:
        writers = {}
        for name, path in paths.SPLITS.items():
            writer = pq.ParquetWriter(folder / path.name, schema)
            writers[name] = stack.enter_context(writer)
        batches = validated_batches(table, contract, params.data.unlabelled, findings)
        if params.split.by == "time":
            path = folder / "validated.parquet"
            periods = _write_validated(batches, contract, path)
            if findings.violations:  # the periods may be those of some batches alone
                raise _broken_contract(findings)
            assigned = _assign_by_time(path, periods, contract, params.split)
        else:
            assigned = _assign_by_customer(batches, contract, params)
        for rows, splits in assigned:
            for name, writer in writers.items():
                part = rows.filter(splits == name)
                writer.write_table(part)
                counts[name].update(_count_rows(part, contract))

    if findings.violations:
        raise _broken_contract(findings)
    _check_both_classes(counts, contract)
    return counts, findings


def _broken_contract(findings: Findings) -> UserError:
    title = f"{paths.RAW} breaks its contract {paths.SCHEMA} (rows count from 1)"
    return UserError(f"{title}:\n{findings.violations}")


def _assign_by_customer(
    batches: Iterator[pa.Table], contract: Contract, params: Params
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Each batch with the splits of its rows, shape (rows,)."""
    for rows in batches:
        ids = rows[contract.id].to_pylist()
        shares = params.split
        yield rows, assign_splits(ids, params.seed, shares.valid, shares.test)


def _write_validated(batches: Iterator[pa.Table], contract: Contract, path: Path) -> np.ndarray:
    """Write the rows into a file, where they wait until it is known which periods there are.

    Returns:
        The different periods, in order, shape (periods,).
    """
    different: set[int] = set()
    with pq.ParquetWriter(path, arrow_schema(contract)) as writer:
        for rows in batches:
            writer.write_table(rows)
            different.update(_periods(rows, contract).tolist())
    return np.array(sorted(different))


def _assign_by_time(
    path: Path, periods: np.ndarray, contract: Contract, shares: Split
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Each batch of a file with the splits of its rows ("" in a gap), shape (rows,).

    Args:
        periods: the different ones, in order, shape (periods,).

    Raises:
        UserError: as `cut_periods`.
    """
    cuts = cut_periods(periods, shares.valid, shares.test, shares.gap)
    for batch in read_batches(pq.ParquetFile(path), arrow_schema(contract).names):
        rows = pa.Table.from_batches([batch])
        yield rows, cuts.assign(_periods(rows, contract))


def _periods(rows: pa.Table, contract: Contract) -> np.ndarray:
    """The period of each row as a whole number (a date in nanoseconds), shape (rows,)."""
    return np.asarray(rows[contract.time].cast(pa.int64()))


def _count_rows(rows: pa.Table, contract: Contract) -> Counter[str]:
    """The rows, the churned customers, and the nulls of each column that has some."""
    labels = rows[contract.target]
    positive = pa.scalar(contract.positive, labels.type)
    churned = pc.sum(pc.equal(labels, positive)).as_py()
    counts = Counter(rows=len(rows), churned=churned or 0)  # the sum of no rows is null
    for name in rows.column_names:
        if rows[name].null_count:
            counts[f"nulls.{name}"] = rows[name].null_count
    return counts


def _check_both_classes(counts: SplitCounts, contract: Contract) -> None:
    for name, count in counts.items():
        if not 0 < count["churned"] < count["rows"]:
            raise UserError(
                f"{paths.RAW}: the {name} split has {count['rows']} customers, {count['churned']} "
                f"of them with {contract.target} = {contract.positive!r}; a model needs customers "
                "of both kinds in each split"
            )
