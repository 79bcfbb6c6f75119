"""Customer tables read and written a record batch at a time: Parquet or CSV, a local path or any fsspec URL.

What is read is judged row by row against the contract: a row that breaks it is set aside with its reasons, and the
others go on.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from churn import contract, csv_table
from churn.contract import Contract
from churn.csv_table import locate, opened
from churn.errors import UserError, short

ROWS = 65_536  # of a batch
FLAGS = {"true": True, "false": False, "1": True, "0": False}


def md5(url: str) -> str:
    """The md5 of a file's bytes, wherever it lies."""
    with opened(url) as file:
        return hashlib.file_digest(file, "md5").hexdigest()


class Table:
    """Some columns of a Parquet file, or of a CSV (a name with .csv in it, compressed or not, in UTF-8): `schema`.

    Columns that are not wanted are passed over. Of a CSV every cell is a text until it is judged, or null (csv_table.NULLS).

    Raises:
        UserError: the file cannot be read, is empty, or lacks a column or has one of another type, all in one message.
    """

    def __init__(self, url: str, rules: Contract, wanted: list[str]):
        self.url, self.rules, self.wanted = url, rules, wanted
        self.is_csv = ".csv" in url.rsplit("/", 1)[-1].lower()
        self.broken: dict[int, str] = {}  # row number: why no row can be made of that line of a CSV
        self.rows = None  # known beforehand of a Parquet file only
        if self.is_csv:
            schema = pa.schema((name, pa.string()) for name in csv_table.header(url))
        else:
            with opened(url) as file, pq.ParquetFile(file) as table:
                schema, self.rows = table.schema_arrow, table.metadata.num_rows
        found = contract.check_columns(rules, schema).found
        faults = contract.Violations(
            {
                (name, rule): entry
                for (name, rule), entry in found.items()
                if name in wanted and not (self.is_csv and rule.startswith("must be"))
            }
        )
        if faults.found:
            raise UserError(f"{url} does not fit the model's contract:\n{faults}")
        self.schema = pa.schema(pa.field(name, pa.string()) if self.is_csv else schema.field(name) for name in wanted)
        empty = not (any(len(part) for part in self.batches()) or self.broken) if self.is_csv else self.rows == 0
        if empty:
            raise UserError(f"{url} is empty: it has no rows")

    def batches(self, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Its rows in order. Lines of a CSV that are no row come into `broken`, before the batch around them."""
        columns = columns or self.wanted
        if not self.is_csv:
            with opened(self.url) as file:
                # A pre-buffered file would stay in memory until it is closed.
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(ROWS, columns=columns):
                    yield batch.select(columns)  # of columns a and a.b, pyarrow reads both when asked for a
            return
        self.broken = {}
        allowed = {name: set(self.rules.columns[name].allowed).intersection(csv_table.NULLS) for name in columns}
        kept = set().union(*allowed.values())  # what the contract lists is a value, also NA
        nulls = tuple(token for token in csv_table.NULLS if token not in kept)
        for batch in csv_table.batches(self.url, columns, nulls, self._set_aside):
            for place, name in enumerate(columns if kept else ()):
                null = pc.is_in(batch[name], pa.array(sorted(kept - allowed[name]), pa.string()))
                batch = batch.set_column(place, name, pc.if_else(null, pa.scalar(None, pa.string()), batch[name]))
            yield batch

    def _set_aside(self, line) -> str:
        cells = f"the line has {line.actual_columns} cells, the header {line.expected_columns}"
        self.broken[line.number - 1] = f"{cells}: {line.text}"
        return "skip"


def numbers(table: Table, start: int, count: int) -> np.ndarray:
    """The row numbers (from 1) of the next `count` rows after row `start`, past the broken lines."""
    ahead = np.arange(start + 1, start + 1 + count + len(table.broken))
    return ahead[~np.isin(ahead, list(table.broken))][:count]


def typed(batch: pa.RecordBatch, rules: Contract) -> tuple[pd.DataFrame, dict[tuple[int, str], str]]:
    """A batch in the contract's types, and what could not be brought into them: {(row, column): reason}, that cell
    then being null. Rows count from 0."""
    schema, faults, columns = contract.arrow_schema(rules), {}, {}
    for name in batch.schema.names:
        values, target = batch[name], schema.field(name).type
        try:
            is_text = contract.kind_of(values.type) == "text" and not pa.types.is_string(target)
            values = values if is_text else contract.converted(values, target)
        except pa.ArrowInvalid:  # an id that is no 64-bit number: which one, its text will show
            is_text = True
        if is_text:
            texts = [None if value is None else str(value) for value in values.to_pylist()]
            if rules.columns[name].kind == "flag":
                parse, kind = _flag, "true or false"
            elif pa.types.is_integer(target):  # an id
                parse, kind = _whole, "a whole number"
            else:
                parse, kind = _number, "a number"
            parsed = [None if text is None else parse(text) for text in texts]
            for row in (row for row, value in enumerate(parsed) if value is None and texts[row] is not None):
                faults[row, name] = f"{short(texts[row])} is not {kind}"
            values = pa.array(parsed, pa.bool_()).cast(target) if parse is _flag else pa.array(parsed, target)
        columns[name] = values
    frame = pa.table(columns).to_pandas()
    if rules.id in columns and pa.types.is_integer(schema.field(rules.id).type):
        # Beside a null, pandas would make floats of the other ids: above 2**53, other ids.
        ids = pa.table({rules.id: columns[rules.id]})
        frame[rules.id] = ids.to_pandas(integer_object_nulls=True)[rules.id]
    return frame, faults


def _flag(text: str) -> bool | None:
    return FLAGS.get(text.strip().lower())


def _number(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None  # Python's 1_000 is nobody's number
    except ValueError:
        return None


def _whole(text: str) -> int | None:
    """An id as a 64-bit number, digit by digit; also 7.0, as pandas writes it where the column has a null."""
    digits, _, fraction = text.strip().partition(".")
    if not re.fullmatch(r"[+-]?[0-9]{1,40}", digits) or fraction.strip("0"):
        return None
    return int(digits) if -(2**63) <= int(digits) < 2**63 else None


def judge(frame: pd.DataFrame, checks, faults: dict[tuple[int, str], str]) -> dict[int, str]:
    """{row: reasons} of the rows that break the contract; rows count from 0.

    Args:
        frame, faults: what `typed` made.
        checks: contract.row_checks of the same columns.
    """
    reasons: dict[int, list[str]] = {}
    for (row, column), reason in faults.items():
        reasons.setdefault(row, []).append(f"{column}: {reason}")
    found = contract.failures(checks, frame)
    for row, column, rule, value in zip(found["row"], found["column"], found["rule"], found["value"], strict=True):
        if (row, column) not in faults:
            what = rule if rule == contract.NULL else f"{short(value)} breaks {rule}"
            reasons.setdefault(int(row), []).append(f"{column}: {what}")
    return {row: "; ".join(reasons[row]) for row in sorted(reasons)}


def _part(url: str) -> tuple[object, str, Path, bool]:
    """Where a file is written before it becomes `url`: file system, path, the part, whether it is local.

    Raises:
        UserError: a local path is a folder, or lies in a folder that does not exist or takes no files.
    """
    fs, path = locate(url)
    local = "file" in (fs.protocol if isinstance(fs.protocol, tuple) else (fs.protocol,))
    folder = Path(path).parent if local else Path(tempfile.gettempdir())
    if not folder.is_dir():
        raise UserError(f"{url}: the folder {folder} does not exist")
    if local and Path(path).is_dir():
        raise UserError(f"{url} is a folder; name a file to write")
    part = folder / f".{Path(path).name}.{os.getpid()}.part"
    try:
        part.touch()
    except OSError as error:
        raise UserError(f"{url} cannot be written: {error.strerror}") from None
    return fs, path, part, local


def check_writable(url: str) -> None:
    """Refuse before the work what could not be written after it (UserError)."""
    _part(url)[2].unlink()


@contextmanager
def written(url: str) -> Iterator[Path]:
    """A path to write to; what stands there at the end becomes the file, in one step. After an error, or a killed
    process, the file is what it was before.

    A local file is written beside and renamed, one elsewhere is uploaded whole.
    """
    fs, path, part, local = _part(url)
    try:
        yield part
        part.replace(path) if local else fs.put_file(str(part), path)
    finally:
        part.unlink(missing_ok=True)
