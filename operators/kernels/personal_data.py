"""Places in texts at which personal data may stand: an `@`, the first digit of a number, the beginning of a secret.

One pass over the bytes looks each pair of neighbours up in a table; most pairs are nothing, and the few that are
something are looked at once more here, for as many bytes as it takes. Regular expressions look at what is left.
"""

# mypy: ignore-errors
from __future__ import annotations

import numpy as np

from gristmill.operators.kernels.compiling import kernel

#: Kinds of personal data, as bits.
EMAIL, IP, PHONE, IBAN, CARD, SECRET = (1 << bit for bit in range(6))
#: Numbers that are phone numbers in a region outside the North American plan only: many are none.
NATIONAL = 1 << 6

#: What a pair of bytes may be: the end of a name and its `@`; something else and a digit; the beginning of a secret.
AT_SIGN, NUMBER, PREFIX = 1, 2, 3

_LINE_FEED, _SPACE, _PLUS, _HYPHEN, _FULL_STOP, _SLASH, _COLON = 10, 32, 43, 45, 46, 47, 58
_CLOSE, _ZERO, _ONE, _UNDERSCORE = 41, 48, 49, 95
_LONGEST_DOMAIN = 253
_GROUPS = 5  #: groups of digits that are looked at; no number has its shape after more
_SHORTEST_CARD, _LONGEST_CARD = 14, 19
_SHORTEST_PHONE, _LONGEST_PHONE = 7, 15
_IBAN_AFTER_CHECK = 11  #: letters and digits of the shortest IBAN after its country and check digits


def shape(*lengths: int) -> int:
    """Return a number that stands for the lengths (below 32) of groups of digits, five bits for each."""
    result = 0
    for length in lengths:
        result = result << 5 | length
    return result


_AMERICAN, _AMERICAN_WITH_ONE = shape(3, 3, 4), shape(1, 3, 3, 4)
_CARD_BY_FOURS, _CARD_OF_FIFTEEN, _CARD_OF_FOURTEEN = shape(4, 4, 4, 4), shape(4, 6, 5), shape(4, 6, 4)


@kernel
def find_places(data, offsets, roles, prefixes, wanted):
    """Return where texts may hold personal data: int64[m, 3] of text, byte in that text, bits of kinds; ascending.

    data, offsets: n texts. roles: uint8[65536], by the byte before and the byte (`role_table`). prefixes: uint8[p, 16],
    the beginnings of secrets, filled up with zeros. wanted: bits of the kinds that are looked for.
    """
    out, size = np.empty((64, 3), np.int64), 0
    for d in range(offsets.shape[0] - 1):
        text = data[offsets[d] : offsets[d + 1]]
        i = _next_role(text, 0, roles)
        while i < text.shape[0]:
            kinds = _kinds_at(text, i, roles, prefixes) & wanted
            if kinds != 0:
                if size == out.shape[0]:
                    out = _doubled(out)
                out[size, 0], out[size, 1], out[size, 2] = d, i, kinds
                size += 1
            i = _next_role(text, i + 1, roles)
    return out[:size]


@kernel
def _next_role(text, start, roles):
    """Return the first byte at or after `start` that has a role after the one before it, else the text's length."""
    before = np.uint64(_before(text, start))
    for i in range(start, text.shape[0]):
        byte = np.uint64(text[i])
        if roles[before << np.uint64(8) | byte] != 0:
            return i
        before = byte
    return text.shape[0]


@kernel
def _before(text, i):
    return text[i - 1] if i > 0 else _LINE_FEED


@kernel
def _doubled(array):
    larger = np.empty((2 * array.shape[0], array.shape[1]), array.dtype)
    larger[: array.shape[0]] = array
    return larger


@kernel
def _kinds_at(text, i, roles, prefixes):
    """Return the bits of the kinds of which one may stand at text[i]; a secret begins a byte earlier."""
    before = np.int64(_before(text, i))
    role = roles[before << 8 | np.int64(text[i])]
    if role == AT_SIGN:
        return EMAIL if _has_domain(text, i + 1) else 0
    if role == PREFIX:
        return SECRET if _begins_secret(text, i - 1, prefixes) else 0
    kinds = _kinds_of_number(text, i)
    if before == _PLUS:
        kinds |= PHONE
    if _is_long_address(text, i):
        kinds |= IP
    if _is_iban(text, i):
        kinds |= IBAN
    return kinds


