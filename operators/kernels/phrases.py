"""Phrases in texts, ASCII letters in either case: many are searched for in one pass that looks at few of the bytes.

Wu and Manber 1994, "A Fast Algorithm for Multi-Pattern Searching": a phrase of at least m bytes that occurs in a text
covers one of any m - 3 positions in a row with four bytes of its own, so it is enough to look up every (m - 3)th.
"""

# mypy: ignore-errors
from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import GOLDEN, load_word

SHORTEST_PHRASE = 4  #: bytes

_GRAM = np.uint64(0xFFFFFFFF)
_TO_LOWER = np.uint64(0x20202020)  # in letters; other bytes become others, so a gram is a clue and no proof


class Phrases(NamedTuple):
    """Phrases of several kinds, and the table of the grams (four bytes) by which those of some kinds are found."""

    text: NDArray[np.uint8]  #: all phrases, ASCII letters in lower case
    bounds: NDArray[np.int64]  #: [n + 1] where each begins, and where the last ends
    kinds: NDArray[np.int64]  #: [kinds + 1] the first phrase of each kind, and their number
    stride: int  #: every which position of a text is looked up
    shift: np.uint64  #: 64 less the binary logarithm of the slots
    grams: NDArray[np.uint64]  #: [slots] a gram
    owners: NDArray[np.int16]  #: [slots] the phrase that it is of, -1 in free slots
    places: NDArray[np.int16]  #: [slots] its place there
    bits: NDArray[np.uint8]  #: [n] the bit of each phrase's kind, 1 << k for those of the k-th


def phrases(searched: Sequence[Sequence[str]], others: Sequence[Sequence[str]] = ()) -> Phrases:
    """Return phrases of some kinds that are searched for and of others, up to 8, by kind. Each has 4 bytes or more."""
    content = [(_in_lower_case(phrase), k) for k, kind in enumerate([*searched, *others]) for phrase in kind]
    wanted = [(owner, phrase) for owner, (phrase, k) in enumerate(content) if k < len(searched)]
    stride = min((len(phrase) for _, phrase in wanted), default=1 << 40) - SHORTEST_PHRASE + 1
    grams = [(_gram(phrase[place:]), owner, place) for owner, phrase in wanted for place in range(stride)]
    bits = max(4, (64 * len(grams)).bit_length())  # few of the grams of a text meet a slot that is taken
    slots, places, owners = np.zeros(1 << bits, np.uint64), np.zeros(1 << bits, np.int16), np.zeros(1 << bits, np.int16)
    owners[:] = -1
    for gram, owner, place in grams:
        slot = (gram * int(GOLDEN) & 0xFFFFFFFFFFFFFFFF) >> (64 - bits)
        while owners[slot] >= 0:
            slot = (slot + 1) % (1 << bits)
        slots[slot], owners[slot], places[slot] = gram, owner, place
    arrays = (
        np.array([*b"".join(phrase for phrase, _ in content)], np.uint8),
        np.cumsum([0, *(len(phrase) for phrase, _ in content)]),
        np.cumsum([0, *map(len, searched), *map(len, others)]),
        np.array([1 << k for _, k in content], np.uint8),
    )
    for array in (*arrays, slots, owners, places):
        array.flags.writeable = False
    return Phrases(*arrays[:3], stride, np.uint64(64 - bits), slots, owners, places, arrays[3])


def _in_lower_case(phrase: str) -> bytes:
    return bytes(byte | 0x20 if 0x41 <= byte <= 0x5A else byte for byte in phrase.encode())


def _gram(content: bytes) -> int:
    return int.from_bytes(content[:4], "little") | int(_TO_LOWER)


@kernel
def kinds_within(text, start, end, phrases):
    """Return the bits of the kinds, of those searched for, of which a phrase occurs in text[start : end].

    `text` is padded.
    """
    kinds = np.uint8(0)
    last_slot = phrases.owners.shape[0] - 1
    for i in range(start, end - SHORTEST_PHRASE + 1, phrases.stride):
        gram = (load_word(text, i) & _GRAM) | _TO_LOWER
        slot = np.int64((gram * GOLDEN) >> phrases.shift)
        while phrases.owners[slot] >= 0:
            owner = phrases.owners[slot]
            if phrases.grams[slot] == gram and stands_at(text, i - phrases.places[slot], start, end, phrases, owner):
                kinds |= phrases.bits[owner]
            slot = (slot + 1) & last_slot
    return kinds


@kernel
def stands_at(text, i, start, end, phrases, phrase):
    """Return whether a phrase stands at text[i], within text[start : end]."""
    first, last = phrases.bounds[phrase], phrases.bounds[phrase + 1]
    if i < start or i + last - first > end:
        return False
    for k in range(first, last):
        byte = text[i + k - first]
        if byte - np.uint8(0x41) < np.uint8(26):
            byte |= np.uint8(0x20)
        if byte != phrases.text[k]:
            return False
    return True


@kernel
def next_phrase(text, start, end, phrases, phrase):
    """Return the first position of a phrase in text[start : end], -1 if there is none."""
    for i in range(start, end - width_of(phrases, phrase) + 1):
        if stands_at(text, i, start, end, phrases, phrase):
            return i
    return -1


@kernel
def width_of(phrases, phrase):
    """Return the bytes of a phrase."""
    return phrases.bounds[phrase + 1] - phrases.bounds[phrase]
