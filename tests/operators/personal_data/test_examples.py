"""Each text of `examples.py`: what is there is found to the byte, what is not is left alone, whatever surrounds it."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest

from gristmill.operators.personal_data.finder import Finder
from gristmill.operators.personal_data.occurrences import KINDS, Kind, Occurrence
from tests.operators.personal_data.examples import NOT_THERE, THERE

FINDERS = {kind: Finder([kind], ["US"]) for kind in KINDS}


def occurrences(finder: Finder, text: str) -> list[tuple[Kind, str]]:
    """The occurrences in a text: kinds and parts."""
    parts = finder.occurrences(pa.array([text], pa.large_string()))
    return [(f.kind, data[f.start : f.end].decode()) for _, data, found in parts for f in found]


@pytest.mark.parametrize(("kind", "text", "part"), THERE)
def test_there(kind: Kind, text: str, part: str) -> None:
    assert occurrences(FINDERS[kind], text) == [(kind, part)]
    assert occurrences(FINDERS[kind], f"Tēnā koe\n{text}\n好") == [(kind, part)]
    assert occurrences(Finder(KINDS, ["US"]), text) == [(kind, part)]


@pytest.mark.parametrize(("kind", "text"), NOT_THERE)
def test_not_there(kind: Kind, text: str) -> None:
    assert occurrences(FINDERS[kind], text) == []
    assert occurrences(FINDERS[kind], f"Tēnā koe\n{text}\n好") == []


def test_spellings_of_a_value_are_one_value() -> None:
    def values(text: str) -> set[bytes]:
        parts = Finder(KINDS, ["US"]).occurrences(pa.array([text], pa.large_string()))
        return {occurrence.value for _, _, found in parts for occurrence in found}

    assert values("Jane@Foo.com jane@foo.COM") == {b"jane@foo.com"}
    assert values("+1 (212) 736-5000, 212-736-5000, 1-212-736-5000") == {b"+12127365000"}
    assert values("GB82 WEST 1234 5698 7654 32, GB82WEST12345698765432") == {b"GB82WEST12345698765432"}
    assert values("4111 1111 1111 1111, 4111-1111-1111-1111") == {b"4111111111111111"}
    assert values("2606:2800:220:1::0, 2606:2800:220:1:0:0:0:0") == {b"2606:2800:220:1::"}


def test_occurrences_do_not_overlap() -> None:
    found = [f for _, _, fs in Finder(KINDS, ["US"]).occurrences(_all()) for f in fs]
    assert all(type(occurrence) is Occurrence for occurrence in found)
    assert all(one.end <= other.start for one, other in pairwise(found))


def test_values_one_after_another() -> None:
    for parts in (
        ["212-736-5000", "617-253-2781"],
        ["a@foo.org", "b@foo.org"],
        ["134.82.7.153", "134.82.7.154"],
        ["4111111111111111", "5555555555554444"],
    ):
        for between in (" ", ", ", "; ", "\n", " | "):
            assert [part for _, part in occurrences(Finder(KINDS, ["US"]), between.join(parts))] == parts


def _all() -> pa.LargeStringArray:
    return pa.array(["\n".join(text for _, text, _ in THERE)], pa.large_string())
