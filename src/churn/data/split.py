"""Split a table into training, validation and test rows, by customer or by time.

By customer: customer_split.py. By time: time_split.py.
"""

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn import paths
from churn.data.arrow import arrow_schema
from churn.data.contract import Contract
from churn.data.customer_split import assign_splits
from churn.data.origins import backtest_faults
from churn.data.parquet import read_batches
from churn.data.project_contract import listed_faults, parameter_faults
from churn.data.time_split import cut_periods, describe_periods
from churn.data.validation import Findings, check_known_rules, check_labels, validated_batches
from churn.errors import UserError, amount
from churn.params import Params, Split

SplitCounts = dict[str, Counter[str]]  # by split: rows, churned, and nulls.<column>


def write_splits(
    table: pq.ParquetFile, contract: Contract, params: Params, folder: Path
) -> tuple[SplitCounts, Findings]:
    """Validate a table and write its splits into `folder`, one batch of rows after another.

    Raises:
        UserError: everything that is wrong, in one message: violations of the contract; names in
            params.yaml that the contract does not have, also those that a later stage uses; a
            split that lacks one kind of customer; a backtest for which there are too few periods.
    """
    unfit = parameter_faults(params, contract)
    try:
        counts, findings = _write_splits(table, contract, params, folder)
    except UserError as error:
        if not unfit:
            raise
        raise UserError(f"{error}\n{listed_faults(unfit)}") from None

    if contract.time is not None and params.evaluate.backtest is not None:
        unfit += _backtest_faults(contract, params, folder)
    if unfit:
        raise UserError(listed_faults(unfit))
    return counts, findings


def _write_splits(
    table: pq.ParquetFile, contract: Contract, params: Params, folder: Path
) -> tuple[SplitCounts, Findings]:
    check_known_rules(contract)
    check_labels(contract, params.data)
    findings = Findings()
    batches = validated_batches(table, contract, params.data.unlabelled, findings)
    if params.split.by == "time":
        assigned = _assign_by_time(batches, findings, contract, params.split, folder)
    else:
        assigned = _assign_by_customer(batches, contract, params)
    counts = _write_parts(assigned, contract, folder)

    if findings.violations:
        title = f"{paths.RAW} breaks its contract {paths.SCHEMA} (rows count from 1)"
        raise UserError(f"{title}:\n{findings.violations}")
    faults = _faults_of_splits(counts, contract, params, folder)
    if faults:
        raise UserError("\n".join(faults))
    return counts, findings


def _write_parts(
    assigned: Iterator[tuple[pa.Table, np.ndarray]], contract: Contract, folder: Path
) -> SplitCounts:
    """Write each row into the file of its split."""
    schema = arrow_schema(contract)
    counts: SplitCounts = {name: Counter() for name in paths.SPLITS}
    with contextlib.ExitStack() as stack:
        writers = {}
        for name, path in paths.SPLITS.items():
            writer = pq.ParquetWriter(folder / path.name, schema)
            writers[name] = stack.enter_context(writer)
        for rows, splits in assigned:
            for name, writer in writers.items():
                part = rows.filter(splits == name)
                writer.write_table(part)
                counts[name].update(_count_rows(part, contract))
    return counts


def _backtest_faults(contract: Contract, params: Params, folder: Path) -> list[str]:
    """What keeps the splits in a folder from the backtest that params.yaml asks for."""
    columns = [contract.time, contract.target]
    parts = [pd.read_parquet(folder / path.name, columns=columns) for path in paths.SPLITS.values()]
    rows = pd.concat(parts)
    has_churned = (rows[contract.target] == contract.positive).to_numpy()
    return backtest_faults(rows[contract.time], has_churned, params)


def _assign_by_customer(
    batches: Iterator[pa.Table], contract: Contract, params: Params
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Each batch with the splits of its rows, shape (rows,)."""
    for rows in batches:
        ids = rows[contract.id].to_pylist()
        shares = params.split
        yield rows, assign_splits(ids, params.seed, shares.valid, shares.test)


def _assign_by_time(
    batches: Iterator[pa.Table],
    findings: Findings,
    contract: Contract,
    shares: Split,
    folder: Path,
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    """Each batch with the splits of its rows ("" in a gap), shape (rows,).

    The rows wait in a file of the folder until it is known which periods there are.

    Args:
        findings: of the batches. With a violation nothing is yielded: only the batches before it
            were seen, so that not every period is known.

    Raises:
        UserError: as `cut_periods`.
    """
    path = folder / "validated.parquet"
    periods = _write_validated(batches, contract, path)
    if findings.violations:
        return
    cuts = cut_periods(periods, shares.valid, shares.test, shares.gap)
    for batch in read_batches(pq.ParquetFile(path), arrow_schema(contract).names):
        rows = pa.Table.from_batches([batch])
        yield rows, cuts.assign(_periods(rows, contract))


def _write_validated(batches: Iterator[pa.Table], contract: Contract, path: Path) -> np.ndarray:
    """Write the rows into a file.

    Returns:
        The different periods, in order, shape (periods,).
    """
    different: set[int] = set()
    with pq.ParquetWriter(path, arrow_schema(contract)) as writer:
        for rows in batches:
            writer.write_table(rows)
            different.update(_periods(rows, contract).tolist())
    return np.array(sorted(different))


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


def _faults_of_splits(
    counts: SplitCounts, contract: Contract, params: Params, folder: Path
) -> list[str]:
    """The splits that have one kind of customer alone, with what to change."""
    faults = []
    for name, count in counts.items():
        if 0 < count["churned"] < count["rows"]:
            continue
        where, noun = name, contract.row_noun
        way_out = f"a model needs {noun}s of both kinds in each split"
        if params.split.by == "time":
            periods = pd.read_parquet(folder / paths.SPLITS[name].name, columns=[contract.time])
            where = f"{name} ({describe_periods(periods[contract.time])})"
            change = f"choose a larger split.{name}, or leave out periods without known labels"
            if name == "train":
                change = "choose a smaller split.valid or split.test, or add earlier periods"
            way_out += f": {change}"
        faults.append(
            f"{paths.RAW}: the {where} split has {amount(count['rows'], noun)}, "
            f"{count['churned']:,} of them with {contract.target} = {contract.positive!r}; "
            f"{way_out}"
        )
    return faults
