"""Telephone numbers: `+` and a country code anywhere, national ones of the regions that are asked for.

A number is one where the package `phonenumbers` (Google's libphonenumber) finds it valid: its length and its beginning
are in use. Numbers of the North American plan (three, three and four digits) need separators, and if these are spaces
alone, a word before them that says that they are one; those of other regions need the groups in which they are
written there (`Leniency.STRICT_GROUPING`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.personal_data import NATIONAL, PHONE
from gristmill.operators.personal_data.occurrences import Occurrence, before, in_url

_NORTH_AMERICA = 1  # the country code
_FEWEST, _MOST = 7, 15  # digits with the country code (ITU-T E.164)
_SEPARATOR = rb"(?:[ .-]|\xc2\xa0|\xe2\x80[\x90-\x95])"
_AREA = _SEPARATOR + rb"?\(\d{1,5}\)" + _SEPARATOR + rb"?"
_INTERNATIONAL = re.compile(rb"\+[1-9]\d{0,14}(?:(?:" + _SEPARATOR + rb"{1,3}|/|" + _AREA + rb")\d{1,14}){0,7}")
_AMERICAN = re.compile(
    rb"(?:1" + _SEPARATOR + rb")?(?:\(\d{3}\)" + _SEPARATOR + rb"?|\d{3}" + _SEPARATOR + rb")"
    rb"\d{3}" + _SEPARATOR + rb"\d{4}(?![\w@%](?<![xX])|(?:[.-]|\xe2\x80[\x90-\x95])\d)"
)
_NATIONAL = re.compile(rb"\(?\d[\d ()./-]{5,28}\d")
_COUNTRY_BEFORE = re.compile(rb"(?<![\w.-])1" + _SEPARATOR + rb"?\Z")

_INSIDE = re.compile(rb"[\w+$#=%&@-]\Z|\d[./,:]\Z")  # before a national number: it is the rest of something longer
_IN_ROW = re.compile(rb"\d[ -]\Z")  # before a number without a form of its own: it is one of many
_INSIDE_INTERNATIONAL = re.compile(rb"[\w+=%&?]\Z")
_OTHER = re.compile(rb"(?i)\b(?:isbn|issn|doi|pmid|arxiv|ean|upc|oclc|serial|part)\b[^\n]{0,24}\Z")
_PHONE = re.compile(
    rb"(?i)(?:phone|\b(?:tel|fax|call|voice|mobile|cell|text|hotline|dial|pager|ph)\b|\btele)[^\n]{0,24}\Z"
)
_NEAR = 40


class PhoneFinder:
    """Finds telephone numbers; one object serves all threads."""

    def __init__(self, regions: Sequence[str]) -> None:
        self.library = _library()
        unknown = sorted(set(regions) - set(self.library.SUPPORTED_REGIONS))
        if unknown:
            known = "two letters of ISO 3166, such as US, GB, DE"
            raise RecipeError(f"phone_regions: no telephone numbers are known of {', '.join(unknown)}; give {known}")
        country = self.library.country_code_for_region
        self.american = next((region for region in regions if country(region) == _NORTH_AMERICA), None)
        self.others = [region for region in regions if country(region) != _NORTH_AMERICA]

    def bits(self) -> int:
        """Return the bits of the shapes that are looked for."""
        return PHONE | (NATIONAL if self.others else 0)

    def find(self, text: bytes, digit: int) -> Occurrence | None:
        """Return the number whose first digit stands at a byte of the text, if there is one."""
        if in_url(text, digit) or _OTHER.search(before(text, digit, _NEAR)):
            return None
        if text[digit - 1 : digit] == b"+":
            return self._find_international(text, digit - 1)
        start = digit - (text[digit - 1 : digit] == b"(")
        if _INSIDE.search(text[max(0, start - 2) : start]):
            return None
        return self._find_american(text, start) or self._find_national(text, start)

    def _find_international(self, text: bytes, start: int) -> Occurrence | None:
        match = _INTERNATIONAL.match(text, start)
        if match is None or _INSIDE_INTERNATIONAL.search(text[max(0, start - 1) : start]):
            return None
        ends = [start + group.end() for group in re.finditer(rb"\d+\)?", match[0])]
        for end in reversed(ends):  # what follows may be another number
            written = text[start:end]
            digits = sum(byte in b"0123456789" for byte in written)
            if _FEWEST <= digits <= _MOST and not re.match(rb"\w(?<![xX])", text[end : end + 1]):
                number = self._valid(written, None)
                if number is not None:
                    return Occurrence(start, end, "phone", number)
        return None

    def _find_american(self, text: bytes, start: int) -> Occurrence | None:
        match = _AMERICAN.match(text, start) if self.american else None
        if match is None:
            return None
        country = _COUNTRY_BEFORE.search(text, max(0, start - 4), start) if match[0].startswith(b"(") else None
        start = start if country is None else country.start()
        if not re.search(rb"[^\d \xc2\xa0]", match[0]) and not _PHONE.search(before(text, start, _NEAR)):
            return None
        number = self._valid(match[0], self.american)
        return None if number is None else Occurrence(start, match.end(), "phone", number)

    def _find_national(self, text: bytes, start: int) -> Occurrence | None:
        digits = _NATIONAL.match(text, start) if self.others else None
        if digits is None or _IN_ROW.search(text[max(0, start - 2) : start]):
            return None
        written = digits[0].decode()
        for region in self.others:
            leniency = self.library.Leniency.STRICT_GROUPING
            for match in self.library.PhoneNumberMatcher(written, region, leniency, 4):
                end = start + match.end
                if match.start == 0 and not re.match(rb"\w|[./-]\d", text[end : end + 2]):
                    return Occurrence(start, end, "phone", self._spelt(match.number))
        return None

    def _valid(self, written: bytes, region: str | None) -> bytes | None:
        """Return the number as ITU-T E.164 spells it, if it is valid."""
        try:
            number = self.library.parse(written.decode(), region)
        except self.library.NumberParseException:
            return None
        if not self.library.is_valid_number(number):
            return None
        return self._spelt(number)

    def _spelt(self, number: Any) -> bytes:
        spelling: str = self.library.format_number(number, self.library.PhoneNumberFormat.E164)
        return spelling.encode()


def _library() -> Any:
    try:
        import phonenumbers
    except ImportError as error:
        raise RecipeError(
            "the kind phone of pii and mask_pii needs the phonenumbers library: pip install 'gristmill[pii]'"
        ) from error
    return phonenumbers
