"""Counts by kind: each occurrence, null for no text, the kinds that are asked for."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pydantic import ValidationError

from gristmill.operators.measures.pii import Pii
from gristmill.operators.personal_data.occurrences import KINDS, Kind
from tests.operators.personal_data.examples import NOT_THERE, THERE


def counts(texts: list[str | None], *kinds: Kind) -> list[dict[str, int | None]]:
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    rows: list[dict[str, int | None]] = Pii(kinds=kinds).open({})(batch).to_pylist()
    return rows


def test_each_occurrence_counts() -> None:
    text = "a@foo.org, A@foo.org, b@foo.org; 134.82.7.153; 212-736-5000"
    nothing = dict.fromkeys((f"pii_{kind}" for kind in KINDS), 0)
    expected = [{**nothing, "pii_email": 3, "pii_ip": 1, "pii_phone": 1}, nothing, {**nothing, "pii_email": 1}]
    assert counts([text, "", "a@foo.org"], *KINDS) == expected


def test_no_text_has_no_counts() -> None:
    assert counts([None, "a@foo.org"], "email") == [{"pii_email": None}, {"pii_email": 1}]


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind: Kind) -> None:
    texts: list[str | None] = [text for k, text, _ in THERE if k == kind]
    assert counts(texts, kind) == [{f"pii_{kind}": 1}] * len(texts)
    texts = [text for k, text in NOT_THERE if k == kind]
    assert counts(texts, kind) == [{f"pii_{kind}": 0}] * len(texts)


def test_all_kinds_but_telephone_numbers_are_counted_by_default() -> None:
    assert Pii().gives().names == ["pii_email", "pii_ip", "pii_iban", "pii_card", "pii_secret"]
    assert {field.type for field in Pii().gives()} == {pa.uint32()}


def test_the_order_of_kinds_does_not_matter() -> None:
    one, other = Pii.model_validate(["ip", "email", "ip"]), Pii.model_validate({"kinds": ["email", "ip"]})
    assert one == other
    assert one.fingerprint({}) == other.fingerprint({})
    assert one.gives().names == ["pii_email", "pii_ip"]


@pytest.mark.parametrize("options", [{"kinds": []}, {"kinds": ["name"]}, {"phone_regions": ["usa"]}])
def test_options_that_there_are_not(options: dict[str, list[str]]) -> None:
    with pytest.raises(ValidationError):
        Pii.model_validate(options)
