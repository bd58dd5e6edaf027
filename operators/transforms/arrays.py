"""Arrow arrays of texts of which some are replaced; texts are bytes that need not be UTF-8."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa


def replaced(texts: pa.LargeStringArray, where: Sequence[int], by: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return the texts with those at the ascending positions `where` replaced."""
    pieces, start = [], 0
    for k, position in enumerate(where):
        pieces += [texts.slice(start, position - start), by.slice(k, 1)]
        start = position + 1
    return pa.concat_arrays([*pieces, texts.slice(start)])


def array_of(texts: Sequence[bytes]) -> pa.LargeStringArray:
    """Return texts (n) as an array, unchecked: what was not UTF-8 before need not be so after."""
    content = pa.array(texts, pa.large_binary())
    return pa.LargeStringArray.from_buffers(len(content), *content.buffers()[1:])
