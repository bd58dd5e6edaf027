"""Characters as rules of lines and pages see them: bits for every code point, and a class for every byte of a text.

The tables follow the Unicode version of the running Python (`unicodedata.unidata_version`), terminal punctuation apart.
"""

# mypy: ignore-errors
from __future__ import annotations

import functools
import unicodedata

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import (
    CLASSIFIED,
    CONTENT,
    INK,
    LETTER,
    character_classes,
    code_point,
)
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import load_word, trailing_zeros
from gristmill.operators.kernels.words import LOW_BITS, first_bytes, next_beyond_ascii

UPPER = np.uint8(8)  #: `str.isupper`
DIGIT = np.uint8(16)  #: `str.isdigit`
DECIMAL = np.uint8(32)  #: `\d` of regular expressions
TERMINAL = np.uint8(64)  #: punctuation that ends a sentence
CLOSING = np.uint8(128)  #: quotation marks, and brackets that close: they may stand between that and the white space

_BYTE, _SEVEN, _TOP_BYTE = np.uint64(8), np.uint64(7), np.uint64(56)
_LOW_SEVEN = np.uint64(0x7F7F7F7F7F7F7F7F)  # of each byte, the low seven bits

#: Code points with Unicode's property Sentence_Terminal, version 15.0: FineWeb's terminal punctuation (Penedo et al.
#: 2024, "The FineWeb Datasets", arXiv:2406.17557, section 3.6).
SENTENCE_TERMINAL = (
    "21 2e 3f 589 61d-61f 6d4 700-702 7f9 837 839 83d-83e 964-965 104a-104b 1362 1367-1368 166e 1735-1736 17d4-17d6 "
    "17d9-17da 1803 1809 1944-1945 1aa8-1aab 1b5a-1b5b 1b5e-1b5f 1b7d-1b7e 1c3b-1c3c 1c7e-1c7f 203c-203d 2047-2049 "
    "2e2e 2e3c 2e53-2e54 3002 a4ff a60e-a60f a6f3 a6f7 a876-a877 a8ce-a8cf a92f a9c8-a9c9 aa5d-aa5f aaf0-aaf1 abeb "
    "fe52 fe56-fe57 ff01 ff0e ff1f ff61 10a56-10a57 10f55-10f59 10f86-10f89 11047-11048 110be-110c1 11141-11143 "
    "111c5-111c6 111cd 111de-111df 11238-11239 1123b-1123c 112a9 1144b-1144c 115c2-115c3 115c9-115d7 11641-11642 "
    "1173c-1173e 11944 11946 11a42-11a43 11a9b-11a9c 11c41-11c42 11ef7-11ef8 11f43-11f44 16a6e-16a6f 16af5 "
    "16b37-16b38 16b44 16e98 1bc9f 1da88"
)


def terminal_punctuation() -> str:
    """Return all characters of SENTENCE_TERMINAL."""
    ends = ([int(end, 16) for end in span.split("-")] for span in SENTENCE_TERMINAL.split())
    return "".join(chr(c) for span in ends for c in range(span[0], span[-1] + 1))


@functools.cache
def line_classes() -> NDArray[np.uint8]:
    """Return bits INK, LETTER, CONTENT (as `character_classes` has them), UPPER ... CLOSING of every code point."""
    classes = character_classes() & (INK | LETTER | CONTENT)
    characters = [chr(c) for c in range(CLASSIFIED)]
    closing = ("Pe", "Pf", "Pi")
    for bit, members in (
        (UPPER, map(str.isupper, characters)),
        (DIGIT, map(str.isdigit, characters)),
        (DECIMAL, map(str.isdecimal, characters)),
        (CLOSING, (c in "\"'" or unicodedata.category(c) in closing for c in characters)),
    ):
        classes[:CLASSIFIED][np.fromiter(members, np.bool_, CLASSIFIED)] |= bit
    classes[[ord(c) for c in terminal_punctuation()]] |= TERMINAL
    classes.flags.writeable = False
    return classes


