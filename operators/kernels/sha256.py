"""SHA-256 (FIPS 180-4) modulo a number, for features that must equal those of another library."""

# mypy: ignore-errors
from __future__ import annotations

import math

import numpy as np

from gristmill.operators.kernels.compiling import kernel

_PRIMES = [p for p in range(2, 312) if all(p % q for q in range(2, math.isqrt(p) + 1))]


def _root_bits(n: int, exponent: int) -> int:
    """Return the first 32 bits of the fraction of the square root (exponent 2) or cube root (3) of n, exactly."""
    scaled, root = n << (32 * exponent), 0
    for bit in reversed(range(36)):
        if (root | 1 << bit) ** exponent <= scaled:
            root |= 1 << bit
    return root & 0xFFFFFFFF


#: The initial hash value and the round constants (sections 5.3.3 and 4.2.2).
_INITIAL = np.array([_root_bits(p, 2) for p in _PRIMES[:8]], np.uint32)
_ROUNDS = np.array([_root_bits(p, 3) for p in _PRIMES[:64]], np.uint32)


@kernel
def sha256_modulo(data, start, length, modulus, words):
    """Return int(sha256(data[start : start + length])) % modulus, for a modulus up to 2**32.

    `words`: uint32[72], scratch. Reads nothing past the end.
    """
    state, schedule = words[:8], words[8:]
    for i in range(8):
        state[i] = _INITIAL[i]
    padded = (length + 8) // 64 * 64 + 64
    for block in range(0, padded, 64):
        for i in range(16):
            schedule[i] = _message_word(data, start, length, block + 4 * i)
        if block + 64 == padded:
            schedule[14] = np.uint32(length >> 29)
            schedule[15] = np.uint32(length << 3)
        _compress(state, schedule)
    modulus = np.uint64(modulus)
    remainder = np.uint64(0)
    for i in range(8):
        remainder = (remainder << np.uint64(32) | np.uint64(state[i])) % modulus
    return np.int64(remainder)


@kernel
def _message_word(data, start, length, at):
    """Return four bytes of the padded message (section 5.1.1), big-endian, without the length at its end."""
    word = np.uint32(0)
    for i in range(at, at + 4):
        byte = data[start + i] if i < length else np.uint8(0x80 if i == length else 0)
        word = np.uint32(word << np.uint32(8) | np.uint32(byte))
    return word


@kernel
def _rotate(x, n):
    return np.uint32(x >> np.uint32(n) | x << np.uint32(32 - n))


@kernel
def _compress(state, w):
    """Update the state with one block (section 6.2.2)."""
    for t in range(16, 64):
        s0 = _rotate(w[t - 15], 7) ^ _rotate(w[t - 15], 18) ^ np.uint32(w[t - 15] >> np.uint32(3))
        s1 = _rotate(w[t - 2], 17) ^ _rotate(w[t - 2], 19) ^ np.uint32(w[t - 2] >> np.uint32(10))
        w[t] = np.uint32(w[t - 16] + s0 + w[t - 7] + s1)
    a, b, c, d, e, f, g, h = state
    for t in range(64):
        choose = (e & f) ^ (~e & g)
        majority = (a & b) ^ (a & c) ^ (b & c)
        t1 = np.uint32(h + (_rotate(e, 6) ^ _rotate(e, 11) ^ _rotate(e, 25)) + choose + _ROUNDS[t] + w[t])
        t2 = np.uint32((_rotate(a, 2) ^ _rotate(a, 13) ^ _rotate(a, 22)) + majority)
        h, g, f, e, d, c, b, a = g, f, e, np.uint32(d + t1), c, b, a, np.uint32(t1 + t2)
    for i, word in enumerate((a, b, c, d, e, f, g, h)):
        state[i] += word
