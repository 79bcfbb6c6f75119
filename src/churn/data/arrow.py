"""The types of columns in pyarrow's terms, and their conversion to the contract's types."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as types

from churn.data.contract import Contract


def arrow_schema(contract: Contract) -> pa.Schema:
    """The pyarrow schema of the splits.

    Every number and flag is a double, as a caller of the model sends it: an integer column could
    hold no missing value. Only id, target and period keep their types.
    """
    fields = {}
    for column in contract.columns.values():
        fields[column.name] = TYPES.get(column.kind, pa.float64())
    for name in contract.key:
        if contract.columns[name].dtype == "int64":
            fields[name] = pa.int64()
    if contract.columns[contract.target].kind == "flag":
        fields[contract.target] = pa.bool_()
    return pa.schema(fields.items())


def kind_of(arrow_type: pa.DataType) -> str:
    """The kind of a column of this type: number, text, flag, time (without a time zone), null (no
    value at all), or "" for none.
    """
    if types.is_dictionary(arrow_type):
        return kind_of(arrow_type.value_type)
    if types.is_null(arrow_type):
        return "null"
    if types.is_boolean(arrow_type):
        return "flag"
    if any(is_text(arrow_type) for is_text in TEXTS):
        return "text"
    if any(is_number(arrow_type) for is_number in NUMBERS):
        return "number"
    if types.is_date(arrow_type) or (types.is_timestamp(arrow_type) and arrow_type.tz is None):
        return "time"
    return ""


TYPES = {"text": pa.string(), "time": pa.timestamp("ns")}  # by kind; every other is a double
TEXTS = (types.is_string, types.is_large_string, types.is_string_view)
NUMBERS = (types.is_integer, types.is_floating, types.is_decimal)


def convert_column(values: pa.Array, arrow_type: pa.DataType) -> pa.Array:
    """Convert the values of a column to a type of `arrow_schema`; a number becomes a double.

    Args:
        values: an array or a chunked array of a type that `column_violations` lets pass.

    Raises:
        pyarrow.ArrowInvalid: an id is not whole, or too large, where it must be a whole number; a
            text is no date, or a date lies beyond the years 1678 to 2261.
    """
    if types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    values = usual_texts(values)
    if types.is_floating(arrow_type):
        return _to_doubles(values).cast(arrow_type, safe=False)
    if types.is_floating(values.type):  # a whole number that was written as a float
        values = values.cast(pa.float64())
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    return values.cast(arrow_type)


def usual_texts(values: pa.Array) -> pa.Array:
    """Texts of the type `string_view` as `string`; other values as they are.

    Arrow casts a `string_view` to nothing but other texts, and many of its functions do not know
    it.
    """
    return values.cast(pa.string()) if types.is_string_view(values.type) else values


def can_convert(values: pa.Array, arrow_type: pa.DataType) -> bool:
    """Whether `convert_column` can convert all the values."""
    try:
        convert_column(values, arrow_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return False
    return True


def unconvertible_rows(values: pa.Array, arrow_type: pa.DataType, first: int = 0) -> list[int]:
    """The positions of the values that `convert_column` cannot convert.

    Args:
        first: the position of the first value.
    """
    if can_convert(values, arrow_type):
        return []
    if len(values) == 1:
        return [first]
    half = len(values) // 2
    left = unconvertible_rows(values[:half], arrow_type, first)
    return left + unconvertible_rows(values[half:], arrow_type, first + half)


def plain_values(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Convert values to one of a few types: text, flags, whole numbers, or doubles without NaN."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    kind = kind_of(values.type)
    if kind == "text":
        return values.cast(pa.string())
    if kind != "number" or pa.types.is_integer(values.type):
        return values
    numbers = convert_column(values, pa.float64())
    return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)


def value_counts(values: pa.ChunkedArray) -> Counter[Any]:
    """How often each value occurs; a null is None."""
    entries = pc.value_counts(values).to_pylist()
    return Counter({entry["values"]: entry["counts"] for entry in entries})


def is_whole(arrow_type: pa.DataType) -> bool:
    """Whether a type of numbers holds whole numbers only."""
    if pa.types.is_dictionary(arrow_type):
        return is_whole(arrow_type.value_type)
    if pa.types.is_decimal(arrow_type):
        return bool(arrow_type.scale <= 0)
    return bool(pa.types.is_integer(arrow_type))


def _to_doubles(values: pa.Array) -> pa.Array:
    """Numbers as the doubles that their shortest texts mean.

    So the 0.1 of a float32 or a decimal in a Parquet file equals the 0.1 of a CSV, as an id, as a
    label or at the end of a range. A cast would make 0.10000000149 of the float32, and of the
    decimal now and then the neighbouring double.
    """
    if types.is_float16(values.type):  # pyarrow writes its exact value, not the shortest text
        numbers = values.to_numpy(zero_copy_only=False)
        return pa.array(numbers.astype(str).astype("float64"), from_pandas=True)
    if types.is_float32(values.type) or types.is_decimal(values.type):
        return values.cast(pa.string()).cast(pa.float64())
    return values