@kernel
def _has_domain(text, i):
    """Return whether what begins at text[i] looks like a domain: no spaces, a full stop and a letter after it."""
    end = min(text.shape[0], i + _LONGEST_DOMAIN)
    while i < end:
        c = text[i]
        if c == _FULL_STOP and i + 1 < end and (_is_letter(text[i + 1]) or text[i + 1] >= 0x80):
            return True
        if not (_is_letter(c) or _is_digit(c) or c in (_HYPHEN, _FULL_STOP, _UNDERSCORE) or c >= 0x80):
            return False
        i += 1
    return False


@kernel
def _begins_secret(text, start, prefixes):
    """Return whether one of the prefixes stands at text[start], with no letter, digit or low line before it."""
    if start > 0:
        before = text[start - 1]
        if _is_letter(before) or _is_digit(before) or before == _UNDERSCORE:
            return False
    for p in range(prefixes.shape[0]):
        k = 0
        while k < prefixes.shape[1] and prefixes[p, k] != 0:
            if start + k >= text.shape[0] or text[start + k] != prefixes[p, k]:
                break
            k += 1
        if k == prefixes.shape[1] or prefixes[p, k] == 0:
            return True
    return False


@kernel
def _kinds_of_number(text, start):
    """Return the kinds that groups of digits have the shape of, the first of which begins at text[start]."""
    end = text.shape[0]
    kinds, lengths, digits, full_stops, i = 0, 0, 0, 0, start
    for group in range(1, _GROUPS + 1):
        first = i
        while i < end and _is_digit(text[i]):
            i += 1
        lengths = lengths << 5 | min(i - first, 31)
        digits += i - first
        if group == 1 and _SHORTEST_CARD <= digits <= _LONGEST_CARD:
            kinds |= CARD
        if group == 3 and lengths in (_CARD_OF_FIFTEEN, _CARD_OF_FOURTEEN):
            kinds |= CARD
        if group == 4 and lengths == _CARD_BY_FOURS:
            kinds |= CARD
        if group == 3 and lengths == _AMERICAN:
            kinds |= PHONE
        if group == 4 and lengths == _AMERICAN_WITH_ONE and text[start] == _ONE:
            kinds |= PHONE
        if group == 4 and full_stops == 3 and digits <= 12:
            kinds |= IP
        if _SHORTEST_PHONE <= digits <= _LONGEST_PHONE and (i - start > digits or text[start] == _ZERO):
            kinds |= NATIONAL  # what follows may be another number
        after = _next_group(text, i)
        if after == i:
            break
        full_stops += text[i] == _FULL_STOP
        i = after
    return kinds


@kernel
def _next_group(text, i):
    """Return where the digits after one separator begin, a bracket and another counted as one; `i` if none follow."""
    end = text.shape[0]
    k = i
    if k < end and text[k] == _CLOSE:
        k += 1
    if k < end and (text[k] == _SPACE or text[k] == _HYPHEN or text[k] == _FULL_STOP or text[k] == _SLASH):
        k += 1
    elif k + 1 < end and text[k] == 0xC2 and text[k + 1] == 0xA0:  # no-break space
        k += 2
    elif k + 2 < end and text[k] == 0xE2 and text[k + 1] == 0x80 and 0x90 <= text[k + 2] <= 0x95:  # hyphens, dashes
        k += 3
    return k if k < end and _is_digit(text[k]) else i


@kernel
def _is_long_address(text, i):
    """Return whether the first group of a global IPv6 address stands at text[i], of block 2000::/3, and a colon."""
    if i + 4 >= text.shape[0] or text[i + 4] != _COLON or not (text[i] == _ONE + 1 or text[i] == _ONE + 2):
        return False
    return _is_hexadecimal(text[i + 1]) and _is_hexadecimal(text[i + 2]) and _is_hexadecimal(text[i + 3])


@kernel
def _is_iban(text, i):
    """Return whether check digits of an IBAN may begin at text[i]: two capitals before, enough of them after."""
    if i < 2 or i + 2 >= text.shape[0] or not _is_digit(text[i + 1]):
        return False
    if not (_is_capital(text[i - 1]) and _is_capital(text[i - 2])):
        return False
    if i > 2 and (_is_letter(text[i - 3]) or _is_digit(text[i - 3])):
        return False
    count, k = 0, i + 2
    while k < text.shape[0] and count < _IBAN_AFTER_CHECK:
        if _is_capital(text[k]) or _is_digit(text[k]):
            count += 1
        elif not (text[k] == _SPACE or text[k] == _HYPHEN):
            return False
        k += 1
    return count == _IBAN_AFTER_CHECK


@kernel
def _is_digit(c):
    return _ZERO <= c <= 57


@kernel
def _is_capital(c):
    return 65 <= c <= 90


@kernel
def _is_letter(c):
    return 97 <= (c | 32) <= 122


@kernel
def _is_hexadecimal(c):
    return _is_digit(c) or 97 <= (c | 32) <= 102
