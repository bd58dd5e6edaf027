"""The rule that keeps one document of those that are equal in some column: by default, in their normalised text."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, field_validator

from gristmill.operators.base import Rule
from gristmill.operators.expressions.order import is_ordered, order_keys
from gristmill.operators.kernels.buffers import id_words, text_buffers
from gristmill.operators.kernels.hashes import hash_texts
from gristmill.operators.rules.copies import Candidates
from gristmill.operators.rules.keep import Keep, rank_column, ranks

TEXT_HASH = "text_hash"
HASH = pa.binary(16)


class ExactDedup(Rule):
    """Keeps one document of each set of exact copies: documents that agree in a column, or in several.

    `exact_dedup: {keep: "best: quality"}`. By default copies agree in `text_hash`, the hash of the normalised text;
    `by: url` or `by: [source, id]` takes other columns. `keep: first` keeps the smallest address, `keep: longest` the
    most bytes, `keep: "best: COLUMN"` the highest value (null and NaN lose). Ties go to the smaller address. A document
    in which a column of `by` is null (or NaN) is a copy of nothing. Values are compared by 128-bit hashes.
    """

    shorthand: ClassVar[str | None] = "keep"

    keep: Keep = "first"
    by: str | tuple[str, ...] = Field(default=TEXT_HASH, description="column, or columns, that copies agree in")

    @field_validator("by")
    @classmethod
    def _check_by(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value:
            raise ValueError("by names a column, or several; leave it out to compare texts")
        return value

    @property
    def key_columns(self) -> tuple[str, ...]:
        """Return the columns that copies agree in."""
        return (self.by,) if isinstance(self.by, str) else self.by

    @property
    def rank_column(self) -> str | None:
        """Return the column whose highest value survives; None where the first document does."""
        return rank_column(self.keep)

    def reads(self) -> set[str]:
        """Return the columns that it reads."""
        return {*self.key_columns, *filter(None, [self.rank_column])}

    def candidates(self, documents: pa.Table, addresses: NDArray[np.uint64]) -> Candidates:
        """Return the documents (n rows of the columns of `reads()`) that may be copies: those without a null key."""
        keys, keyed = hash_columns([documents[name] for name in self.key_columns])
        unranked, rank = ranks(self.keep, documents)
        return Candidates(keys, unranked, rank, addresses).take(np.flatnonzero(keyed))


def is_comparable(type: pa.DataType) -> bool:
    """Return whether a column of this type can be a key: text, bytes, or what has an order."""
    if pa.types.is_dictionary(type):
        return is_comparable(type.value_type)
    return bool(
        is_ordered(type)
        or pa.types.is_string(type)
        or pa.types.is_large_string(type)
        or pa.types.is_binary(type)
        or pa.types.is_large_binary(type)
        or pa.types.is_fixed_size_binary(type)
    )


def hash_columns(arrays: list[pa.ChunkedArray]) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Return keys (n x 2, uint64), equal where all columns are, and a mask (n) of rows without null and NaN.

    A single column of 16-byte hashes is its own key.
    """
    hashed = [_hash(array.combine_chunks()) for array in arrays]
    keyed = np.logical_and.reduce([valid for _, valid in hashed])
    if len(hashed) == 1:
        return hashed[0][0], keyed
    matrix = np.hstack([keys for keys, _ in hashed])
    return hash_texts(*_fixed(matrix)), keyed


def _hash(array: pa.Array) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    valid = np.asarray(array.is_valid())
    if array.type == HASH:
        return id_words(array), valid
    if is_ordered(array.type):
        order, valid = order_keys(array)
        return hash_texts(*_fixed(order.reshape(-1, 1))), valid
    if (
        pa.types.is_binary(array.type)
        or pa.types.is_large_binary(array.type)
        or pa.types.is_fixed_size_binary(array.type)
    ):
        array = array.cast(pa.large_binary()).view(pa.large_string())  # only its bytes matter
    return hash_texts(*text_buffers(array)), valid


def _fixed(words: NDArray[np.uint64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return rows of words (n x k) as bytes and offsets."""
    n, k = words.shape
    data = np.ascontiguousarray(words, np.dtype("<u8")).view(np.uint8).reshape(-1)
    offsets = np.arange(n + 1, dtype=np.int64) * (8 * k)
    for array in (data, offsets):
        array.flags.writeable = False  # as `text_buffers` gives them: else kernels are compiled for both
    return data, offsets
