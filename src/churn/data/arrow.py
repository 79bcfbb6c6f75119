"""The types of a table's columns in pyarrow's terms, and their conversion to the contract's."""

from churn.data.contract import Contract


def arrow_schema(contract: Contract):
    """The pyarrow schema of the splits.

    Every number and flag is a double, as a caller of the model sends it: an integer column could
    hold no missing value. Only id and target keep their types.
    """
    import pyarrow as pa

    fields = {
        c.name: pa.string() if c.kind == "text" else pa.float64() for c in contract.columns.values()
    }
    if contract.columns[contract.id].dtype == "int64":
        fields[contract.id] = pa.int64()
    if contract.columns[contract.target].kind == "flag":
        fields[contract.target] = pa.bool_()
    return pa.schema(fields.items())


def kind_of(arrow_type) -> str:
    """What a column of a pyarrow type holds: number, text, flag, null (nothing at all), or "" where
    it is none.
    """
    import pyarrow.types as at

    if at.is_dictionary(arrow_type):
        return kind_of(arrow_type.value_type)
    if at.is_null(arrow_type) or at.is_boolean(arrow_type):
        return "null" if at.is_null(arrow_type) else "flag"
    if at.is_string(arrow_type) or at.is_large_string(arrow_type) or at.is_string_view(arrow_type):
        return "text"
    is_number = at.is_integer(arrow_type) or at.is_floating(arrow_type) or at.is_decimal(arrow_type)
    return "number" if is_number else ""


def convert_column(values, arrow_type):
    """The values (a pyarrow array) of a column that `check_columns` lets pass, in a type of
    `arrow_schema`. A number becomes the nearest double.

    Raises:
        pyarrow.ArrowInvalid: a number is not whole, or too large, where the type is a whole number
            (an id).
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as at

    if at.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if at.is_floating(arrow_type):
        return _doubles(values).cast(arrow_type, safe=False)
    if at.is_floating(values.type):
        values = values.cast(pa.float64())
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, pa.float64()), values)
    return values.cast(arrow_type)


def _doubles(values):
    """Numbers as the doubles that their shortest texts mean: 0.1 of a float32 or of a decimal in a
    Parquet file is the 0.1 of a CSV, as an id, a label, at the end of a range. (A cast makes
    0.10000000149 of the one, and of the other now and then the double beside it.)
    """
    import pyarrow as pa

    if pa.types.is_float16(values.type):  # Arrow writes its exact value, not the shortest text
        numbers = values.to_numpy(zero_copy_only=False)
        return pa.array(numbers.astype(str).astype("float64"), from_pandas=True)
    if pa.types.is_float32(values.type) or pa.types.is_decimal(values.type):
        return values.cast(pa.string()).cast(pa.float64())
    return values
