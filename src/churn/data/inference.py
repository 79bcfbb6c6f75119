"""What a column of a table suggests for its contract, or why no contract can be made with it."""

import re
from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from churn.data.arrow import convert_column, kind_of
from churn.data.index_columns import why_row_number
from churn.data.validation import first_values
from churn.errors import short

MOST_CATEGORIES = 100
MOSTLY = 0.9  # the share of a column's texts that says what the others were meant to be
DIGITS = 15  # that a double gives back, whatever they are
EXACT = 2**53  # up to here every whole number is a double
LARGEST = 3.4028234663852886e38  # that the model takes: single precision

PLAIN = r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"
GROUPED = (
    r"[^\w.,]*\d{1,3}([.,' \u00a0\u202f]\d{3})+([.,]\d+)?[^\w.,]*"  # 1,234.50 or 1.234,50 or $1,234
)
DECORATED = r"[^\w.,]*\d+([.,]\d+)?[^\w.,]*"  # 12,5 or 12 % or $12
CODE = r"0\d+"  # a leading zero: a postal code or the like, and no number
DATES = (
    r"\d{4}-\d{1,2}-\d{1,2}.*",
    r"\d{1,2}[./-]\d{1,2}[./-]\d{2,4}.*",
    r"\d{4}[./]\d{1,2}[./]\d{1,2}.*",
)
NOTHING = r"\s*|-+|\?|n/?a|nan|null|none|unknown|missing"

