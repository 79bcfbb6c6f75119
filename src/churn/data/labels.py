"""The labels of a table's target: which mean that a customer churned, and which that one stayed."""

from collections import Counter

import pyarrow as pa

from churn.data.arrow import is_whole, kind_of, plain_values, value_counts
from churn.data.contract import Label
from churn.data.contract_file import Rules
from churn.data.inference import ColumnFault
from churn.data.validation import LEAVE_OUT_UNLABELLED, MOST_SHOWN, first_values
from churn.errors import amount, short
from churn.params import Data

BOTH_KINDS = "a model needs customers of both kinds"


def target_rules(values: pa.ChunkedArray, data: Data) -> Rules:
    """The rules of the target in a contract, with the labels of data.positive and data.negative.

    Raises:
        ColumnFault: it has no such labels; or, where `data.unlabelled` is refuse, customers without
            a label or with another one.
    """
    kind = kind_of(values.type)
    if kind == "null":
        raise ColumnFault(f"no customer has a label; {BOTH_KINDS}")
    if kind in ("", "time"):
        raise ColumnFault(
            f"the target must have labels that are text, numbers or flags, not {values.type}"
        )

    are_whole = kind == "number" and is_whole(values.type)
    counts = value_counts(plain_values(values))
    nulls = counts.pop(None, 0)
    if are_whole:
        counts = Counter({int(label): count for label, count in counts.items()})

    known = known_labels(counts, data)
    unknown = Counter({label: count for label, count in counts.items() if label not in known})
    customers = unknown.total() + nulls
    if customers and data.unlabelled == "refuse":
        raise ColumnFault(
            f"{amount(customers, 'customer')} without a label that is known "
            f"({counted(unknown, nulls)}); "
            f"{LEAVE_OUT_UNLABELLED} to leave them out of training"
        )

    dtypes = {"text": "str", "flag": "bool", "number": "float64"}
    dtype = "int64" if are_whole else dtypes[kind]
    return {"dtype": dtype, "isin": known}


def known_labels(counts: Counter[Label], data: Data) -> list[Label]:
    """The labels of customers who stayed and who churned, as the table writes them, sorted.

    Args:
        counts: how often each label occurs, without nulls.

    Raises:
        ColumnFault: the table does not have them, or has others and params.yaml does not say which
            mean that a customer stayed.
    """
    seen = counted(counts)
    positive = [label for label in counts if label == data.positive]
    others = [label for label in counts if label != data.positive]
    if not positive:
        raise ColumnFault(
            f"no customer has data.positive, {data.positive!r}; the target has {seen}"
        )

    if data.negative is None:
        if not others:
            raise ColumnFault(f"every customer with a label has {seen}; {BOTH_KINDS}")
        if len(others) > 1:
            raise ColumnFault(
                f"it has more than two labels: {seen}. Correct the table, or say which mean that "
                "a customer stayed: `negative: [...]` under `data:` in params.yaml; who has "
                "another label has none that is known"
            )
        return sorted([*others, *positive])

    missing = [label for label in data.negative if label not in others]
    if missing:
        raise ColumnFault(
            f"no customer has {first_values(missing)} of data.negative; the target has {seen}"
        )
    stayed = [label for label in others if label in data.negative]
    return sorted([*stayed, *positive])


def counted(counts: Counter[Label], nulls: int = 0) -> str:
    """Labels with their counts, the most frequent first, at most ten."""
    parts = [f"{short(label)} {count:,}" for label, count in counts.most_common(MOST_SHOWN)]
    if len(counts) > MOST_SHOWN:
        parts.append(f"and {len(counts) - MOST_SHOWN:,} more")
    if nulls:
        parts.append(f"null {nulls:,}")
    return ", ".join(parts)
