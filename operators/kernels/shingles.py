r"""Shingles of a text: every run of `ngram` words of the lower-cased text, as a 64-bit hash.

Words are those of `re.findall(r"\w+", text.lower())` but for these rules, which suit words of any script:

- Combining marks (general categories M*, below U+20000) belong to words, so that Indic words are not torn at their
  vowel signs; a mark without a letter before it (the variation selector of an emoji) is then a word.
- A character of a script written without spaces (`wordpunct.UNSPACED`) is a word by itself.
- Case is folded one code point below U+10000 at a time, where its lower case is a single code point: a capital sigma
  becomes "σ" wherever it stands, "İ" stays as it is. The hash of normalised text (`hashes`) does the same, so texts
  with equal ones have equal shingles.

Bytes that are not UTF-8 and lone surrogates are no word characters. A text of fewer words than `ngram` has one shingle,
all its words; one without words has none.
"""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.buffers import PADDING
from gristmill.operators.kernels.characters import LOWER_CASE_LIMIT, code_point, lower_case, put_code_point
from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import GOLDEN, SECRET_2, hash_word, longest, multiply_fold, trailing_zeros
from gristmill.operators.kernels.wordpunct import SINGLE, WORD, characters
from gristmill.operators.kernels.words import edges_of, mask_of, next_beyond_ascii

_APART = np.uint8(0)  #: class of the bytes between words; that of their own is WORD, a bit that SINGLE has as well
_CLASS = np.uint8(3)  #: the bits of `Characters.kinds` that tell WORD, SINGLE and others apart
_ONE = np.uint64(1)
_LAST_BIT = np.uint64(63)


class Alphabet(NamedTuple):
    """Tables over code points."""

    kinds: NDArray[np.uint8]  #: [0x110000] low bits WORD, SINGLE or something else
    lower: NDArray[np.uint32]  #: [0x10000] the lower-case code point


def alphabet() -> Alphabet:
    """Return the tables, made once per process."""
    return Alphabet(characters(like_re=False).kinds, lower_case())


class Scratch(NamedTuple):
    """Room for one text. Memory that a text does not reach is never touched."""

    text: np.ndarray  #: uint8, lower-cased
    classes: np.ndarray  #: uint8, WORD or _APART for every byte of it
    hashes: np.ndarray  #: uint64, of its words and then of its shingles


