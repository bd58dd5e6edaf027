"""The kernel loses nothing: what the searches find at any byte, they find at the places that it names."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gristmill.operators.arrays import array_of
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.personal_data import EMAIL, IP, find_places
from gristmill.operators.personal_data.accounts import find_card, find_iban
from gristmill.operators.personal_data.emails import find_email
from gristmill.operators.personal_data.finder import Finder, role_table
from gristmill.operators.personal_data.ip_addresses import find_ip
from gristmill.operators.personal_data.occurrences import KINDS, Occurrence
from gristmill.operators.personal_data.phones import PhoneFinder
from gristmill.operators.personal_data.secret_keys import find_secret, prefixes
from tests.operators.personal_data.examples import NOT_THERE, THERE

REGIONS = ("US", "DE", "FR")
PHONES = PhoneFinder(REGIONS)

PIECES = [text.encode() for _, text, *_ in [*THERE, *NOT_THERE]] + [
    *(
        b"a",
        b"Z",
        b"7",
        b"42",
        b"@",
        b".",
        b"-",
        b" ",
        b"\n",
        b"+",
        b"(",
        b")",
        b"/",
        b":",
        b"<",
        b">",
        b"%",
        b"_",
        b"x",
    ),
    *("é".encode(), "好".encode(), "\u00a0".encode(), "\u2013".encode(), b"\xff", b"\xc3", b"\xe2\x80"),
    *(
        b"030 901820",
        b"(0)30",
        b"01 42 68 53 00",
        b"1993",
        b"10.0.0.1",
        b"foo.com",
        b"BEGIN ",
        b"-----",
        b"eyJ",
        b"sk-",
    ),
]
texts = st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)


def everywhere(text: bytes) -> set[Occurrence]:
    """What the searches find, asked at each byte."""
    found: set[Occurrence | None] = set()
    for i in range(len(text)):
        found.update((find_ip(text, i), find_card(text, i)))
        if text[i] == ord("@"):
            found.add(find_email(text, i))
        if i > 0:
            found.add(find_secret(text, i))
        if i > 1:
            found.add(find_iban(text, i))
        if text[i : i + 1].isdigit():
            found.add(PHONES.find(text, i))
    return {occurrence for occurrence in found if occurrence is not None}


def at_places(text: bytes) -> set[Occurrence]:
    """What they find at the places that the kernel names, kind by kind: one does not hide another."""
    found = (Finder([kind], REGIONS).occurrences(array_of([text])) for kind in KINDS)
    return {occurrence for parts in found for _, _, occurrences in parts for occurrence in occurrences}


@settings(max_examples=300)
@example(b"(0)301111 4111 1111 1111 1111")
@given(texts)
def test_nothing_is_lost(text: bytes) -> None:
    found, expected = at_places(text), everywhere(text)
    assert found <= expected
    for one in expected - found:  # another of its kind that begins earlier has its place
        assert any(o.kind == one.kind and o.start < one.end and one.start < o.end for o in found), one


def test_every_example_has_its_place() -> None:
    for kind, text, _ in THERE:
        assert any(occurrence.kind == kind for occurrence in at_places(text.encode()))


def test_places_are_named_by_text_and_byte() -> None:
    texts = pa.array(["none", None, "at a@foo.org", "", "134.82.7.153", "x"], pa.large_string())
    places = find_places(*text_buffers(texts), role_table(), prefixes(), EMAIL | IP)
    assert places.tolist() == [[2, 4, EMAIL], [4, 0, IP]]
    assert places.dtype == np.int64
    assert find_places(*text_buffers(texts), role_table(), prefixes(), IP).tolist() == [[4, 0, IP]]


def test_many_places() -> None:
    texts = pa.array(["a@b.org " * 300], pa.large_string())
    places = find_places(*text_buffers(texts), role_table(), prefixes(), EMAIL)
    assert places[:, 1].tolist() == [1 + 8 * k for k in range(300)]
