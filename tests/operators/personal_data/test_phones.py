"""Telephone numbers against the library's own examples and its own matcher."""

from __future__ import annotations

import sys

import phonenumbers
import pyarrow as pa
import pytest
from phonenumbers import PhoneNumberFormat, PhoneNumberType

from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.pii import Pii
from gristmill.operators.personal_data.finder import Finder
from gristmill.operators.transforms.mask_pii import MaskPii

TYPES = (PhoneNumberType.FIXED_LINE, PhoneNumberType.MOBILE)


def found(text: str, *regions: str) -> list[str]:
    parts = Finder(["phone"], regions).occurrences(pa.array([text], pa.large_string()))
    return [occurrence.value.decode() for _, _, occurrences in parts for occurrence in occurrences]


def examples(region: str) -> list[phonenumbers.PhoneNumber]:
    """Numbers that the library gives as examples of a region: of a line, and of a mobile telephone."""
    numbers = (phonenumbers.example_number_for_type(region, type) for type in TYPES)
    return [number for number in numbers if number is not None and phonenumbers.is_valid_number(number)]


@pytest.mark.parametrize("region", sorted(phonenumbers.SUPPORTED_REGIONS))
def test_international_numbers_of_every_region(region: str) -> None:
    for number in examples(region):
        e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
        international = phonenumbers.format_number(number, PhoneNumberFormat.INTERNATIONAL)
        assert found(f"Tel.: {e164}; or {international}.") == [e164, e164]


@pytest.mark.parametrize("region", ["GB", "DE", "FR", "IT", "ES", "JP", "IN", "BR", "AU", "CN"])
def test_national_numbers_where_a_region_says_so(region: str) -> None:
    for number in examples(region):
        e164 = phonenumbers.format_number(number, PhoneNumberFormat.E164)
        national = phonenumbers.format_number(number, PhoneNumberFormat.NATIONAL)
        matches = phonenumbers.PhoneNumberMatcher(national, region, phonenumbers.Leniency.STRICT_GROUPING)
        expected = [phonenumbers.format_number(match.number, PhoneNumberFormat.E164) for match in matches]
        assert expected == [e164]
        assert found(f"Call {national}, please.", region) == expected
        assert found(f"Call {national}, please.", region, "FJ") == expected
        assert found(f"Call {national}, please.") == []


def test_regions_of_the_north_american_plan_share_their_numbers() -> None:
    for regions in (["US"], ["CA"], ["JM", "DE"]):
        assert found("514-398-4455, (876) 922-1234", *regions) == ["+15143984455", "+18769221234"]
    assert found("514-398-4455", "DE") == []


def test_the_library_decides_what_is_in_use() -> None:
    for written in ("212-736-5000", "212-036-5000", "112-736-5000", "999-736-5000", "911-736-5000"):
        valid = phonenumbers.is_valid_number(phonenumbers.parse(written, "US"))
        assert (found(written, "US") != []) == valid


@pytest.mark.parametrize("operator", [Pii(kinds=("phone",)), MaskPii(kinds=("email", "phone"))])
def test_without_the_library(operator: Pii | MaskPii, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(RecipeError, match=r"pip install 'gristmill\[pii\]'"):
        operator.check({})
    type(operator)(kinds=("email", "ip")).check({})


def test_no_such_region() -> None:
    with pytest.raises(RecipeError, match="no telephone numbers are known of QQ, XY"):
        Pii(kinds=("phone",), phone_regions=("US", "XY", "QQ")).check({})