TYPES = (
    (
        (pa.types.is_date, pa.types.is_timestamp),
        "dates",
        "turn it into a number (days until a fixed date)",
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


class ColumnFault(Exception):
    """Why no contract can be made with a column, and what to do."""


def feature_rules(name: str, values: pa.ChunkedArray) -> dict:
    """The rules, in pandera's words, of a feature.

    Raises:
        Fault: a model cannot take it.
    """
    kind = kind_of(values.type)
    if not kind:
        raise ColumnFault(refused(values.type))
    values = decoded(values)
    known = values.drop_null()
    nullable = {"nullable": True} if values.null_count else {}
    if not len(known):
        raise ColumnFault("it has no value in any row; drop it")
    if kind == "flag":
        return {"dtype": "bool", **nullable}
    if kind == "number":
        if why := why_row_number(name, values):
            raise ColumnFault(why)
        return {**number_rules(values), **nullable}
    texts = Counter(
        {entry["values"]: entry["counts"] for entry in pc.value_counts(known).to_pylist()}
    )
    if cut := [text for text in texts if "\0" in text]:
        raise ColumnFault(
            f"{short(cut[0])} has a NUL character, which the model cannot take; remove it"
        )
    if len(texts) > MOST_CATEGORIES:
        raise ColumnFault(no_categories(texts, values))
    return {"dtype": "str", **nullable, "isin": sorted(texts)}


def refused(arrow_type: pa.DataType) -> str:
    """Why a model takes no column of this type."""
    for kinds, what, way_out in TYPES:
        if any(is_kind(arrow_type) for is_kind in kinds):
            return (
                f"it holds {what} ({arrow_type}), which a model cannot take; {way_out} or drop it"
            )
    return f"a model cannot take {arrow_type}; turn it into numbers, flags or text, or drop it"


def decoded(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Values of one of a few types: text, flags, 64-bit whole numbers, doubles without NaN (which
    is a null)."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = kind_of(values.type)
    if kind == "text":
        return values.cast(pa.string())
    if kind != "number" or pa.types.is_integer(values.type):
        return values
    numbers = convert_column(values, pa.float64())
    return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)


def is_whole(arrow_type: pa.DataType) -> bool:
    """Whether a type of numbers holds whole ones only."""
    if pa.types.is_dictionary(arrow_type):
        return is_whole(arrow_type.value_type)
    return pa.types.is_integer(arrow_type) or (
        pa.types.is_decimal(arrow_type) and arrow_type.scale <= 0
    )


def number_rules(values: pa.ChunkedArray) -> dict:
    """The rules of a number, by its range; of one with two neighbouring whole numbers, by its
    values."""
    if pa.types.is_floating(values.type):
        large = pc.greater(pc.abs(values), LARGEST)
        if count := pc.sum(large).as_py():
            row = pc.index(large, True).as_py() + 1
            found = values[row - 1].as_py()
            raise ColumnFault(
                f"infinite or too large for the model: {count:,} of its numbers (row {row}: "
                f"{found}); make them null"
            )
        ends = pc.min_max(values).as_py()
        return {
            "dtype": "float64",
            "in_range": {"min_value": ends["min"], "max_value": ends["max"]},
        }
    ends = pc.min_max(values).as_py()
    low, high = (
        end if abs(end) <= EXACT else int(float(end)) for end in (ends["min"], ends["max"])
    )
    if high - low <= 1 and abs(high) <= EXACT:
        return {"dtype": "int64", "isin": sorted({low, high})}
    return {"dtype": "int64", "in_range": {"min_value": low, "max_value": high}}


def no_categories(texts: Counter, values: pa.ChunkedArray) -> str:
    """What so many different texts are, and what to do."""
    if any(fits(text, CODE) for text in texts):
        limit = f"no categories (at most {MOST_CATEGORIES})"
        return f"{len(texts):,} different codes are {limit}; group them or drop it"
    if share(texts, PLAIN, GROUPED, DECORATED) >= MOSTLY:
        cells = not_plain(texts, values)
        return f"{len(texts):,} different texts, nearly all of them numbers. {cells}"
    if share(texts, *DATES) >= MOSTLY:
        way_out = "turn it into a number (days until a fixed date) or drop it"
        return f"{len(texts):,} different texts are dates; {way_out}"
    return (
        f"{len(texts):,} different texts are no categories (at most {MOST_CATEGORIES}), but free "
        "text or names; drop it, or group its texts"
    )


def doubts(rules: dict) -> str:
    """What a text column that is taken as categories may be instead: its texts are numbers or
    dates. "" if nothing.
    """
    texts = Counter(rules.get("isin", ()))
    if len(texts) < 3 or any(fits(text, CODE) for text in texts):
        return ""
    if share(texts, PLAIN, GROUPED, DECORATED) >= MOSTLY:
        what, way_out = "numbers", "if they count or measure something, write the column as numbers"
    elif share(texts, *DATES) >= MOSTLY:
        what, way_out = "dates", "turn it into a number (days until a fixed date) or drop it"
    else:
        return ""
    return (
        f"{first_values(rules['isin'])} are {what} as texts, and are taken as categories; {way_out}"
    )


def share(texts: Counter, *patterns: str) -> float:
    """Of the texts that are something, the share that one of the patterns fits."""
    something = {text: count for text, count in texts.items() if not fits(text, NOTHING)}
    fitting = sum(
        count
        for text, count in something.items()
        if any(fits(text, pattern) for pattern in patterns)
    )
    return fitting / max(sum(something.values()), 1)


def fits(text: str, pattern: str) -> bool:
    return re.fullmatch(pattern, text.strip()[:200], re.IGNORECASE) is not None


def not_plain(texts: Counter, values: pa.ChunkedArray) -> str:
    """The cells that keep a column from being numbers."""
    wrong = [text for text in texts if not fits(text, PLAIN)]
    if not wrong:
        exact = [text for text in texts if len(re.findall(r"\d", text)) > DIGITS]
        if not exact:
            return f"Write it as numbers, and not as texts such as {short(next(iter(texts)))}"
        way_out = (
            f"has more than {DIGITS} digits, which a number would change; round them, or drop it"
        )
        return f"{short(exact[0])} {way_out}"
    cells = pc.is_in(values, pa.array(wrong, pa.string()))
    rows = pc.indices_nonzero(cells)
    named = [f"row {row + 1}: {short(values[row].as_py())}" for row in rows[:3].to_pylist()]
    more = ", ..." if len(rows) > 3 else ""
    count = "1 cell is" if len(rows) == 1 else f"{len(rows):,} cells are"
    way_out = "make them numbers or null, and the column numbers"
    return f"{count} no plain number ({', '.join(named)}{more}); {way_out}"


def id_rules(values: pa.ChunkedArray) -> dict:
    """The rules of the id.

    Raises:
        Fault: its type names no customer.
    """
    kind = kind_of(values.type)
    if kind not in ("text", "number"):
        raise ColumnFault(f"the id must be text or numbers, not {values.type}; write it as text")
    if kind == "text":
        return {"dtype": "str", "unique": True}
    if not is_whole(values.type):
        return {"dtype": "float64", "unique": True}
    try:
        convert_column(values, pa.int64())
    except pa.ArrowInvalid:
        raise ColumnFault("its numbers do not all lie below 2^63; write the id as text") from None
    return {"dtype": "int64", "unique": True}