@kernel
def classify_characters(data, start, length, text, classes, table):
    """Copy data[start : start + length] to `text`, give every character its class; return True if all is ASCII.

    The class stands at a character's first byte, its INK and CONTENT at the bytes after that. `table` is
    `line_classes()`; both outputs are uint8[length + PADDING] or longer and end in zeros.
    """
    source = data[start : start + length]
    for k in range(length):
        text[k] = source[k]
    _classify_ascii(text, length, classes)
    text[length : length + PADDING] = 0
    classes[length : length + PADDING] = 0
    i = next_beyond_ascii(text, 0, length)
    is_ascii = i == length
    while i < length:
        value, width = code_point(text, i, length)
        kind = table[value]
        classes[i] = kind
        for k in range(1, width):
            classes[i + k] = kind & (INK | CONTENT)
        i += width
        if text[i] < 0x80:
            i = next_beyond_ascii(text, i, length)
    return is_ascii


@kernel
def _classify_ascii(text, length, classes):
    """Write what `table` holds for ASCII, by comparisons: the compiler makes vector instructions of them."""
    for k in range(length):
        c = text[k]
        letter = np.uint8((c | np.uint8(32)) - np.uint8(97)) < np.uint8(26)
        upper = np.uint8(c - np.uint8(65)) < np.uint8(26)
        digit = np.uint8(c - np.uint8(48)) < np.uint8(10)
        control = (np.uint8(c - np.uint8(9)) < np.uint8(5)) | (np.uint8(c - np.uint8(28)) < np.uint8(4))
        terminal = (c == np.uint8(33)) | (c == np.uint8(46)) | (c == np.uint8(63))
        quote = (c == np.uint8(34)) | (c == np.uint8(39))
        bracket = (c == np.uint8(41)) | (c == np.uint8(93)) | (c == np.uint8(125))
        kind = np.uint8(0) if control | (c == np.uint8(32)) else INK
        kind |= (LETTER | CONTENT) if letter else np.uint8(0)
        kind |= UPPER if upper else np.uint8(0)
        kind |= (CONTENT | DIGIT | DECIMAL) if digit else np.uint8(0)
        kind |= TERMINAL if terminal else np.uint8(0)
        kind |= CLOSING if quote | bracket else np.uint8(0)
        classes[k] = kind


@kernel
def next_of_class(classes, start, end, bit):
    """Return the position of the first byte in classes[start : end] that has a bit, else `end`. `classes` is padded."""
    wanted = LOW_BITS * np.uint64(bit)
    while start < end:
        marked = load_word(classes, start) & wanted
        if marked != 0:
            return min(start + (trailing_zeros(marked) >> 3), end)
        start += 8
    return end


@kernel
def character_before(text, start, end):
    """Return the position of the character that ends before `end`, which is greater than `start`."""
    i = end - 1
    while i > start and text[i] & 0xC0 == 0x80:
        i -= 1
    return i


@kernel
def count_words(classes, start, end):
    """Count the runs of ink in classes[start : end]. `classes` is padded."""
    words, before = np.uint64(0), np.uint64(0)
    for k in range(start, end, 8):
        ink = load_word(classes, k) & first_bytes(min(end - k, 8)) & LOW_BITS
        words += ((ink & ~(ink << _BYTE | before)) * LOW_BITS) >> _TOP_BYTE
        before = ink >> _TOP_BYTE
    return np.int64(words)


@kernel
def count_class(classes, start, end, bit):
    """Count the characters in classes[start : end] that have a bit, which is neither INK nor CONTENT.

    `classes` is padded.
    """
    wanted, characters = LOW_BITS * np.uint64(bit), np.uint64(0)
    for k in range(start, end, 8):
        marked = load_word(classes, k) & first_bytes(min(end - k, 8)) & wanted
        # bits of a byte are few: adding 127 to the low seven carries into the highest where any is set
        characters += (((marked & _LOW_SEVEN) + _LOW_SEVEN | marked) >> _SEVEN & LOW_BITS) * LOW_BITS >> _TOP_BYTE
    return np.int64(characters)
