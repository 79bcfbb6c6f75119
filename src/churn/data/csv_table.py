"""The one reader of CSV tables, for a project's first table, scoring, labels and drift.

Every cell is a text or null. Types are decided elsewhere: by csv_types.py when a project is made,
by the contract ever after.
"""

import csv
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

from churn.data.urls import bucket_errors, locate
from churn.errors import UserError

BLOCK_BYTES = 16 * 2**20  # parsed at once: no line may be longer
LONGEST_HEADER = 2**20  # bytes
LONGEST_REASON = 500  # characters

# The tokens that pandas takes for a null.
NULLS = (
    "",
    "NA",
    "N/A",
    "n/a",
    "#N/A",
    "#N/A N/A",
    "#NA",
    "<NA>",
    "NaN",
    "nan",
    "-NaN",
    "-nan",
    "NULL",
    "null",
    "1.#IND",
    "-1.#IND",
    "1.#QNAN",
    "-1.#QNAN",
)

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}  # other than commas

# pyarrow's message on a line that has not as many cells as the header.
UNEVEN_LINE = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)")
# What fsspec, decompression, the csv module and pyarrow raise on a file that cannot be read.
READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    lzma.LZMAError,
    csv.Error,
    pa.ArrowException,
)

BrokenLineHandler = Callable[[Any], str]  # takes pyarrow's InvalidRow, gives "skip" or "error"


@contextmanager
def opened(url: str, compression: str | None = None) -> Iterator[Any]:
    """Open the file behind a path or URL for reading.

    Args:
        compression: as fsspec takes it: "infer" to go by the name of the file.

    Raises:
        UserError: it does not exist, or cannot be read.
    """
    file_system, path = locate(url)
    try:
        with (
            bucket_errors(url, "read"),
            file_system.open(path, "rb", compression=compression) as file,
        ):
            yield file
    except IsADirectoryError:
        raise UserError(f"{url} is a folder; name a Parquet or CSV file") from None
    except FileNotFoundError:
        raise UserError(f"{url} does not exist") from None
    except READ_ERRORS as error:
        raise UserError(_read_error(url, error)) from None


def header(url: str) -> list[str]:
    """The column names of a CSV.

    Raises:
        UserError: the file cannot be read, is not UTF-8, or has other separators than commas.
    """
    with opened(url, compression="infer") as file:
        head = file.read(LONGEST_HEADER)
        if len(head) == LONGEST_HEADER:
            head, newline, _ = head.rpartition(b"\n")
            if not newline:
                raise UserError(
                    f"{url}: its first line has more than {LONGEST_HEADER:,} bytes; is this no CSV?"
                )
        text = io.StringIO(head.decode("utf-8-sig"), newline="")
        names = next(csv.reader(text), [])

    for separator, name in SEPARATORS.items():
        if len(names) == 1 and separator in names[0]:
            raise UserError(
                f"{url}: its cells are separated by {name}; write it with commas (and 1.5, not 1,5)"
            )
    return names


def batches(
    url: str,
    columns: list[str],
    nulls: Sequence[str] = NULLS,
    on_broken_line: BrokenLineHandler | None = None,
) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV in order, some of its columns, each cell a text or null.

    Args:
        nulls: the cells that are null.
        on_broken_line: called with a line that has not as many cells as the header.

    Raises:
        UserError: the file cannot be read, or has a quote that is never closed.
    """
    rows = 1  # with the header

    def count_broken_line(line: Any) -> str:
        nonlocal rows
        rows += 1
        return on_broken_line(line) if on_broken_line else "error"

    with opened(url, compression="infer") as file:
        lines = _LineCounter(file)
        try:
            handler = count_broken_line if on_broken_line else None
            with _open_reader(lines, columns, nulls, handler) as reader:
                for batch in reader:
                    rows += len(batch)
                    if len(batch):
                        yield batch
        except pa.ArrowInvalid as error:
            if "CSV parse error" in str(error):
                _check_quotes(
                    url
                )  # an open quote may be the reason, and then its message is better
            raise
    if lines.count > rows:  # a row that runs over several lines
        _check_quotes(url)


def _read_error(url: str, error: Exception) -> str:
    """Say why a file cannot be read, and what to do."""
    text = str(error)
    if isinstance(error, UnicodeDecodeError) or "invalid UTF8" in text:
        return f"{url} is not UTF-8; save it again as UTF-8 (in a spreadsheet: `CSV UTF-8`)"
    if "straddling" in text:
        return (
            f"{url} has a line of more than {BLOCK_BYTES >> 20} MiB; is a quote not closed, or is "
            "this no CSV?"
        )
    uneven = UNEVEN_LINE.search(text)
    if uneven:
        line, wanted, found, content = uneven.groups()
        return (
            f"{url} cannot be read: line {line} has {found} cells, the header {wanted}: "
            f"{content[:200]}\n  is the first line the header, and a cell with a comma in quotes?"
        )
    return f"{url} cannot be read: {text[:LONGEST_REASON]}"


def _open_reader(
    file: io.RawIOBase, columns: list[str], nulls: Sequence[str], handler: BrokenLineHandler | None
) -> pyarrow.csv.CSVStreamingReader:
    return pyarrow.csv.open_csv(
        file,
        # Only without threads does pyarrow number the lines.
        pyarrow.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        pyarrow.csv.ParseOptions(invalid_row_handler=handler, newlines_in_values=True),
        pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=columns,
            null_values=list(nulls),
            strings_can_be_null=True,
        ),
    )


class _LineCounter(io.RawIOBase):
    """A file that counts the lines that were read of it, without the empty ones."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.ended = 0
        self.last = b"\n"

    @property
    def count(self) -> int:
        """The lines so far, with a last one that has no end."""
        return self.ended + (self.last != b"\n")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content: bytes = self.file.read(size)
        is_newline = np.frombuffer(self.last + content, np.uint8) == ord("\n")
        # Of several newlines in a row, the first ends a line and the others are empty lines.
        self.ended += int(np.sum(is_newline[1:] & ~is_newline[:-1]))
        self.last = content[-1:] or self.last
        return content


def _check_quotes(url: str) -> None:
    """Refuse a CSV with a quote that is never closed.

    It makes one cell of all the lines up to the next quote, and the customers in between would be
    lost. A quoted cell that is closed may run over several lines.

    Raises:
        UserError: with the line on which that row begins.
    """
    csv.field_size_limit(BLOCK_BYTES)
    with opened(url, compression="infer") as file:
        rows = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
        first_line = 1
        try:
            for _ in rows:
                first_line = rows.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{url}, line {first_line}: a cell runs over several lines ({error}); close the "
                "quote, and double one that belongs to a text"
            ) from None
