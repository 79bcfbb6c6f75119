"""Infer the rules of a column for its contract, or say why no contract can be made with it."""

import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from churn.data.arrow import (
    can_convert,
    is_whole,
    kind_of,
    plain_values,
    unconvertible_rows,
    value_counts,
)
from churn.data.contract_file import Rules
from churn.data.index_columns import row_number_reason
from churn.data.periods import unreadable_periods
from churn.data.validation import first_values
from churn.errors import short

MOST_CATEGORIES = 100
NEARLY_ALL = 0.9  # the share of the texts that says what the others were meant to be
EXACT_DIGITS = 15  # so many digits a double gives back, whatever they are
EXACT_INTEGERS = 2**53  # up to here every whole number is a double
LARGEST = 3.4028234663852886e38  # in single precision, in which the model computes

PLAIN_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
# 1,234.50 or 1.234,50 or $1,234
GROUPED_NUMBER = r"[^\w.,]*\d{1,3}([.,' \u00a0\u202f]\d{3})+([.,]\d+)?[^\w.,]*"
# 12,5 or 12 % or $12
DECORATED_NUMBER = r"[^\w.,]*\d+([.,]\d+)?[^\w.,]*"
NUMBERS = (PLAIN_NUMBER, GROUPED_NUMBER, DECORATED_NUMBER)
CODE = r"0\d+"  # a leading zero: a postal code or the like, and no number
DATES = (
    r"\d{4}-\d{1,2}-\d{1,2}.*",
    r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}.*",
    r"\d{4}[./]\d{1,2}[./]\d{1,2}.*",
)
NO_VALUE = r"\s*|-+|\?|n/?a|nan|null|none|unknown|missing"

# What a model cannot take, by tests of the pyarrow type: what it is, and what to do with it.
REFUSED_TYPES = (
    (
        (pa.types.is_date, pa.types.is_timestamp),
        "dates",
        "turn it into a number (days until the row's date), name it as data.time in params.yaml if "
        "it is the row's own date,",
    ),
    (
        (pa.types.is_time, pa.types.is_duration),
        "times",
        "turn it into a number (of seconds, of days)",
    ),
    (
        (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary),
        "bytes",
        "decode it to text",
    ),
    ((pa.types.is_nested,), "lists or records", "spread it over columns of one value each"),
)
DATES_TO_NUMBERS = "turn it into a number (days until a fixed date) or drop it"


class ColumnFault(Exception):  # noqa: N818 - a fault of the user's table, not an error of the code
    """Why no contract can be made with a column, and what to do."""


def feature_rules(name: str, values: pa.ChunkedArray) -> Rules:
    """Infer the rules of a feature, in pandera's terms.

    Raises:
        ColumnFault: a model cannot take it.
    """
    kind = kind_of(values.type)
    if kind in ("", "time"):
        raise ColumnFault(_refused_type(values.type))
    values = plain_values(values)
    if values.null_count == len(values):
        raise ColumnFault("it has no value in any row; drop it")

    nullable = {"nullable": True} if values.null_count else {}
    if kind == "flag":
        return {"dtype": "bool", **nullable}
    if kind == "number":
        reason = row_number_reason(name, values)
        if reason:
            raise ColumnFault(reason)
        return {**_number_rules(values), **nullable}

    texts = value_counts(values.drop_null())
    for text in texts:
        if "\0" in text:
            raise ColumnFault(
                f"{short(text)} has a NUL character, which the model cannot take; remove it"
            )
    if len(texts) > MOST_CATEGORIES:
        raise ColumnFault(_not_categories(texts, values))
    return {"dtype": "str", **nullable, "isin": sorted(texts)}


def id_rules(values: pa.ChunkedArray) -> Rules:
    """Infer the rules of the id.

    Raises:
        ColumnFault: its type identifies no customer.
    """
    kind = kind_of(values.type)
    if kind == "text":
        return {"dtype": "str", "unique": True}
    if kind != "number":
        raise ColumnFault(f"the id must be text or numbers, not {values.type}; write it as text")
    if not is_whole(values.type):
        return {"dtype": "float64", "unique": True}
    if not can_convert(values, pa.int64()):
        raise ColumnFault("its numbers do not all lie below 2^63; write the id as text")
    return {"dtype": "int64", "unique": True}


def time_rules(values: pa.ChunkedArray) -> Rules:
    """Infer the rules of the column with the period of a row.

    Raises:
        ColumnFault: it holds neither dates nor whole numbers.
    """
    kind = kind_of(values.type)
    if kind == "number" and can_convert(values, pa.int64()):
        return {"dtype": "int64"}  # also of whole numbers that are written as floats
    if kind in ("time", "text"):
        fault = unreadable_periods(values)
        if fault:
            raise ColumnFault(f"data.time must hold dates or whole numbers: {fault}")
        return {"dtype": "datetime64[ns]"}
    if kind == "number":
        row = unconvertible_rows(values, pa.int64())[0]
        value = values[row].as_py()
        raise ColumnFault(
            f"data.time must hold dates or whole numbers such as 202611; row {row + 1} has {value}"
        )
    zone = "; write it as dates without a time zone" if pa.types.is_timestamp(values.type) else ""
    raise ColumnFault(f"data.time must hold dates or whole numbers, not {values.type}{zone}")


