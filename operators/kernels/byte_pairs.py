"""Byte-pair encoding of byte-level tokenizers: pairs of tokens are merged by rank, lowest first, leftmost first.

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

#: Bits of a token's id, and of the rank of a merge.
ID_BITS, RANK_BITS = 20, 24
#: The id of a byte that is no token, and the rank of a pair that is not merged.
NONE = np.uint32(0xFFFFFFFF)
_FREE = np.uint64(0xFFFFFFFFFFFFFFFF)
_ID = np.uint64((1 << ID_BITS) - 1)
_RANK = np.uint64((1 << RANK_BITS) - 1)
_SHORT, _LONG = 15, 31  # bytes of the longest words of each table
_SHORT_TOKENS, _LONG_TOKENS = 6, 12
_LINE = 64  # bytes of a cache line
_QUEUE = 64
_LONGEST = 1 << 20  # bytes of the longest word that is merged
_WORK = 7  # numbers for each byte of a word that is merged by a heap
_SCANNED = 64  # bytes of the longest word whose pairs are looked through for the lowest rank at each merge
_ONE = np.uint64(1)
#: Masks of the first n bytes of a word of at most 15 bytes, and of those after the eighth.
_HEADS = np.array([(1 << 8 * min(n, 8)) - 1 for n in range(17)], np.uint64)
_TAILS = np.array([(1 << 8 * max(n - 8, 0)) - 1 for n in range(17)], np.uint64)


class Merges(NamedTuple):
    """The model: tokens are numbers."""

    bytes: NDArray[np.uint32]  #: [256] the token of each byte; NONE where it is none: such bytes are left out
    byte_ranks: NDArray[np.uint32]  #: [256, 256] rank of the merge of two bytes' tokens, or NONE
    ranks: NDArray[np.uint64]  #: hash table: pair and rank in one number, see `merge_table`
    merged: NDArray[np.uint32]  #: [merges] the token that the merge of each rank gives
    whole: NDArray[np.uint32]  #: hash table of words that are not merged, see `word_table`; may be empty
    starts: NDArray[np.int64]  #: [words + 1] where those begin in `spellings`
    spellings: NDArray[np.uint8]
    ids: NDArray[np.uint32]  #: [words] their tokens


class Reading(NamedTuple):
    """A way to cut a text into words."""

    first: Added  #: tokens that are looked for in the text
    second: Added  #: tokens that are looked for in what is left between them
    pattern: Pattern
    blank_before: bool  #: whether text that does not begin with a blank, or follows a token, is read as if it did


class Scratch(NamedTuple):
    """Room to work in, for texts of at most as many bytes."""

    text: NDArray[np.uint8]  #: [bytes] what is cut into words, ROOM zeros after it
    classes: NDArray[np.uint8]  #: [bytes] of characters
    starts: NDArray[np.uint64]  #: a bit for each byte
    queue: NDArray[np.uint64]  #: [4, _QUEUE] words that wait: begin, end, two words of the key
    key: NDArray[np.uint64]  #: [4] of a long word
    work: NDArray[np.int64]  #: [_WORK * bytes] what a word is merged in
    ahead: NDArray[np.int64]  #: [2, 256] see `next_added`


class Memory(NamedTuple):
    """The words that were met, for one call at a time."""

    short: NDArray[np.uint64]  #: [lines, 8]: two slots each, lines a power of two
    long: NDArray[np.uint64]  #: [lines, 8]: one slot each


def empty_memory(words: int) -> Memory:
    """Return a memory of so many short words, a power of two, and an eighth as many long ones."""
    return Memory(_lines(words // 2), _lines(words // 8))


def _lines(number: int) -> NDArray[np.uint64]:
    """Return as many cache lines of zeros, none of which lies across two of the machine's."""
    room = np.zeros(8 * number + 8, np.uint64)
    start = -(room.ctypes.data // 8) % 8
    return room[start : start + 8 * number].reshape(number, 8)


@kernel
def merge_table(lefts, rights):
    """Return a hash table of pairs of tokens, uint32 [n] each, by rank: uint64, the pair's bits above the rank's."""
    size = 2
    while size < 2 * lefts.shape[0]:
        size *= 2
    table = np.full(size, _FREE, np.uint64)
    for rank in range(lefts.shape[0]):
        pair = np.uint64(lefts[rank]) << np.uint64(ID_BITS) | np.uint64(rights[rank])
        slot = _slot(pair, size)
        while table[slot] != _FREE:
            slot = (slot + 1) & (size - 1)
        table[slot] = pair << np.uint64(RANK_BITS) | np.uint64(rank)
    return table


@borrowing
def _slot(pair, size):
    return np.int64((pair * GOLDEN) >> np.uint64(32)) & (size - 1)


@borrowing
def rank_of(left, right, table):
    """Return the rank of the merge of two tokens, or NONE."""
    pair = np.uint64(left) << np.uint64(ID_BITS) | np.uint64(right)
    slot = _slot(pair, table.shape[0])
    while True:
        entry = table[slot]
        if entry >> np.uint64(RANK_BITS) == pair:
            return np.uint32(entry & _RANK)
        if entry == _FREE:
            return NONE
        slot = (slot + 1) & (table.shape[0] - 1)


@kernel
def byte_ranks(of_bytes, table):
    """Return ranks, uint32 [256, 256], of the merges of the tokens of two bytes."""
    ranks = np.full((256, 256), NONE, np.uint32)
    for a in range(256):
        for b in range(256):
            if of_bytes[a] != NONE and of_bytes[b] != NONE:
                ranks[a, b] = rank_of(of_bytes[a], of_bytes[b], table)
    return ranks


@kernel
def word_table(spellings, starts):
    """Return a hash table, uint32, of the positions + 1 of the words spellings[starts[i] : starts[i + 1]]."""
    size = 2
    while size < 2 * starts.shape[0]:
        size *= 2
    table = np.zeros(size, np.uint32)
    for i in range(starts.shape[0] - 1):
        slot = _word_slot(spellings, starts[i], starts[i + 1], size)
        while table[slot] != 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = i + 1
    return table


@borrowing
def _word_slot(text, start, stop, size):
    h = SECRET_0
    for i in range(start, stop):
        h = multiply_fold(h ^ np.uint64(text[i]), SECRET_1)
    return np.int64(h >> np.uint64(32)) & (size - 1)


@borrowing
def _find_word(text, start, stop, merges):
    """Return the position of text[start : stop] among the words that are never merged, or -1."""
    size = merges.whole.shape[0]
    slot = _word_slot(text, start, stop, size)
    while merges.whole[slot] != 0:
        found = np.int64(merges.whole[slot]) - 1
        first = merges.starts[found]
        if merges.starts[found + 1] - first == stop - start:
            same = 0
            while same < stop - start and merges.spellings[first + same] == text[start + same]:
                same += 1
            if same == stop - start:
                return found
        slot = (slot + 1) & (size - 1)
    return -1


@kernel
def encode_texts(data, offsets, reading, merges, memory, tokens, counts):
    """Write the tokens of n texts (UTF-8), one text after the other; count them: int64 [n].

    `reading` is a Reading. `tokens`: uint32, room for one for each byte and each text, and 8 more; where it has that
    for the longest text only, each text is written over the one before. A text whose count is not 0 beforehand is left
    out; the count is -1, and nothing is written, for one in which an added token is that has conditions, or a word of
    more than 1 MiB.
    """
    room = longest(offsets) + 1 + ROOM
    scratch = Scratch(
        np.zeros(room, np.uint8),
        np.empty(room, np.uint8),
        np.empty((room >> 6) + 2, np.uint64),
        np.empty((4, _QUEUE), np.uint64),
        np.empty(4, np.uint64),
        np.empty(_WORK * min(room, _LONGEST), np.int64),
        np.empty((2, 256), np.int64),
    )
    keep = tokens.shape[0] >= offsets[-1] - offsets[0] + counts.shape[0] + 8
    at = 0
    for d in range(counts.shape[0]):
        before = at
        if counts[d] == 0:
            at = _encode_text(data, offsets[d], offsets[d + 1], reading, merges, memory, scratch, tokens, at)
            counts[d] = at - before if at >= 0 else -1
        if at < 0 or not keep:
            at = before


@borrowing
def _encode_text(data, start, end, reading, merges, memory, scratch, tokens, at):
    """Write the tokens of a text: those added, first of the one list and between them of the other, and of the rest.

    Returns how many there are now, or -1 where an added token has conditions or a word is too long.
    """
    first, second, pattern = reading.first, reading.second, reading.pattern
    text, classes, ahead = scratch.text, scratch.classes, scratch.ahead
    ahead[0, :] = -1
    while start < end:
        border, found = next_added(data, start, end, first, ahead[0])
        ahead[1, :] = -1
        while start < border:
            stop, inside = next_added(data, start, border, second, ahead[1])
            length = stop - start
            if length > 0:
                blank = reading.blank_before and data[start] != 32
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
        at = _encode_word(scratch.text, start, end, merges, scratch.work, tokens, before)
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


@borrowing
def _encode_word(text, start, end, merges, work, tokens, at):
    """Write the tokens of the word text[start : end] behind tokens[:at]; return how many there are now, or -1."""
    if merges.whole.shape[0] > 0:
        found = _find_word(text, start, end, merges)
        if found >= 0:
            tokens[at] = merges.ids[found]
            return at + 1
    if end - start > work.shape[0] // _WORK:
        return -1
    if end - start > _SCANNED:
        return _merge_by_heap(text, start, end, merges, work, tokens, at)
    return _merge_by_scan(text, start, end, merges, work, work[_SCANNED:], tokens, at)


@borrowing
def _first_tokens(text, start, end, merges, ids, ranks):
    """Write the tokens of the bytes and the ranks of each with the next (the last has NONE); return how many."""
    count, before = 0, 0
    for i in range(start, end):
        byte = text[i]
        token = merges.bytes[byte]
        if token != NONE:
            if count > 0:
                ranks[count - 1] = merges.byte_ranks[before, byte]
            ids[count], before = token, byte
            count += 1
    if count > 0:
        ranks[count - 1] = NONE
    return count


@borrowing
def _merge_by_scan(text, start, end, merges, ids, ranks, tokens, at):
    """Merge while a pair has a rank: the leftmost of the lowest."""
    count = _first_tokens(text, start, end, merges, ids, ranks)
    while count > 1:
        lowest, place = NONE, 0
        for i in range(count - 1):
            if ranks[i] < lowest:
                lowest, place = ranks[i], i
        if lowest == NONE:
            break
        ids[place] = merges.merged[lowest]
        count -= 1
        for i in range(place + 1, count):
            ids[i] = ids[i + 1]
            ranks[i] = ranks[i + 1]
        ranks[place] = rank_of(ids[place], ids[place + 1], merges.ranks) if place + 1 < count else NONE
        if place > 0:
            ranks[place - 1] = rank_of(ids[place - 1], ids[place], merges.ranks)
    for i in range(count):
        tokens[at + i] = ids[i]
    return at + count


@borrowing
def _merge_by_heap(text, start, end, merges, work, tokens, at):
    """Do the same with a heap of pairs, in n log n steps for n bytes; a pair is a rank and its place, in one number.

    Pairs that are no more stay in the heap until they come up: their rank is not that of their place then.
    """
    size = end - start
    ids, ranks, after, before = work, work[size:], work[2 * size :], work[3 * size :]
    heap, held = work[4 * size :], 0
    count = _first_tokens(text, start, end, merges, ids, ranks)
    for i in range(count):
        after[i], before[i] = i + 1, i - 1
        held = _push(heap, held, ranks[i], i)
    while held > 0:
        rank, place = heap[0] >> 32, heap[0] & 0xFFFFFFFF
        held = _pop(heap, held)
        if ranks[place] != rank:
            continue
        gone = after[place]
        ids[place], ranks[gone] = merges.merged[rank], NONE
        after[place] = next_place = after[gone]
        ranks[place] = NONE
        if next_place < count:
            before[next_place] = place
            ranks[place] = rank_of(ids[place], ids[next_place], merges.ranks)
            held = _push(heap, held, ranks[place], place)
        previous = before[place]
        if previous >= 0:
            ranks[previous] = rank_of(ids[previous], ids[place], merges.ranks)
            held = _push(heap, held, ranks[previous], previous)
    place = 0
    while place < count:
        tokens[at] = ids[place]
        at += 1
        place = after[place]
    return at


@borrowing
def _push(heap, held, rank, place):
    """Add a pair to a heap of `held`, if it has a rank; return how many there are now."""
    if rank == NONE:
        return held
    pair = np.int64(rank) << 32 | place
    child = held
    while child > 0 and heap[(child - 1) >> 1] > pair:
        heap[child] = heap[(child - 1) >> 1]
        child = (child - 1) >> 1
    heap[child] = pair
    return held + 1


@borrowing
def _pop(heap, held):
    """Take the lowest pair out of a heap of `held`; return how many are left."""
    held -= 1
    last, parent = heap[held], 0
    while True:
        child = 2 * parent + 1
        if child >= held:
            break
        if child + 1 < held and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= last:
            break
        heap[parent] = heap[child]
        parent = child
    heap[parent] = last
    return held
