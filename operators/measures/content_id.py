"""The identity of a document: a hash of its text as it was read."""

from __future__ import annotations

import pyarrow as pa

from gristmill.operators.arrays import hash_column
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.hashes import hash_texts


def content_ids(texts: pa.Array) -> pa.FixedSizeBinaryArray:
    """Return 128-bit hashes of texts (n), as binary(16) in little-endian order; null where the text is null."""
    return hash_column(hash_texts(*text_buffers(texts)), texts)
