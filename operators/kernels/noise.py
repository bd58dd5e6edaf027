"""Random numbers that are hashes of (seed, content id), and the Gumbel noise made of them.

Nothing here may differ between machines, so the logarithm is fdlibm's, in plain IEEE operations: the ones of libm and
NumPy choose their instructions, and with them the last bit, by the CPU.
"""

# mypy: ignore-errors
from __future__ import annotations

import math

import numpy as np

from gristmill.operators.kernels.compiling import kernel
from gristmill.operators.kernels.primitives import GOLDEN, SECRET_0, SECRET_1, SECRET_2, multiply_fold

_STEP = 2.0**-52
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_L1, _L2, _L3, _L4 = (
    6.666666666666735130e-01,
    3.999999999940941908e-01,
    2.857142874366239149e-01,
    2.222219843214978396e-01,
)
_L5, _L6, _L7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01


@kernel
def uniform(seed, words):
    """Return numbers (n, float64) strictly between 0 and 1: hashes of a seed (uint64) and ids (n x 2, uint64)."""
    n = words.shape[0]
    numbers = np.empty(n, np.float64)
    key = multiply_fold(seed ^ GOLDEN, SECRET_2)
    for i in range(n):
        mixed = multiply_fold(words[i, 0] ^ SECRET_0, words[i, 1] ^ key)
        mixed = multiply_fold(mixed ^ words[i, 1], key ^ SECRET_1)
        # 52 bits and a half: with 53 the largest would round to 1
        numbers[i] = (np.float64(multiply_fold(mixed ^ key, SECRET_2) >> np.uint64(12)) + 0.5) * _STEP
    return numbers


@kernel
def gumbel(seed, words):
    """Return standard Gumbel noise -log(-log u) (n, float64) for each id: the noise of Gumbel top-k sampling."""
    noise = uniform(seed, words)
    for i in range(noise.shape[0]):
        noise[i] = -log(-log(noise[i]))
    return noise


@kernel
def log(x):
    """Return the natural logarithm of a positive normal number, within one unit in the last place (fdlibm, e_log.c)."""
    m, k = math.frexp(x)
    if m < math.sqrt(0.5):
        m, k = 2.0 * m, k - 1
    f = m - 1.0
    s = f / (2.0 + f)
    z = s * s
    w = z * z
    r = w * (_L2 + w * (_L4 + w * _L6)) + z * (_L1 + w * (_L3 + w * (_L5 + w * _L7)))
    h = 0.5 * f * f
    return k * _LN2_HIGH - ((h - (s * (h + r) + k * _LN2_LOW)) - f)