@kernel
def scratch_for(offsets):
    """Return scratch for the longest text: of 8 bytes for each of its bytes usual text touches 3, any at most 6."""
    length = longest(offsets)
    # "Ⱥ" grows from two bytes to three; a character set apart from its neighbours from three to five
    room = 2 * length + PADDING
    return Scratch(np.empty(room, np.uint8), np.empty(room, np.uint8), np.empty(length // 2 + 1, np.uint64))


@kernel
def fill_shingles(data, start, end, ngram, alphabet, scratch):
    """Write hashes of the shingles of data[start : end] (UTF-8), in order and with repeats, to scratch.hashes.

    `scratch` is `scratch_for` texts that this one is among. Returns the number of shingles.
    """
    length = _lower_and_classify(data, start, end, alphabet.kinds, alphabet.lower, scratch.text, scratch.classes)
    words = _hash_words(scratch.text, scratch.classes, length, scratch.hashes)
    return _roll(scratch.hashes, words, ngram)


@kernel
def shingle_sets(data, offsets, ngram, alphabet):
    """Return the distinct shingles of each of n texts: uint64, sorted within a text, and n + 1 offsets (int64).

    data: uint8 UTF-8; offsets: int64[n + 1]; ngram: words in a shingle; alphabet: `alphabet()`.
    """
    count = offsets.shape[0] - 1
    scratch = scratch_for(offsets)
    ends = np.zeros(count + 1, np.int64)
    values = np.empty((offsets[count] - offsets[0]) // 8 + PADDING, np.uint64)
    for d in range(count):
        shingles = fill_shingles(data, offsets[d], offsets[d + 1], ngram, alphabet, scratch)
        distinct = sort_distinct(scratch.hashes[:shingles])
        first = ends[d]
        ends[d + 1] = first + distinct
        if ends[d + 1] > values.shape[0]:
            grown = np.empty(max(2 * values.shape[0], ends[d + 1]), np.uint64)
            grown[:first] = values[:first]
            values = grown
        values[first : ends[d + 1]] = scratch.hashes[:distinct]
    return values[: ends[count]].copy(), ends


@kernel
def sort_distinct(values):
    """Sort in place, distinct values first; return how many they are."""
    values.sort()
    distinct = 0
    for i in range(values.shape[0]):
        if i == 0 or values[i] != values[i - 1]:
            values[distinct] = values[i]
            distinct += 1
    return distinct


@kernel
def _lower_and_classify(data, start, end, kinds, lower, text, classes):
    """Write data[start : end] in lower case to `text`, WORD or _APART for each byte to `classes`; return its length.

    Characters that are words by themselves get a byte before and after them that is in no word. Characters that are in
    no word keep their length, but beyond ASCII they are not written: nothing reads them.
    """
    _lower_and_classify_ascii(data[start:end], text, classes)
    i = next_beyond_ascii(data, start, end)
    length = i - start
    while i < end:
        value, width = code_point(data, i, end)
        i += width
        kind = kinds[value] & _CLASS
        if kind == SINGLE:
            classes[length] = _APART
            length += 1
        if kind & WORD and value < LOWER_CASE_LIMIT:
            width = put_code_point(lower[value], text, length)
        elif kind & WORD:
            for k in range(4):
                text[length + k] = data[i - 4 + k]
        _fill(classes, length, width, kind & WORD)
        length += width
        if kind == SINGLE:
            classes[length] = _APART
            length += 1
        if i < end and data[i] < 0x80:
            stop = next_beyond_ascii(data, i, end)
            if length != i - start:  # text before it has grown or shrunk: this run of ASCII is not in its place
                _lower_and_classify_ascii(data[i:stop], text[length:], classes[length:])
            length += stop - i
            i = stop
    classes[length : length + PADDING] = _APART
    return length


@kernel
def _lower_and_classify_ascii(source, text, classes):
    """Do the same for a run of ASCII, without branches: the compiler makes vector instructions of it."""
    for k in range(source.shape[0]):
        c = source[k]
        low = np.uint8(c | np.uint8(32)) if np.uint8(c - np.uint8(65)) < 26 else c
        word = (np.uint8(low - np.uint8(97)) < 26) | (np.uint8(low - np.uint8(48)) < 10) | (low == 95)
        text[k] = low
        classes[k] = WORD if word else _APART


@kernel
def _fill(classes, at, width, kind):
    """Set the class of 1 to 4 bytes. Spelt out: the compiler would call memset for a loop."""
    classes[at] = kind
    if width > 1:
        classes[at + 1] = kind
    if width > 2:
        classes[at + 2] = kind
    if width > 3:
        classes[at + 3] = kind


@kernel
def _hash_words(text, classes, length, hashes):
    """Hash each run of WORD bytes, in their order; return the number of runs."""
    words, begin, carry = 0, -1, np.uint64(0)
    for block in range(0, length + 1, 64):  # one byte behind the text, so that its end is an edge
        mask = mask_of(classes, block, 0)
        edges = edges_of(mask, carry)
        carry = mask >> _LAST_BIT
        while edges != 0:
            edge = block + trailing_zeros(edges)
            edges &= edges - _ONE
            if begin < 0:
                begin = edge
            else:
                hashes[words] = hash_word(text, begin, edge - begin)
                words += 1
                begin = -1
    return words


@kernel
def _roll(hashes, words, ngram):
    """Replace hashes of words by those of the shingles that they begin; return the number of shingles.

    The hash of words w_1 .. w_n is sum(w_k * GOLDEN ** (n - k)) modulo 2**64 (Karp and Rabin 1987), mixed: of the sum
    alone, the lowest bit would be no more than the parity of the words' lowest bits.
    """
    if words == 0:
        return 0
    first = min(words, ngram)
    power, rolled = _ONE, np.uint64(0)
    for k in range(first):
        power *= GOLDEN
        rolled = rolled * GOLDEN + hashes[k]
    for k in range(words - first):
        leaving = hashes[k]
        hashes[k] = multiply_fold(rolled ^ SECRET_2, GOLDEN)
        rolled = rolled * GOLDEN + hashes[k + first] - leaving * power
    hashes[words - first] = multiply_fold(rolled ^ SECRET_2, GOLDEN)
    return words - first + 1
