"""MinHash signatures: the share of lanes in which two agree estimates the Jaccard similarity of their shingles.

A signature has K lanes of 16 bits of K minima: b-bit minwise hashing (Li and Koenig 2010, "b-Bit Minwise Hashing",
b = 16). Lanes of different minima agree by chance once in 2**16, which `operators/rules/banding.py` corrects for.
Minima have 32 bits, so that texts up to some ten million shingles are told apart as well.
"""

# mypy: ignore-errors
from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import GOLDEN, SECRET_0, multiply_fold
from gristmill.operators.kernels.shingles import fill_shingles, scratch_for, sort_distinct

_WORD = 0xFFFFFFFFFFFFFFFF
_LARGEST = np.uint32(0xFFFFFFFF)
_HALF, _NONE = np.uint64(32), np.uint64(0)
_EMPTY = np.uint64(_WORD)
_MANY_ROUNDS = 16  # twice the log(K) + 0.6 that as many distinct shingles as lanes take on average, K = 1024


class Sketch(NamedTuple):
    """The functions of a signature's lanes: those of one scheme, the other's arrays are empty."""

    multipliers: NDArray[np.uint32]  #: [K] of `kperm`, odd
    increments: NDArray[np.uint32]  #: [K] of `kperm`
    rounds: NDArray[np.uint64]  #: [2 * K] of `fss`, a key for each round; of two dimensions where there are none


def k_permutations(lanes: int, seed: int) -> Sketch:
    """Return `kperm`: a lane holds the minimum of a * x + b modulo 2**32 over halves x of the shingles' hashes.

    The lanes are independent draws (a, b) of a family of permutations, a being odd: multiply-shift hashing
    (Dietzfelbinger et al. 1997) that keeps all bits. Even lanes take the high halves, their parameters come first, odd
    ones the low halves: texts of a single shingle are equal in all lanes only where all 64 bits of the hashes are.
    """
    words = split_mix(seed, 2 * lanes)
    parameters = (words >> _HALF).astype(np.uint32)
    return Sketch(parameters[:lanes] | np.uint32(1), parameters[lanes:], np.empty((0, 0), np.uint64))


def fast_similarity(lanes: int, seed: int) -> Sketch:
    """Return `fss`: Fast Similarity Sketching (Dahlgaard, Knudsen and Thorup 2017, arXiv:1704.04370, algorithm 1).

    In round r every shingle falls with a random value in one of the lanes, from round K on in lane r - K, until a round
    ends with no lane empty. A lane keeps the minimum of (r, value). Lanes depend on each other so that estimates from
    sets of few shingles vary less than those of independent lanes.
    """
    return Sketch(np.empty(0, np.uint32), np.empty(0, np.uint32), split_mix(seed, 2 * lanes))


