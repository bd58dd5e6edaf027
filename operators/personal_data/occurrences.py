"""An occurrence: a part of a text that is personal data, of one of six kinds."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import AfterValidator, Field

from gristmill.operators.kernels import personal_data as kernels

Kind = Literal["email", "ip", "phone", "iban", "card", "secret"]
KINDS: tuple[Kind, ...] = get_args(Kind)

#: The bits by which kernels name the kinds.
BITS: dict[Kind, int] = {
    "email": kernels.EMAIL,
    "ip": kernels.IP,
    "phone": kernels.PHONE,
    "iban": kernels.IBAN,
    "card": kernels.CARD,
    "secret": kernels.SECRET,
}


def _in_order(kinds: tuple[Kind, ...]) -> tuple[Kind, ...]:
    return tuple(kind for kind in KINDS if kind in kinds)


#: Kinds of personal data, each once, in one order however they are listed.
Kinds = Annotated[tuple[Kind, ...], Field(min_length=1), AfterValidator(_in_order)]
#: Regions by their two letters.
Regions = tuple[Annotated[str, Field(pattern="^[A-Z]{2}$")], ...]

#: Kinds that need no library of their own.
WITHOUT_LIBRARY: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "phone")

REGIONS_DESCRIPTION = "regions (ISO 3166) whose telephone numbers are found without + and a country code"

_LONGEST_URL = 1024  # bytes of it before what is looked at
_ENDS_OF_URLS = (b" ", b"\n", b"\t", b"\r", b"<", b">", b'"')


class Occurrence(NamedTuple):
    """Bytes start .. end of a text, and the value that they spell: the same for all spellings of one value."""

    start: int
    end: int
    kind: Kind
    value: bytes


def before(text: bytes, position: int, length: int) -> bytes:
    """Return up to so many bytes before a position, of the same line."""
    start = max(0, position - length)
    return text[max(start, text.rfind(b"\n", start, position) + 1) : position]


def in_url(text: bytes, position: int) -> bool:
    """Return whether what begins at a position continues a URL."""
    start = max(0, position - _LONGEST_URL)
    start = max(start, *(text.rfind(end, start, position) + 1 for end in _ENDS_OF_URLS))
    return text.find(b"://", start, position) >= 0 or text.find(b"www.", start, position) >= 0
