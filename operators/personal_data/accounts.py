"""Numbers of accounts and payment cards, which carry their own check digits."""

from __future__ import annotations

import re

from gristmill.operators.personal_data.occurrences import Occurrence, in_url

#: Letters and digits of an IBAN, by country: the registry of ISO 13616 that SWIFT keeps (release 101).
LENGTHS = {
    **dict.fromkeys((b"NO",), 15),
    **dict.fromkeys((b"BE",), 16),
    **dict.fromkeys((b"DK", b"FI", b"FK", b"FO", b"GL", b"NL", b"SD"), 18),
    **dict.fromkeys((b"MK", b"SI"), 19),
    **dict.fromkeys((b"AT", b"BA", b"EE", b"KZ", b"LT", b"LU", b"MN", b"XK"), 20),
    **dict.fromkeys((b"CH", b"HR", b"LI", b"LV"), 21),
    **dict.fromkeys((b"BG", b"BH", b"CR", b"DE", b"GB", b"GE", b"IE", b"ME", b"RS", b"VA"), 22),
    **dict.fromkeys((b"AE", b"GI", b"IL", b"IQ", b"OM", b"SO", b"TL"), 23),
    **dict.fromkeys((b"AD", b"CZ", b"ES", b"MD", b"PK", b"RO", b"SA", b"SE", b"SK", b"TN", b"VG"), 24),
    **dict.fromkeys((b"LY", b"PT", b"ST"), 25),
    **dict.fromkeys((b"IS", b"TR"), 26),
    **dict.fromkeys((b"BI", b"DJ", b"FR", b"GR", b"IT", b"MC", b"MR", b"SM"), 27),
    **dict.fromkeys((b"AL", b"AZ", b"BY", b"CY", b"DO", b"GT", b"HN", b"HU", b"LB", b"NI", b"PL", b"SV"), 28),
    **dict.fromkeys((b"BR", b"EG", b"PS", b"QA", b"UA"), 29),
    **dict.fromkeys((b"JO", b"KW", b"MU", b"YE"), 30),
    **dict.fromkeys((b"MT", b"SC"), 31),
    **dict.fromkeys((b"LC",), 32),
    **dict.fromkeys((b"RU",), 33),
}

#: Beginnings of card numbers and how many digits go with them (ISO/IEC 7812; the ranges that the schemes publish).
_ISSUERS = (
    (re.compile(rb"4"), (16, 19)),  # Visa
    (re.compile(rb"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), (16,)),  # Mastercard
    (re.compile(rb"3[47]"), (15,)),  # American Express
    (re.compile(rb"6011|64[4-9]|65"), (16, 19)),  # Discover
    (re.compile(rb"30[0-5]|3[689]"), (14,)),  # Diners Club
    (re.compile(rb"352[89]|35[3-8]"), (16, 19)),  # JCB
    (re.compile(rb"62"), (16, 17, 18, 19)),  # UnionPay
    (re.compile(rb"50(?:18|20|38)|5893|6304|67(?:59|6[1-3])"), (16, 18, 19)),  # Maestro
)
_CARDS = (
    re.compile(rb"\d{14,19}(?!\w|[.-]\d)"),
    re.compile(rb"\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?:\1\d{3})?(?!\w|[.-]\d|\1\d{4})"),
    re.compile(rb"\d{4}([ -])\d{4}\1\d{4}\1\d{4}(?!\w|[.-]\d|\1\d{4})"),
    re.compile(rb"\d{4}([ -])\d{6}\1\d{4,5}(?!\w|[.-]\d)"),
)
_INSIDE = re.compile(rb"[\w.$+#/-]\Z|(?<!\d)\d{4} \Z")  # before a card number: it is the rest of something longer

#: The longest has 33 signs, nine groups of four; what follows it is cut off.
_SEPARATED = re.compile(
    rb"[A-Z0-9]{4}(?:([ -])[A-Z0-9]{4}(?:\1[A-Z0-9]{4}){0,7}(?:\1[A-Z0-9]{1,3})?|[A-Z0-9]{0,29})(?!\w)"
)


def find_iban(text: bytes, check: int) -> Occurrence | None:
    """Return the IBAN whose check digits begin at a byte of the text, two letters after its own beginning."""
    start = check - 2
    match = _SEPARATED.match(text, start)
    length = LENGTHS.get(text[start:check])
    if match is None or length is None or text[max(0, start - 1) : start].isalnum():
        return None
    end = _end_of(match[0], length)
    if end is None or re.match(rb"\w|-\w", text[start + end : start + end + 2]):
        return None
    number = re.sub(rb"[ -]", b"", text[start : start + end])
    return Occurrence(start, start + end, "iban", number) if has_iban_check(number) else None


def _end_of(written: bytes, length: int) -> int | None:
    """Return how many bytes hold the first so many letters and digits; None where there are too few."""
    positions = [k for k, byte in enumerate(written) if byte not in b" -"]
    return positions[length - 1] + 1 if len(positions) >= length else None


def has_iban_check(number: bytes) -> bool:
    """Return whether letters and digits leave 1 modulo 97 once the first four stand last, letters as 10 to 35."""
    moved = number[4:] + number[:4]
    return int("".join(str(int(character, 36)) for character in moved.decode())) % 97 == 1


def find_card(text: bytes, position: int) -> Occurrence | None:
    """Return the card number that begins at a byte of the text, if there is one."""
    if _INSIDE.search(text[max(0, position - 6) : position]) or in_url(text, position):
        return None
    for form in _CARDS:  # three digits after a number may be its own or its security code
        match = form.match(text, position)
        digits = re.sub(rb"[ -]", b"", match[0]) if match else b""
        if match and is_issued(digits) and has_luhn_check(digits):
            return Occurrence(position, match.end(), "card", digits)
    return None


def is_issued(digits: bytes) -> bool:
    """Return whether an issuer has numbers that begin like this and are as long; of one digit alone none is."""
    issued = any(issuer.match(digits) and len(digits) in lengths for issuer, lengths in _ISSUERS)
    return issued and len(set(digits)) > 1


def has_luhn_check(digits: bytes) -> bool:
    """Return whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    numbers = [byte - 48 for byte in reversed(digits)]
    return (sum(numbers[::2]) + sum(sum(divmod(2 * number, 10)) for number in numbers[1::2])) % 10 == 0
