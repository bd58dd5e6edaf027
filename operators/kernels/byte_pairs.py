"""Texts to tokens, for byte-level BPE tokenizers: cut into words, each of which is merged, or remembered.

Words that were met are remembered with their tokens, in two tables, for short and long words; what is remembered
changes no result. A slot is a word, padded with zeros, its length in the highest byte of the last 64 bits, then its
tokens, three to 64 bits, their number in the highest four bits of the last. A line of short words has two slots: a new
word displaces the second, and goes to the first when it is met again.
"""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.added_tokens import Added, next_added
from gristmill.operators.kernels.compiling import borrowing, kernel
from gristmill.operators.kernels.merging import ID_BITS, LONGEST, WORK, encode_word
from gristmill.operators.kernels.pretokens import ROOM, TO_CUT, Pattern, classify, mark_starts, piece_stop
from gristmill.operators.kernels.primitives import (
    GOLDEN,
    SECRET_0,
    SECRET_1,
    SECRET_2,
    load_word,
    longest,
    multiply_fold,
    prefetch,
    trailing_zeros,
)

_ID = np.uint64((1 << ID_BITS) - 1)
_SHORT, _LONG = 15, 31  # bytes of the longest words of each table
_SHORT_TOKENS, _LONG_TOKENS = 6, 12
_LINE = 64  # bytes of a cache line
_QUEUE = 64
_ONE = np.uint64(1)
#: Masks of the first n bytes of a word of at most 15 bytes, and of those after the eighth.
_HEADS = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(17)], np.uint64)
_TAILS = np.array([(1 << 8 * max(n - 8, 0)) - 1 for n in range(17)], np.uint64)


class Cutting(NamedTuple):
    """A way to cut a text into words."""

    first: Added  #: tokens that are looked for in the text
    second: Added  #: tokens that are looked for in what is left between them
    pattern: Pattern
    blank_before: bool  #: whether text that does not begin with a blank, or follows a token, is read as if it did


class WordRoom(NamedTuple):
    """Room to work in, for texts of at most as many bytes."""

    text: NDArray[np.uint8]  #: [bytes] what is cut into words, ROOM zeros after it
    classes: NDArray[np.uint8]  #: [bytes] of characters
    starts: NDArray[np.uint64]  #: a bit for each byte
    queue: NDArray[np.uint64]  #: [4, _QUEUE] words that wait: begin, end, two words of the key
    key: NDArray[np.uint64]  #: [4] of a long word
    work: NDArray[np.int64]  #: [WORK * bytes] what a word is merged in
    ahead: NDArray[np.int64]  #: [2, 256] see `next_added`


class WordMemory(NamedTuple):
    """The words that were met, for one call at a time."""

    short: NDArray[np.uint64]  #: [lines, 8]: two slots each, lines a power of two
    long: NDArray[np.uint64]  #: [lines, 8]: one slot each


