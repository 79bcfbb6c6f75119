"""Split customers by a keyed hash of the id. By time: time_split.py."""

import hashlib
from collections.abc import Iterable

import numpy as np


def assign_splits(
    ids: Iterable[object], seed: int, valid_share: float, test_share: float
) -> np.ndarray:
    """Assign each customer to "train", "valid" or "test" by a keyed hash of the id.

    The seed is the key. A customer keeps its split when the table grows or is reordered, and
    nothing has to be shuffled.

    This is also how the gate finds out which rows an older version was trained on
    (tracking/unseen_rows.py). So another way to split needs a `split.by` of its own: this function
    must go on giving the splits of registered versions.

    Returns:
        The names of the splits, shape (rows,).
    """
    position = keyed_hashes(ids, str(seed).encode()) / 2.0**64  # evenly between 0 and 1
    is_test = position < test_share
    is_valid = position < test_share + valid_share
    return np.select([is_test, is_valid], ["test", "valid"], "train")


def keyed_hashes(ids: Iterable[object], key: bytes) -> np.ndarray:
    """A hash of each id, evenly distributed over 64 bits: BLAKE2b with a key (RFC 7693).

    Args:
        key: 64 bytes at most; another key gives unrelated hashes.

    Returns:
        Whole numbers (uint64), shape (rows,).
    """
    hashes = []
    for value in ids:
        digest = hashlib.blake2b(str(value).encode(), key=key, digest_size=8).digest()
        hashes.append(int.from_bytes(digest, "big"))
    return np.array(hashes, dtype=np.uint64)
