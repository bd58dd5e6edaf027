"""SHA-256 modulo a number, against hashlib."""

import hashlib
import random

import numpy as np
import pytest

from gristmill.operators.kernels.sha256 import sha256_modulo


@pytest.mark.parametrize("modulus", [2, 10_000, 131_072, 2**32 - 5, 2**32])
def test_equals_hashlib_at_every_length(modulus: int) -> None:
    draw = random.Random(modulus)
    words = np.empty(72, np.uint32)
    for length in [*range(140), 1000, 4096]:
        message = draw.randbytes(length)
        data = np.frombuffer(b"xyz" + message, np.uint8)
        expected = int(hashlib.sha256(message).hexdigest(), 16) % modulus
        assert sha256_modulo(data, 3, length, modulus, words) == expected
