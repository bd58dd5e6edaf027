"""The finder: personal data of some kinds in the texts of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.kernels import personal_data as kernels
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.personal_data.accounts import find_card, find_iban
from gristmill.operators.personal_data.emails import find_email
from gristmill.operators.personal_data.ip_addresses import find_ip
from gristmill.operators.personal_data.occurrences import BITS, Kind, Occurrence
from gristmill.operators.personal_data.phones import PhoneFinder
from gristmill.operators.personal_data.secret_keys import find_secret, prefixes

_Search = Callable[[bytes, int], Occurrence | None]


@functools.cache
def role_table() -> NDArray[np.uint8]:
    """Return what each pair of bytes may be (`first << 8 | second`, uint8[65536]): a role of the kernels, else zero."""
    roles = np.zeros((256, 256), np.uint8)
    digits = np.arange(ord("0"), ord("9") + 1)
    roles[:, digits] = kernels.NUMBER
    roles[np.ix_(digits, digits)] = 0
    in_names = [*b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_%+!'-", *range(0x80, 0x100)]
    roles[in_names, ord("@")] = kernels.AT_SIGN
    roles[prefixes()[:, 0], prefixes()[:, 1]] = kernels.PREFIX
    roles.flags.writeable = False
    return roles.ravel()


class Finder:
    """Finds personal data of some kinds; one object serves all threads."""

    def __init__(self, kinds: Sequence[Kind], phone_regions: Sequence[str]) -> None:
        searches: dict[Kind, _Search] = {
            "secret": find_secret,
            "email": find_email,
            "iban": find_iban,
            "card": find_card,
            "ip": find_ip,
        }
        self._searches = [(BITS[kind], search) for kind, search in searches.items() if kind in kinds]
        if "phone" in kinds:
            phones = PhoneFinder(phone_regions)
            self._searches.append((phones.bits(), phones.find))
        self._wanted = sum(bits for bits, _ in self._searches)

    def occurrences(self, texts: pa.LargeStringArray) -> Iterator[tuple[int, bytes, list[Occurrence]]]:
        """Yield position, bytes and occurrences, in order and none over another, of each text (of n) that has some."""
        data, offsets = text_buffers(texts)
        places = kernels.find_places(data, offsets, role_table(), prefixes(), self._wanted)
        documents, starts = np.unique(places[:, 0], return_index=True)
        for document, rows in zip(documents.tolist(), np.split(places[:, 1:], starts[1:]), strict=False):
            text = data[offsets[document] : offsets[document + 1]].tobytes()
            occurrences = self._search(text, rows.tolist())
            if occurrences:
                yield document, text, occurrences

    def _search(self, text: bytes, places: list[list[int]]) -> list[Occurrence]:
        matches = [
            match
            for place, kinds in places
            for bits, search in self._searches
            if kinds & bits and (match := search(text, place)) is not None
        ]
        matches.sort(key=lambda match: (match.start, -match.end))
        result: list[Occurrence] = []
        for match in matches:
            if not result or match.start >= result[-1].end:
                result.append(match)
        return result
