"""The one reader of CSV tables: for intake, scores, labels and drift. Every cell is a text or null.

Types are decided elsewhere: by `inferred` when a project is made, by the contract ever after.
"""

import csv
import io
import lzma
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from churn.errors import UserError, short

BLOCK = 16 * 2**20  # bytes that are parsed at once: no line may be longer
LONGEST_HEADER = 2**20
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
)
NULLS += ("1.#IND", "-1.#IND", "1.#QNAN", "-1.#QNAN")

# A number that comes back as it was: no leading zero, no plus sign, no code such as 1e5. Beyond 15
# digits a double would change it.
PLAIN = r"-?(0|[1-9][0-9]{0,14})?(\.[0-9]+)?"
WRITTEN = r"-?[0-9](\.[0-9]+)?e[+-][0-9]{2,3}"  # as programs write small and large doubles
NUMBER = re.compile(rf" *({PLAIN}|{WRITTEN}) *")
WHOLE = r"^ *-?[0-9]+ *$"
UNEVEN = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)")  # in pyarrow's words
FLAGS = {"true", "false", "True", "False", "TRUE", "FALSE"}


def locate(url: str):
    """The fsspec file system of a path or URL, and the path in it.

    Raises:
        UserError: nothing that is installed opens such a URL.
    """
    try:
        return fsspec.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UserError(f"{url}: {error}") from None


@contextmanager
def opened(url: str, **how):
    """The file behind a path or URL; what goes wrong while it is read is the user's to mend."""
    fs, path = locate(url)
    try:
        with fs.open(path, "rb", **how) as file:
            yield file
    except IsADirectoryError:
        raise UserError(f"{url} is a folder; name a Parquet or CSV file") from None
    except FileNotFoundError:
        raise UserError(f"{url} does not exist") from None
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        lzma.LZMAError,
        csv.Error,
        pa.ArrowException,
    ) as error:
        raise UserError(_reason(url, error)) from None


def _reason(url: str, error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError) or "invalid UTF8" in str(error):
        return f"{url} is not UTF-8; save it again as UTF-8 (in a spreadsheet: `CSV UTF-8`)"
    if "straddling" in str(error):
        return f"{url} has a line of more than {BLOCK >> 20} MiB; is a quote not closed, or is this no CSV?"
    if cells := UNEVEN.search(str(error)):
        line, wanted, found, text = cells.groups()
        why = f"line {line} has {found} cells, the header {wanted}: {text[:200]}"
        ask = "is the first line the header, and a cell with a comma in quotes?"
        return f"{url} cannot be read: {why}\n  {ask}"
    return f"{url} cannot be read: {str(error)[:500]}"


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
        names = next(csv.reader(io.StringIO(head.decode("utf-8-sig"), newline="")), [])
    for separator, called in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(names) == 1 and separator in names[0]:
            raise UserError(
                f"{url}: its cells are separated by {called}; write it with commas (and 1.5, not 1,5)"
            )
    return names


def batches(
    url: str, columns: list[str], nulls: tuple = NULLS, broken: Callable | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a CSV in order, some of its columns, each cell a text or null; no batch is empty.

    Args:
        nulls: the cells that are null.
        broken: called with a line that is no row (pyarrow's InvalidRow); its answer is "skip" or
            "error".
    """
    rows = 1  # with the header

    def is_no_row(line) -> str:
        nonlocal rows
        rows += 1
        return broken(line)

    with opened(url, compression="infer") as file:
        lines = _Lines(file)
        try:
            with _reader(lines, columns, nulls, broken and is_no_row) as reading:
                for batch in reading:
                    rows += len(batch)
                    if len(batch):
                        yield batch
        except pa.ArrowInvalid as error:
            if "CSV parse error" in str(error):
                _check_quotes(url)  # it may be the reason, and then says so better
            raise
    if lines.read_so_far > rows:
        _check_quotes(url)


def _reader(
    file, columns: list[str], nulls: tuple, broken: Callable | None
) -> pa.csv.CSVStreamingReader:
    return pa.csv.open_csv(
        file,
        pa.csv.ReadOptions(use_threads=False, block_size=BLOCK),  # only so are lines numbered
        pa.csv.ParseOptions(invalid_row_handler=broken, newlines_in_values=True),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, pa.string()),
            include_columns=columns,
            null_values=list(nulls),
            strings_can_be_null=True,
        ),
    )


class _Lines(io.RawIOBase):
    """A file of which is known how many lines that are not empty were read."""

    def __init__(self, file):
        self.file, self.ended, self.last = file, 0, b"\n"

    @property
    def read_so_far(self) -> int:
        return self.ended + (self.last != b"\n")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        part = self.file.read(size)
        ends = np.frombuffer(self.last + part, np.uint8) == ord("\n")
        self.ended += int(np.sum(ends[1:] & ~ends[:-1]))
        self.last = part[-1:] or self.last
        return part


def _check_quotes(url: str) -> None:
    """Refuse a CSV with a quote that is never closed: it makes one cell of all the lines up to the
    next quote, and the customers in between would be lost. A closed one may have several lines.

    Raises:
        UserError: the line on which that row begins.
    """
    csv.field_size_limit(BLOCK)
    with opened(url, compression="infer") as file:
        rows = csv.reader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True)
        begins = 1
        try:
            for _ in rows:
                begins = rows.line_num + 1
        except csv.Error as error:
            way_out = "close the quote, and double one that belongs to a text"
            raise UserError(
                f"{url}, line {begins}: a cell runs over several lines ({error}); {way_out}"
            ) from None


def inferred(texts: pa.ChunkedArray, dates: bool = True) -> pa.ChunkedArray:
    """A column of texts in the type that its cells show: numbers only if every one of them comes
    back as it was, so that 000001, +49 or a long account number stay texts.
    """
    distinct = pc.unique(texts.drop_null())
    values = distinct.to_pylist()
    if not values:
        return texts
    if all(NUMBER.fullmatch(value) and value.strip(" -") for value in values):
        trimmed = pc.utf8_trim(texts, " ")
        return trimmed.cast(
            pa.int64()
            if pc.all(pc.match_substring_regex(distinct, WHOLE)).as_py()
            else pa.float64()
        )
    if FLAGS.issuperset(values):
        return pc.utf8_lower(texts).cast(pa.bool_())
    for kind in (pa.date32(), pa.timestamp("us")) if dates else ():
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return texts


def read(url: str, id: str = "", left_out: Sequence[str] = ()) -> pa.Table:
    """A CSV, without some of its columns, in the types that its cells show; of the id, dates stay
    texts, which name a customer.
    """
    names = [name for name in header(url) if name not in left_out]
    if again := {name for name in names if names.count(name) > 1}:
        named = ", ".join(map(short, sorted(again)))
        way_out = "give each a name of its own, or drop them"
        raise UserError(f"{url}: columns stand in it more than once: {named}; {way_out}")
    schema = pa.schema((name, pa.string()) for name in names)
    table = pa.Table.from_batches(batches(url, names), schema)
    return pa.table({name: inferred(table[name], dates=name != id) for name in names})
