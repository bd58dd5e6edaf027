"""Check which texts are composed already (Unicode normalization form C): the quick check of annex 15, section 9."""

# mypy: ignore-errors
from __future__ import annotations

import functools
import unicodedata

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.characters import CLASSIFIED, CODE_POINTS, code_point
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.words import next_beyond_ascii

#: A character that may change or may combine with the one before, or that this Python's Unicode does not have.
MAY_CHANGE = np.uint8(255)
_JAMO = (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))  # vowels and finals, which join syllables by a rule


@functools.cache
def composition_classes() -> NDArray[np.uint8]:
    """Return MAY_CHANGE or the canonical combining class of each code point.

    What characters compose to is the same in all versions of Unicode that have them.
    """
    classes = np.full(CODE_POINTS, MAY_CHANGE, np.uint8)
    characters = [chr(c) for c in range(CLASSIFIED)]
    classes[:CLASSIFIED] = [unicodedata.combining(c) for c in characters]
    composed = [unicodedata.decomposition(c).split() for c in characters]
    seconds = {int(parts[1], 16) for parts in composed if len(parts) == 2 and not parts[0].startswith("<")}
    changed = [ord(c) for c in characters if unicodedata.category(c) == "Cn" or unicodedata.normalize("NFC", c) != c]
    classes[[*seconds, *_JAMO, *changed]] = MAY_CHANGE
    classes.flags.writeable = False
    return classes


@kernel
def may_compose(data, offsets, classes):
    """Return for each of n texts (UTF-8) whether it may be another in form C: bool [n]."""
    found = np.zeros(offsets.shape[0] - 1, np.bool_)
    for d in range(found.shape[0]):
        start, end, before = next_beyond_ascii(data, offsets[d], offsets[d + 1]), offsets[d + 1], 0
        while start < end:
            value, width = code_point(data, start, end)
            kind = classes[value]
            if kind == MAY_CHANGE or 0 < kind < before:
                found[d] = True
                break
            start, before = start + width, kind
            if start < end and data[start] < 0x80:
                start, before = next_beyond_ascii(data, start, end), 0
    return found
