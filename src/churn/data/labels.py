"""The labels of a table's target: which mean that a customer churned, and which that one stayed."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from churn.data.arrow import kind_of
from churn.data.inference import ColumnFault, decoded, is_whole
from churn.data.validation import first_values
from churn.errors import short
from churn.params import Data


def target_rules(values: pa.ChunkedArray, data: Data) -> dict:
    """The rules of the target, which list the labels that `data.positive` and `data.negative` know.

    Raises:
        Fault: it has no such labels, or it has more, or customers without one where
        `data.unlabelled` is refuse.
    """
    kind = kind_of(values.type)
    if kind == "null":
        raise ColumnFault("no customer has a label; a model needs customers of both kinds")
    if not kind:
        raise ColumnFault(
            f"the target must have labels that are text, numbers or flags, not {values.type}"
        )
    whole, values = is_whole(values.type), decoded(values)
    counts = Counter(
        {entry["values"]: entry["counts"] for entry in pc.value_counts(values).to_pylist()}
    )
    nulls = counts.pop(None, 0)
    if kind == "number" and whole:
        counts = Counter({int(label): count for label, count in counts.items()})
    allowed = known_labels(counts, data)
    unknown = {label: count for label, count in counts.items() if label not in allowed}
    count = sum(unknown.values()) + nulls
    if count and data.unlabelled == "refuse":
        found = with_counts(Counter(unknown), nulls)
        raise ColumnFault(
            f"{count:,} customers have no label that is known ({found}); leave them out of the "
            "table, or set `unlabelled: drop` under `data:` in params.yaml to leave them out of "
            "training"
        )
    dtype = {"text": "str", "flag": "bool"}.get(kind, "int64" if whole else "float64")
    return {"dtype": dtype, "isin": allowed}


def known_labels(counts: Counter, data: Data) -> list:
    """The labels of those who stayed and of those who churned, as the table writes them, in
    order."""
    seen = with_counts(counts, 0)
    others = sorted(label for label in counts if label != data.positive)
    if len(others) == len(counts):
        raise ColumnFault(
            f"no customer has data.positive, {data.positive!r}; the target has {seen}"
        )
    if data.negative is None and len(others) != 1:
        if not others:
            raise ColumnFault(
                f"every customer with a label has {seen}; a model needs customers of both kinds"
            )
        raise ColumnFault(
            f"it has more than two labels: {seen}. Correct the table, or say which mean that a "
            "customer stayed: `negative: [...]` under `data:` in params.yaml; who has another "
            "label has none that is known"
        )
    if data.negative is not None:
        if missing := [label for label in data.negative if label not in others]:
            raise ColumnFault(
                f"no customer has {first_values(missing)} of data.negative; the target has {seen}"
            )
        others = [label for label in others if label in data.negative]
    return sorted([*others, *(label for label in counts if label == data.positive)])


def with_counts(counts: Counter, nulls: int) -> str:
    """Labels with their counts, the most frequent first, ten at most."""
    parts = [f"{short(label)} {count:,}" for label, count in counts.most_common(10)]
    parts += [f"and {len(counts) - 10:,} more"] if len(counts) > 10 else []
    parts += [f"null {nulls:,}"] if nulls else []
    return ", ".join(parts)
