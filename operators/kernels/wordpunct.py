r"""Word and punctuation tokens of lower-cased text, for any script: `re.findall(r"\w+|[^\w\s]+", text.lower())`.

Character classes and case come from the Python that runs (`re`, `str.lower`, `unicodedata`), so they agree with it to
the last code point of its Unicode version. Bytes that are not UTF-8 read as U+FFFD; lone surrogates (three bytes, such
as ED A0 80) stay as they are. Both are symbols.
"""

# mypy: ignore-errors
from __future__ import annotations

import functools
import re
import sys
import unicodedata
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import code_point
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import longest, trailing_zeros
from gristmill.operators.kernels.words import mask_of, next_beyond_ascii

#: Classes of code points: the low bits of `Characters.kinds`.
SPACE, WORD, SYMBOL = np.uint8(0), np.uint8(1), np.uint8(2)
SINGLE = np.uint8(3)  #: a token by itself, whatever stands beside it
_CLASS = np.uint8(3)
#: Properties that decide the form of a sigma (Unicode standard, section 3.13, table 3-17): the bits above.
_CASED, _IGNORED = np.uint8(4), np.uint8(8)

_CAPITAL_SIGMA, _SIGMA, _FINAL_SIGMA = 0x3A3, 0x3C3, 0x3C2
_CAPITAL_DOTTED_I, _DOT_ABOVE = 0x130, 0x307  # the only capital that is two code points in lower case

#: Marks: what a byte of the lower-cased text begins. The low bit says that something does.
_INSIDE, _TOKEN, _BLANK = np.uint8(0), np.uint8(1), np.uint8(3)
_REST = np.uint8(4)  #: class of the bytes of a SINGLE character after its first
_ONE = np.uint64(1)
_SPACE = np.uint8(32)
_TOKENS = 1024  # that are found at a time
#: Most bytes that `write_tokens` writes for one of a text: that is not UTF-8 and becomes three, and a space.
WRITTEN_BYTES = 4

#: First and last code points of scripts written without spaces: a character is about a syllable or a word.
UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1780, 0x17FF),  # Khmer
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana phonetic extensions
    (0x3400, 0x4DBF),  # Han, as below
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)
_MARKS_END = 0x20000  # combining marks lie below, variation selectors apart


class Characters(NamedTuple):
    """Tables over all code points."""

    kinds: NDArray[np.uint8]  #: [0x110000] class and case properties
    lower: NDArray[np.int32]  #: [0x110000] the lower-case code point


@functools.lru_cache
def characters(like_re: bool) -> Characters:
    """Return the tables, made once per process: words as `re` has them, or as suits any script.

    In the second case combining marks belong to words, as in Unicode's technical standard 18 (to `re` a word in
    Devanagari ends at every vowel sign), and letters of UNSPACED scripts are tokens by themselves.
    """
    every = np.arange(sys.maxunicode + 1, dtype=np.int32)
    text = _decode(every)
    kinds = np.full(len(every), SYMBOL, np.uint8)
    for kind, pattern in ((SPACE, r"\s+"), (WORD, r"\w+")):
        for run in re.finditer(pattern, text):
            kinds[run.start() : run.end()] = kind
    if not like_re:
        kinds[[i for i, c in enumerate(text[:_MARKS_END]) if unicodedata.category(c)[0] == "M"]] = WORD
        for first, last in UNSPACED:
            letters = kinds[first : last + 1]
            letters[letters == WORD] = SINGLE
    # A sigma is final after a cased letter and characters to ignore between them: str.lower tells which are which.
    # They all lie in planes 0, 1 and 14.
    code_points = every[np.isin(every >> 16, (0, 1, 14))]
    after_it, after_a_letter_and_it = _sigma_is_final("", code_points), _sigma_is_final("a", code_points)
    kinds[code_points[after_it]] |= _CASED
    kinds[code_points[after_a_letter_and_it & ~after_it]] |= _IGNORED
    return Characters(kinds, _lower(every))


def _decode(codes: NDArray[np.int32]) -> str:
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


