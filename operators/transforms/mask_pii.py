"""The transform `mask_pii`: personal data give way to placeholders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

import pyarrow as pa
from pydantic import Field

from gristmill.operators.arrays import array_of, replaced
from gristmill.operators.base import Files, Transform, TransformFunction
from gristmill.operators.personal_data.finder import Finder
from gristmill.operators.personal_data.occurrences import KINDS, REGIONS_DESCRIPTION, Kind, Kinds, Occurrence, Regions

PLACEHOLDERS: dict[Kind, str] = {kind: f"<{kind.upper()}>" for kind in KINDS}

#: Without digits and @, of which personal data are made: a placeholder is never masked in its turn.
Placeholder = Annotated[str, Field(pattern="^[^0-9@]*$", max_length=60)]

_CLOSING = re.compile(rb"[\])}>|]*\Z")


class MaskPii(Transform):
    """Replace personal data by placeholders: <EMAIL>, <IP>, <PHONE>, <IBAN>, <CARD>, <SECRET>.

    Masks what the measure `pii` counts; nothing else of a text changes, and masking it again changes nothing. By
    default e-mail and public IP addresses are masked, as in FineWeb; `mask_pii: [email, ip, secret]` masks these kinds.

    With `stable: true` placeholders are numbered, <EMAIL_1>, <EMAIL_2>, by first occurrence in the document: a value
    that occurs again has the number that it had, so that who answers whom can still be read. Numbers mean nothing
    across documents.

    The kind `phone` needs `pip install 'gristmill[pii]'`.
    """

    shorthand: ClassVar[str | None] = "kinds"

    kinds: Kinds = Field(
        default=("email", "ip"), description="kinds that are masked: email, ip, phone, iban, card, secret"
    )
    stable: bool = Field(default=False, description="whether placeholders are numbered: equal values, equal numbers")
    placeholders: dict[Kind, Placeholder] = Field(
        default={}, description="placeholders by kind, in place of <EMAIL> and so on: without digits and @"
    )
    phone_regions: Regions = Field(default=("US",), description=REGIONS_DESCRIPTION)

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("personal_data",)

    def check(self, files: Files) -> None:
        """Raise RecipeError where the library for telephone numbers is missing, or a region is none."""
        Finder(self.kinds, self.phone_regions)

    def open(self, files: Files) -> TransformFunction:
        """Return a thread-safe function from texts (n) to texts (n); null stays null."""
        finder = Finder(self.kinds, self.phone_regions)
        placeholders = {kind: text.encode() for kind, text in {**PLACEHOLDERS, **self.placeholders}.items()}

        def mask(texts: pa.LargeStringArray) -> pa.LargeStringArray:
            masks: dict[int, _Mask] = defaultdict(lambda: _Mask(placeholders, self.stable))
            documents: dict[int, bytes] = {}
            positions, rest = list(range(len(texts))), texts
            while len(rest):  # a mask can bring to light what its neighbours hid; each round leaves fewer digits and @
                changed = []
                for k, text, occurrences in finder.occurrences(rest):
                    changed.append(positions[k])
                    documents[positions[k]] = masks[positions[k]].apply(text, occurrences)
                positions, rest = changed, array_of([documents[position] for position in changed])
            if not documents:
                return texts
            where = sorted(documents)
            return replaced(texts, where, array_of([documents[position] for position in where]))

        return mask


class _Mask:
    """The placeholders of one document, with the numbers that its values have so far."""

    def __init__(self, placeholders: Mapping[Kind, bytes], numbered: bool) -> None:
        self._placeholders = placeholders
        self._numbered = numbered
        self._numbers: dict[Kind, dict[bytes, int]] = defaultdict(dict)

    def apply(self, text: bytes, occurrences: Sequence[Occurrence]) -> bytes:
        """Return the text with its occurrences replaced."""
        pieces, end = [], 0
        for occurrence in occurrences:
            pieces += [text[end : occurrence.start], self._placeholder(occurrence)]
            end = occurrence.end
        return b"".join([*pieces, text[end:]])

    def _placeholder(self, occurrence: Occurrence) -> bytes:
        placeholder = self._placeholders[occurrence.kind]
        if not self._numbered:
            return placeholder
        numbers = self._numbers[occurrence.kind]
        number = numbers.setdefault(occurrence.value, len(numbers) + 1)
        return _CLOSING.sub(lambda closing: b"_%d%s" % (number, closing[0]), placeholder, count=1)
