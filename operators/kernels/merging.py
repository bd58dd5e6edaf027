"""Byte-pair encoding of a word: pairs of tokens are merged by rank, the lowest first, of equal ones the leftmost."""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.compiling import borrowing, kernel
from gristmill.operators.kernels.primitives import GOLDEN, SECRET_0, SECRET_1, multiply_fold

#: Bits of a token's id, and of the rank of a merge.
ID_BITS, RANK_BITS = 20, 24
#: The id of a byte that is no token, and the rank of a pair that is not merged.
NONE = np.uint32(0xFFFFFFFF)
#: Bytes of the longest word that is merged, and the room to work in for each byte of one: numbers, int64.
LONGEST, WORK = 1 << 20, 7
_FREE = np.uint64(0xFFFFFFFFFFFFFFFF)
_RANK = np.uint64((1 << RANK_BITS) - 1)
_SCANNED = 64  # bytes of the longest word whose pairs are looked through for the lowest rank at each merge


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


@borrowing
def encode_word(text, start, end, merges, work, tokens, at):
    """Write the tokens of the word text[start : end] behind tokens[:at]; return how many there are now.

    `work`: int64, WORK for each byte of a word. Returns -1 where it is too small.
    """
    if merges.whole.shape[0] > 0:
        found = _find_word(text, start, end, merges)
        if found >= 0:
            tokens[at] = merges.ids[found]
            return at + 1
    if end - start > work.shape[0] // WORK:
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