def _lower(codes: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return lower case of each code point by itself: as many as were given."""
    single = np.where(codes == _CAPITAL_DOTTED_I, ord("i"), codes).astype(np.int32)
    return np.frombuffer(_decode(single).lower().encode("utf-32-le", "surrogatepass"), np.int32)


def _sigma_is_final(before: str, codes: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return for each code point whether sigma in `before` + it + sigma + space is lower-cased to a final one."""
    rows = np.empty((len(codes), len(before) + 3), np.int32)
    rows[:] = [*map(ord, before), 0, _CAPITAL_SIGMA, ord(" ")]
    rows[:, -3] = codes
    return _lower(rows.ravel()).reshape(rows.shape)[:, -2] == _FINAL_SIGMA


@kernel
def room_for(length):
    """Return the scratch, in bytes, to lower-case `length` bytes: one not in UTF-8 becomes three, others grow less."""
    return 3 * length + 2 * PADDING


@kernel
def lower_and_mark(data, start, end, characters, text, marks):
    """Lower-case data[start:end] (UTF-8) into `text`; mark in `marks` where tokens and white space begin.

    Both are uint8[room_for(end - start)]. Returns the length of the lower-cased text.
    """
    length = _lower_and_classify(data, start, end, characters, text, marks)
    for i in range(length - 1, -1, -1):
        kind, before = marks[i], marks[i - 1] if i > 0 else _REST
        begins = (kind != before and kind != _REST) or kind == SINGLE
        marks[i] = (_BLANK if kind == SPACE else _TOKEN) if begins else _INSIDE
    # The end of the text closes the last token; `find_tokens` looks at whole blocks.
    marks[length] = _BLANK
    marks[length + 1 : length + PADDING] = _INSIDE
    return length


@kernel
def _lower_and_classify(data, start, end, characters, text, kinds):
    """Write data[start:end] in lower case and the class of each of its bytes. Returns its length."""
    i, length = start, 0
    while i < end:
        stop = next_beyond_ascii(data, i, end)
        _lower_and_classify_ascii(data, i, stop, text, kinds, length)
        length += stop - i
        i = stop
        if i == end:
            break
        code, width = code_point(data, i, end)
        lower = np.int64(characters.lower[code])
        if code == _CAPITAL_SIGMA and _sigma_at_word_end(data, start, i, end, characters.kinds):
            lower = _FINAL_SIGMA
        length = _append(lower, text, kinds, length, characters.kinds)
        if code == _CAPITAL_DOTTED_I:
            length = _append(_DOT_ABOVE, text, kinds, length, characters.kinds)
        i += width
    return length


@kernel
def _lower_and_classify_ascii(data, start, stop, text, kinds, length):
    """Do the same for a run of ASCII, without branches: the compiler makes vector instructions of it."""
    for i in range(stop - start):
        byte = data[start + i]
        lower = np.uint8(byte | np.uint8(32)) if np.uint8(byte - np.uint8(65)) < 26 else byte
        letter = (np.uint8(lower - np.uint8(97)) < 26) | (np.uint8(lower - np.uint8(48)) < 10) | (lower == 95)
        blank = (byte == 32) | (np.uint8(byte - np.uint8(9)) < 5) | (np.uint8(byte - np.uint8(28)) < 4)
        text[length + i] = lower
        kinds[length + i] = WORD if letter else (SPACE if blank else SYMBOL)


@kernel
def _append(code, text, kinds, length, kind_of):
    """Write one code point as UTF-8 after `length` bytes, and the class of its bytes. Returns the new length."""
    if code < 0x80:
        width = 1
        text[length] = code
    elif code < 0x800:
        width = 2
        text[length] = 0xC0 | code >> 6
    elif code < 0x10000:
        width = 3
        text[length] = 0xE0 | code >> 12
    else:
        width = 4
        text[length] = 0xF0 | code >> 18
    for k in range(1, width):
        text[length + k] = 0x80 | code >> 6 * (width - 1 - k) & 0x3F
    kind = kind_of[code] & _CLASS
    kinds[length] = kind
    kinds[length + 1 : length + width] = _REST if kind == SINGLE else kind
    return length + width


@kernel
def _sigma_at_word_end(data, start, at, end, kinds):
    """Return whether the capital sigma at data[at] ends a word: a cased letter stands before it and none behind it."""
    i = at
    kind = _IGNORED
    while i > start and kind & _IGNORED:
        i -= 1
        while i > start and data[i] & 0xC0 == 0x80:
            i -= 1
        kind, _ = _kind_at(data, i, end, kinds)
    if kind & _IGNORED or not kind & _CASED:
        return False
    i = at + 2
    while i < end:
        kind, width = _kind_at(data, i, end, kinds)
        if not kind & _IGNORED:
            return not kind & _CASED
        i += width
    return True


@kernel
def _kind_at(data, i, end, kinds):
    code, width = code_point(data, i, end) if data[i] >= 0x80 else (np.int64(data[i]), 1)
    return kinds[code], width


@kernel
def find_tokens(marks, length, position, starts, ends, found):
    """Find tokens from `position` on, until the text ends or the arrays are nearly full.

    Writes them behind the `found` ones of starts and ends (int64, byte positions), which need room for more than 64.
    Returns how many there are now, and the position to go on from: behind `length` when the text has ended.
    """
    edge, in_token = position, False
    while position <= length and found + 64 < starts.shape[0]:
        edges = mask_of(marks, position, 0)
        while edges != 0:
            here = position + trailing_zeros(edges)
            edges &= edges - _ONE
            starts[found], ends[found] = edge, here
            found += in_token
            edge, in_token = here, marks[here] == _TOKEN
        position += 64
    return found, edge if in_token else position


@kernel
def write_tokens(data, offsets, characters, lines, starts):
    """Write the tokens of each of n texts, lower-cased and a space between them, to lines[starts[d] : starts[d + 1]].

    lines: uint8, WRITTEN_BYTES for each byte of the texts; starts: int64[n + 1]. Both are filled in.
    """
    room = room_for(longest(offsets))
    text, marks = np.empty(room, np.uint8), np.empty(room, np.uint8)
    firsts, ends = np.empty(_TOKENS, np.int64), np.empty(_TOKENS, np.int64)
    starts[0] = at = 0
    for d in range(offsets.shape[0] - 1):
        length = lower_and_mark(data, offsets[d], offsets[d + 1], characters, text, marks)
        position = 0
        while position <= length:
            found, position = find_tokens(marks, length, position, firsts, ends, 0)
            for t in range(found):
                if at > starts[d]:
                    lines[at] = _SPACE
                    at += 1
                for i in range(firsts[t], ends[t]):
                    lines[at] = text[i]
                    at += 1
        starts[d + 1] = at