def doubts(rules: Rules) -> str:
    """Say that the categories of a text column look like numbers or dates; "" if they do not."""
    categories = rules.get("isin", ())
    texts: Counter[str] = Counter(categories)
    if len(texts) < 3 or _has_code(texts):
        return ""
    if _share(texts, *NUMBERS) >= NEARLY_ALL:
        looks_like = "numbers"
        way_out = "if they count or measure something, write the column as numbers"
    elif _share(texts, *DATES) >= NEARLY_ALL:
        looks_like, way_out = "dates", DATES_TO_NUMBERS
    else:
        return ""
    text = f"{first_values(categories)} are {looks_like} as texts, and are taken as categories"
    return f"{text}; {way_out}"


def _refused_type(arrow_type: pa.DataType) -> str:
    for tests, contents, way_out in REFUSED_TYPES:
        if any(is_type(arrow_type) for is_type in tests):
            holds = f"it holds {contents} ({arrow_type})"
            return f"{holds}, which a model cannot take; {way_out} or drop it"
    return f"a model cannot take {arrow_type}; turn it into numbers, flags or text, or drop it"


def _number_rules(values: pa.ChunkedArray) -> Rules:
    """The range of a number; of one with at most two neighbouring whole numbers, its values."""
    if pa.types.is_floating(values.type):
        _refuse_large(values)
        limits = pc.min_max(values).as_py()
        in_range = {"min_value": limits["min"], "max_value": limits["max"]}
        return {"dtype": "float64", "in_range": in_range}

    limits = pc.min_max(values).as_py()
    low, high = _as_double(limits["min"]), _as_double(limits["max"])
    if high - low <= 1 and abs(high) <= EXACT_INTEGERS:
        return {"dtype": "int64", "isin": sorted({low, high})}
    return {"dtype": "int64", "in_range": {"min_value": low, "max_value": high}}


def _as_double(number: int) -> int:
    """A whole number as it is once it has been a double."""
    return number if abs(number) <= EXACT_INTEGERS else int(float(number))


def _refuse_large(values: pa.ChunkedArray) -> None:
    is_large = pc.greater(pc.abs(values), LARGEST)
    count = pc.sum(is_large).as_py()
    if count:
        row = pc.index(is_large, True).as_py()
        raise ColumnFault(
            f"infinite or too large for the model: {count:,} of its numbers (row {row + 1}: "
            f"{values[row].as_py()}); make them null"
        )


def _not_categories(texts: Counter[str], values: pa.ChunkedArray) -> str:
    """Say what so many different texts are, and what to do."""
    count = f"{len(texts):,} different"
    if _has_code(texts):
        return f"{count} codes are no categories (at most {MOST_CATEGORIES}); group them or drop it"
    if _share(texts, *NUMBERS) >= NEARLY_ALL:
        return f"{count} texts, nearly all of them numbers. {_not_numbers(texts, values)}"
    if _share(texts, *DATES) >= NEARLY_ALL:
        return f"{count} texts are dates; {DATES_TO_NUMBERS}"
    return (
        f"{count} texts are no categories (at most {MOST_CATEGORIES}), but free text or names; "
        "drop it, or group its texts"
    )


def _not_numbers(texts: Counter[str], values: pa.ChunkedArray) -> str:
    """Say which cells keep a column from being numbers."""
    unreadable = [text for text in texts if not _fits(text, PLAIN_NUMBER)]
    if not unreadable:
        for text in texts:
            if len(re.findall(r"\d", text)) > EXACT_DIGITS:
                return (
                    f"{short(text)} has more than {EXACT_DIGITS} digits, which a number would "
                    "change; round them, or drop it"
                )
        return f"Write it as numbers, and not as texts such as {short(next(iter(texts)))}"

    is_unreadable = pc.is_in(values, pa.array(unreadable, pa.string()))
    rows = pc.indices_nonzero(is_unreadable).to_pylist()
    cells = [f"row {row + 1}: {short(values[row].as_py())}" for row in rows[:3]]
    if len(rows) > 3:
        cells.append("...")
    count = "1 cell is" if len(rows) == 1 else f"{len(rows):,} cells are"
    way_out = "make them numbers or null, and the column numbers"
    return f"{count} no plain number ({', '.join(cells)}); {way_out}"


def _has_code(texts: Counter[str]) -> bool:
    return any(_fits(text, CODE) for text in texts)


def _share(texts: Counter[str], *patterns: str) -> float:
    """The share of the rows with a value whose text fits one of the patterns."""
    rows, fitting = 0, 0
    for text, count in texts.items():
        if _fits(text, NO_VALUE):
            continue
        rows += count
        if any(_fits(text, pattern) for pattern in patterns):
            fitting += count
    return fitting / max(rows, 1)


def _fits(text: str, pattern: str) -> bool:
    return re.fullmatch(pattern, text.strip()[:200], re.IGNORECASE) is not None