def empty_memory(words: int) -> WordMemory:
    """Return a memory of so many short words, a power of two, and an eighth as many long ones."""
    return WordMemory(_lines(words // 2), _lines(words // 8))


def _lines(number: int) -> NDArray[np.uint64]:
    """Return as many cache lines of zeros, none of which lies across two of the machine's."""
    room = np.zeros(8 * number + 8, np.uint64)
    start = -(room.ctypes.data // 8) % 8
    return room[start : start + 8 * number].reshape(number, 8)


@kernel
def encode_texts(data, offsets, cutting, merges, memory, tokens, counts):
    """Write the tokens of n texts (UTF-8), one text after the other; count them: int64 [n].

    `tokens`: uint32, room for one for each byte and each text, and 8 more; where it has that
    for the longest text only, each text is written over the one before. A text whose count is not 0 beforehand is left
    out; the count is -1, and nothing is written, for one in which an added token is that has conditions, or a word of
    more than 1 MiB.
    """
    room = longest(offsets) + 1 + ROOM
    scratch = WordRoom(
        np.zeros(room, np.uint8),
        np.empty(room, np.uint8),
        np.empty((room >> 6) + 2, np.uint64),
        np.empty((4, _QUEUE), np.uint64),
        np.empty(4, np.uint64),
        np.empty(WORK * min(room, LONGEST), np.int64),
        np.empty((2, 256), np.int64),
    )
    keep = tokens.shape[0] >= offsets[-1] - offsets[0] + counts.shape[0] + 8
    at = 0
    for d in range(counts.shape[0]):
        before = at
        if counts[d] == 0:
            at = _encode_text(data, offsets[d], offsets[d + 1], cutting, merges, memory, scratch, tokens, at)
            counts[d] = at - before if at >= 0 else -1
        if at < 0 or not keep:
            at = before


@borrowing
def _encode_text(data, start, end, cutting, merges, memory, scratch, tokens, at):
    """Write the tokens of a text: those added, first of the one list and between them of the other, and of the rest.

    Returns how many there are now, or -1 where an added token has conditions or a word is too long.
    """
    first, second, pattern = cutting.first, cutting.second, cutting.pattern
    text, classes, ahead = scratch.text, scratch.classes, scratch.ahead
    ahead[0, :] = -1
    while start < end:
        border, found = next_added(data, start, end, first, ahead[0])
        ahead[1, :] = -1
        while start < border:
            stop, inside = next_added(data, start, border, second, ahead[1])
            length = stop - start
            if length > 0:
                blank = cutting.blank_before and data[start] != 32
                text[0] = 32
                source, copy = data[start:stop], text[1:] if blank else text
                for k in range(length):
                    copy[k] = source[k]
                length += blank
                text[length : length + ROOM] = 0
                classify(text, length, classes, pattern.classes)
                mark_starts(classes, length, pattern.like_gpt2, scratch.starts)
                at = _encode_pieces(length, pattern, merges, memory, scratch, tokens, at)
                if at < 0:
                    return at
            start = stop
            if inside >= 0:
                if second.conditions[inside]:
                    return -1
                tokens[at] = second.ids[inside]
                at += 1
                start += second.starts[inside + 1] - second.starts[inside]
        if found >= 0:
            if first.conditions[found]:
                return -1
            tokens[at] = first.ids[found]
            at += 1
            start += first.starts[found + 1] - first.starts[found]
    return at


@borrowing
def _encode_pieces(length, pattern, merges, memory, scratch, tokens, at):
    """Write the tokens of the pieces of a text behind tokens[:at]; return how many there are now, or -1.

    Pieces wait in the queue while the lines of memory in which they are looked for are fetched.
    """
    text, classes, starts = scratch.text, scratch.classes, scratch.starts
    begins, ends, heads, tails = scratch.queue
    mask = memory.short.shape[0] - 1
    start, stop, block, bits, ended = 0, 0, 0, starts[0], False
    while not ended:
        waiting = 0
        while waiting < _QUEUE and not ended:
            if start < stop:
                end = stop
                if classes[start] & TO_CUT:
                    end = piece_stop(text, classes, start, stop, pattern.like_gpt2, pattern.digits)
                size = min(end - start, _SHORT + 1)  # the key of a longer word is none
                head = load_word(text, start) & _HEADS[size]
                tail = load_word(text, start + 8) & _TAILS[size] | np.uint64(size) << np.uint64(56)
                begins[waiting], ends[waiting], heads[waiting], tails[waiting] = start, end, head, tail
                prefetch(memory.short, _LINE * _line_of(head, tail, mask))
                waiting += 1
                start = end
            elif bits != 0:
                stop = (block << 6) + trailing_zeros(bits)
                bits &= bits - _ONE
            elif block < length >> 6:
                block += 1
                bits = starts[block]
            else:
                ended = True
        at = _encode_waiting(waiting, merges, memory, scratch, tokens, at)
        if at < 0:
            return at
    return at


@borrowing
def _line_of(head, tail, mask):
    """Return the line of memory that a short word is looked for in."""
    return np.int64(multiply_fold(head ^ SECRET_1, tail ^ SECRET_2) >> np.uint64(8)) & mask


@borrowing
def _encode_waiting(waiting, merges, memory, scratch, tokens, at):
    """Write the tokens of the pieces that wait; return how many there are now, or -1 where one is too long."""
    begins, ends, heads, tails = scratch.queue
    mask = memory.short.shape[0] - 1
    for i in range(waiting):
        head, tail = heads[i], tails[i]
        line = memory.short[_line_of(head, tail, mask)]
        if line[0] == head and line[1] == tail:
            at = _unpack(line[2], line[3], tokens, at)
            continue
        if line[4] == head and line[5] == tail:
            at = _unpack(line[6], line[7], tokens, at)
            for k in range(4):
                line[k], line[4 + k] = line[4 + k], line[k]
            continue
        start, end, before = np.int64(begins[i]), np.int64(ends[i]), at
        if _SHORT < end - start <= _LONG:
            line = memory.long[_long_key(scratch.text, start, end, scratch.key) & (memory.long.shape[0] - 1)]
            at = _recall_long(line, scratch.key, tokens, at)
            if at >= 0:
                continue
        at = encode_word(scratch.text, start, end, merges, scratch.work, tokens, before)
        if at < 0:
            return at
        if end - start <= _SHORT:
            if at - before <= _SHORT_TOKENS:
                line[4], line[5], line[6] = head, tail, _pack(tokens, before, at)
                line[7] = _pack(tokens, before + 3, at) | np.uint64(at - before) << np.uint64(60)
        elif end - start <= _LONG and at - before <= _LONG_TOKENS:
            for k in range(4):
                line[k], line[4 + k] = scratch.key[k], _pack(tokens, before + 3 * k, at)
            line[7] |= np.uint64(at - before) << np.uint64(60)
    return at


@borrowing
def _long_key(text, start, end, key):
    """Write the key of a long word, four words of 64 bits; return a hash of it, not negative."""
    size = end - start - 16
    key[0], key[1] = load_word(text, start), load_word(text, start + 8)
    key[2] = load_word(text, start + 16) & _HEADS[size]
    key[3] = load_word(text, start + 24) & _TAILS[size] | np.uint64(size + 16) << np.uint64(56)
    h = multiply_fold(key[0] ^ SECRET_1, key[1] ^ SECRET_2) ^ multiply_fold(key[2] ^ SECRET_0, key[3] ^ GOLDEN)
    return np.int64((h * GOLDEN) >> np.uint64(32))


@borrowing
def _recall_long(line, key, tokens, at):
    """Write the tokens of a long word, if the line has them; return how many there are now, else -1."""
    if line[0] != key[0] or line[1] != key[1] or line[2] != key[2] or line[3] != key[3]:
        return -1
    found = np.int64(line[7] >> np.uint64(60))
    for i in range(0, found, 3):
        _write_three(line[4 + i // 3], tokens, at + i)
    return at + found


@borrowing
def _pack(tokens, first, stop):
    """Return tokens[first : stop], the first three of them, in one number."""
    packed = np.uint64(0)
    for i in range(min(stop - first, 3)):
        packed |= np.uint64(tokens[first + i]) << np.uint64(ID_BITS * i)
    return packed


@borrowing
def _unpack(first, last, tokens, at):
    """Write the tokens of a slot of two words behind tokens[:at]; return how many there are now."""
    found = np.int64(last >> np.uint64(60))
    _write_three(first, tokens, at)
    if found > 3:
        _write_three(last, tokens, at + 3)
    return at + found


@borrowing
def _write_three(packed, tokens, at):
    for i in range(3):
        tokens[at + i] = np.uint32((packed >> np.uint64(ID_BITS * i)) & _ID)
