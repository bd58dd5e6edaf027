"""Plain arrays, as kernels take them, of Arrow arrays."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

#: Kernels read whole 8-byte words and 64-byte blocks: their scratch is this much longer than the text.
PADDING = 64


def text_buffers(texts: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return UTF-8 bytes and n + 1 offsets (int64) of a string array of n texts, without copying the text.

    A null has length zero. The bytes end where Arrow's buffer ends: a kernel copies a text into padded scratch before
    it reads words past its end.
    """
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    if texts.type != pa.large_string():
        texts = texts.cast(pa.large_string())
    _, offsets, data = texts.buffers()
    n = len(texts)
    starts, content = np.zeros(n + 1, np.int64), np.zeros(1, np.uint8)
    if n > 0 and offsets is not None:
        starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + n + 1]
    if data is not None and data.size:
        content = np.frombuffer(data, np.uint8)
    for array in (starts, content):
        array.flags.writeable = False  # always, though Arrow's buffers differ in it: else kernels are compiled for both
    return content, starts


def id_words(ids: pa.Array) -> NDArray[np.uint64]:
    """Return 128-bit ids (n, binary(16)) as little-endian words (n x 2); null is zero."""
    if isinstance(ids, pa.ChunkedArray):
        ids = ids.combine_chunks()
    ids = pc.fill_null(ids, bytes(16))
    words = np.frombuffer(ids.buffers()[1] or b"", np.dtype("<u8"))
    words = words[2 * ids.offset : 2 * (ids.offset + len(ids))].reshape(-1, 2)
    words.flags.writeable = False
    return words
