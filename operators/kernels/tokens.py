"""An estimate of how many tokens a byte-level BPE tokenizer makes of a text, from counts of classes of bytes."""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import load_word, longest
from gristmill.operators.kernels.words import LOW_BITS

#: Thousandths of a token for each count. Words, punctuation and line feeds count by runs; letters are those of ASCII.
PER_LETTER, PER_WORD, PER_DIGIT, PER_PUNCTUATION, PER_NEWLINES = 63, 798, 536, 1205, 994
PER_TWO_BYTES, PER_MORE_BYTES = 422, 1086  # characters of two, of three and four bytes

_LETTER_BIT, _DIGIT_BIT, _PUNCTUATION_BIT, _NEWLINE_BIT, _TWO_BIT, _MORE_BIT = (np.uint64(bit) for bit in range(6))
_FLUSH = 31  # 8-byte words whose byte counters sum to less than 256
_TOP_BYTE = np.uint64(56)


@kernel
def estimate_tokens(data, offsets):
    """Return estimated tokens of each of n texts, uint32[n]; zero for an empty text only.

    data: uint8 UTF-8; offsets: int64[n + 1].
    """
    count = offsets.shape[0] - 1
    out = np.zeros(count, np.uint32)
    classes = np.zeros(longest(offsets) + 8 * _FLUSH + PADDING, np.uint8)
    for d in range(count):
        length = offsets[d + 1] - offsets[d]
        if length > 0:
            _classify(data[offsets[d] : offsets[d + 1]], classes[1:])
            classes[length + 1 : length + 1 + 8 * _FLUSH] = 0
            out[d] = max((_weigh(classes, length) + 500) // 1000, 1)
    return out


@kernel
def _classify(text, classes):
    """Set one bit for the class of each byte; none for spaces, control characters and bytes inside a character."""
    for k in range(text.shape[0]):
        c = text[k]
        letter = np.uint8((c | np.uint8(32)) - np.uint8(97)) < np.uint8(26)
        digit = np.uint8(c - np.uint8(48)) < np.uint8(10)
        visible = np.uint8(c - np.uint8(33)) < np.uint8(94)
        kind = np.uint8(4) if visible else np.uint8(0)
        kind = np.uint8(2) if digit else kind
        kind = np.uint8(1) if letter else kind
        kind = np.uint8(8) if c == np.uint8(10) else kind
        kind = np.uint8(16) if np.uint8(c - np.uint8(0xC0)) < np.uint8(32) else kind
        kind = np.uint8(32) if c >= np.uint8(0xE0) else kind
        classes[k] = kind


@kernel
def _weigh(classes, length):
    """Return thousandths of tokens. The text's classes start at classes[1]; those before and after are zero."""
    letters, words, digits, punctuation, newlines, two, more = 0, 0, 0, 0, 0, 0, 0
    for block in range(0, length, 8 * _FLUSH):
        # Eight counters of a byte each, side by side in a word: adding words adds them all.
        in_letters = in_words = in_digits = in_punctuation = in_newlines = in_two = in_more = np.uint64(0)
        for k in range(_FLUSH):
            here = load_word(classes, block + 8 * k + 1)
            starts = here & ~load_word(classes, block + 8 * k)
            in_letters += (here >> _LETTER_BIT) & LOW_BITS
            in_words += (starts >> _LETTER_BIT) & LOW_BITS
            in_digits += (here >> _DIGIT_BIT) & LOW_BITS
            in_punctuation += (starts >> _PUNCTUATION_BIT) & LOW_BITS
            in_newlines += (starts >> _NEWLINE_BIT) & LOW_BITS
            in_two += (here >> _TWO_BIT) & LOW_BITS
            in_more += (here >> _MORE_BIT) & LOW_BITS
        letters += _sum_of_bytes(in_letters)
        words += _sum_of_bytes(in_words)
        digits += _sum_of_bytes(in_digits)
        punctuation += _sum_of_bytes(in_punctuation)
        newlines += _sum_of_bytes(in_newlines)
        two += _sum_of_bytes(in_two)
        more += _sum_of_bytes(in_more)
    tokens = PER_LETTER * letters + PER_WORD * words + PER_DIGIT * digits
    tokens += PER_PUNCTUATION * punctuation + PER_NEWLINES * newlines
    return tokens + PER_TWO_BYTES * two + PER_MORE_BYTES * more


@kernel
def _sum_of_bytes(word):
    return np.int64((word * LOW_BITS) >> _TOP_BYTE)