def split_mix(seed: int, count: int) -> NDArray[np.uint64]:
    """Return the first words of the generator SplitMix64 (Steele, Lea and Flood 2014) from a seed of 64 bits."""
    z = np.arange(1, count + 1, dtype=np.uint64) * GOLDEN + np.uint64(seed & _WORD)
    z = (z ^ z >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ z >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return z ^ z >> np.uint64(31)


@kernel
def sign(data, offsets, ngram, alphabet, sketch, signatures, shingles):
    """Sign n texts: write signatures (uint16[n, K]) and how many shingles each has (int64[n]), repeats counted.

    data: uint8 UTF-8; offsets: int64[n + 1]; ngram: words in a shingle; alphabet: `shingles.alphabet()`; sketch: of K
    lanes. A text without shingles has a signature that means nothing.
    """
    scratch = scratch_for(offsets)
    lanes = signatures.shape[1]
    minima, values = np.empty(lanes, np.uint32), np.empty(lanes, np.uint64)
    for d in range(offsets.shape[0] - 1):
        shingles[d] = fill_shingles(data, offsets[d], offsets[d + 1], ngram, alphabet, scratch)
        _sign(scratch.hashes[: shingles[d]], sketch, sketch.rounds, minima, values, signatures[d])


@kernel
def _sign(hashes, sketch, rounds, minima, values, signature):
    """Write one signature. The kernel is compiled for one scheme alone: the dimensions of `rounds` say which."""
    if rounds.ndim == 1:
        _fill_lanes(hashes, rounds, values)
        signature[:] = values
    else:
        even = (minima.shape[0] + 1) // 2
        _permute(hashes, _HALF, sketch.multipliers[:even], sketch.increments[:even], minima[:even])
        _permute(hashes, _NONE, sketch.multipliers[even:], sketch.increments[even:], minima[even:])
        _fold(minima[:even], signature[::2])
        _fold(minima[even:], signature[1::2])


@kernel
def _permute(hashes, shift, multipliers, increments, minima):
    """Write the minimum of each permutation over 32 bits of each hash: eight hashes, a vector of lanes at a time."""
    minima[:] = _LARGEST
    whole = hashes.shape[0] // 8 * 8
    for i in range(0, whole, 8):
        x0, x1 = np.uint32(hashes[i] >> shift), np.uint32(hashes[i + 1] >> shift)
        x2, x3 = np.uint32(hashes[i + 2] >> shift), np.uint32(hashes[i + 3] >> shift)
        x4, x5 = np.uint32(hashes[i + 4] >> shift), np.uint32(hashes[i + 5] >> shift)
        x6, x7 = np.uint32(hashes[i + 6] >> shift), np.uint32(hashes[i + 7] >> shift)
        for k in range(minima.shape[0]):
            a, b = multipliers[k], increments[k]
            least_01 = min(np.uint32(a * x0 + b), np.uint32(a * x1 + b))
            least_23 = min(np.uint32(a * x2 + b), np.uint32(a * x3 + b))
            least_45 = min(np.uint32(a * x4 + b), np.uint32(a * x5 + b))
            least_67 = min(np.uint32(a * x6 + b), np.uint32(a * x7 + b))
            minima[k] = min(minima[k], min(min(least_01, least_23), min(least_45, least_67)))
    for i in range(whole, hashes.shape[0]):
        x = np.uint32(hashes[i] >> shift)
        for k in range(minima.shape[0]):
            minima[k] = min(minima[k], np.uint32(multipliers[k] * x + increments[k]))


@kernel
def _fold(minima, lanes):
    """Write 16 bits of each minimum, both halves in them.

    The low half alone of a * x + b comes from that of x: where two are equal they would be in all lanes.
    """
    for k in range(minima.shape[0]):
        lanes[k] = np.uint16(minima[k] ^ minima[k] >> np.uint32(16))


@kernel
def _fill_lanes(hashes, rounds, values):
    """Write the minimum of (round, 32 random bits) of the shingles in each lane: round above, bits below.

    Only the bits go into the signature. Two texts with the same bits in a lane have it from the same shingle and round,
    but for chance: every round draws new bits.

    Many distinct shingles fill the lanes in few rounds, expected are lanes * log(lanes) / shingles of them. Where more
    are needed though the shingles are many, these are repeats, which are then taken out.
    """
    values[:] = _EMPTY
    lanes = values.shape[0]
    empty = lanes if hashes.shape[0] > 0 else 0
    r = 0
    while empty > 0:
        key, above = rounds[r], np.uint64(r) << _HALF
        for i in range(hashes.shape[0]):
            mixed = multiply_fold(hashes[i] ^ key, SECRET_0)
            lane = np.int64((mixed >> _HALF) * np.uint64(lanes) >> _HALF) if r < lanes else r - lanes
            empty -= values[lane] == _EMPTY
            values[lane] = min(values[lane], above | mixed & np.uint64(_LARGEST))
        r += 1
        if r == _MANY_ROUNDS and hashes.shape[0] > lanes:
            hashes = hashes[: sort_distinct(hashes)]
