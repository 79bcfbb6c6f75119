"""Infer the types of a CSV's columns, for a table that has no contract yet."""

import re
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from churn.data.csv_table import batches, header
from churn.errors import UserError, short

# A number that comes back as it was: no leading zero, no plus sign, no code such as 1e5. Beyond 15
# digits a double would change it.
PLAIN_NUMBER = r"-?(0|[1-9][0-9]{0,14})?(\.[0-9]+)?"
SCIENTIFIC = r"-?[0-9](\.[0-9]+)?e[+-][0-9]{2,3}"  # as programs write small and large doubles
NUMBER = re.compile(rf" *({PLAIN_NUMBER}|{SCIENTIFIC}) *")
WHOLE_NUMBER = r"^ *-?[0-9]+ *$"
FLAGS = {"true", "false", "True", "False", "TRUE", "FALSE"}


def read_csv(url: str, id_column: str = "", left_out: Sequence[str] = ()) -> pa.Table:
    """Read a CSV in the types that its cells show.

    Args:
        id_column: dates in it stay texts, since they identify a customer.
        left_out: columns that are passed over.

    Raises:
        UserError: as `batches`, or several columns have the same name.
    """
    names = [name for name in header(url) if name not in left_out]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        listed = ", ".join(map(short, sorted(repeated)))
        raise UserError(
            f"{url}: several columns have the same name: {listed}; give each a name of its own, or "
            "drop them"
        )
    schema = pa.schema((name, pa.string()) for name in names)
    table = pa.Table.from_batches(batches(url, names), schema)
    columns = {}
    for name in names:
        columns[name] = infer_type(table[name], dates=name != id_column)
    return pa.table(columns)


def infer_type(texts: pa.ChunkedArray, dates: bool = True) -> pa.ChunkedArray:
    """Convert a column of texts to the type that its cells show.

    They are numbers only if every one of them comes back as it was, so that 000001, +49 or a long
    account number stay texts.

    Args:
        dates: whether to look for dates and times.
    """
    distinct = pc.unique(texts.drop_null())
    values = distinct.to_pylist()
    if not values:
        return texts
    if all(NUMBER.fullmatch(value) and value.strip(" -") for value in values):
        are_whole = pc.all(pc.match_substring_regex(distinct, WHOLE_NUMBER)).as_py()
        number_type = pa.int64() if are_whole else pa.float64()
        return pc.utf8_trim(texts, " ").cast(number_type)
    if FLAGS.issuperset(values):
        return pc.utf8_lower(texts).cast(pa.bool_())
    if dates:
        for arrow_type in (pa.date32(), pa.timestamp("us")):
            try:
                return texts.cast(arrow_type)
            except pa.ArrowInvalid:
                continue
    return texts
