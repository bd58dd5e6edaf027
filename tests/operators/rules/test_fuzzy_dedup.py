"""The rule fuzzy_dedup: its options, the signatures that it asks for, the bands that it takes."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from gristmill.operators.rules.banding import caught
from gristmill.operators.rules.fuzzy_dedup import FuzzyDedup


def test_options() -> None:
    assert FuzzyDedup.model_validate(0.8).threshold == 0.8
    assert FuzzyDedup.model_validate(None) == FuzzyDedup()
    assert FuzzyDedup(keep="best: quality").reads() == {"minhash_5_112_1", "quality"}
    assert FuzzyDedup(keep="longest").rank_column == "bytes"
    assert FuzzyDedup(bands=14, rows=8).banding == (14, 8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 0}, "greater than 0"),
        ({"threshold": 1.01}, "less than or equal to 1"),
        ({"bands": 3}, "bands without rows: give both, or neither"),
        ({"rows": 3}, "rows without bands: give both, or neither"),
        ({"bands": 16, "rows": 8}, "16 bands of 8 rows take 128 permutations; there are 112"),
        ({"keep": "last"}, 'keep is first, longest or "best: COLUMN"'),
        ({"verify": "twice"}, "'signature', 'none' or 'text'"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FuzzyDedup(**options)


def test_rules_that_agree_share_their_signatures() -> None:
    (measure,) = FuzzyDedup().needs()
    assert (measure.ngram, measure.permutations, measure.scheme, measure.seed) == (5, 112, "kperm", 1)
    assert FuzzyDedup(threshold=0.9, verify="text", keep="longest").needs() == (measure,)
    others = [{"ngram": 3}, {"permutations": 128}, {"seed": 2}, {"scheme": "fss"}]
    columns = {FuzzyDedup(**options).signature.column for options in others}  # type: ignore[arg-type]
    assert len(columns | {measure.column}) == 5
    assert "minhash_5_112_1_fss" in columns


def test_what_it_gives_bears_its_name() -> None:
    assert FuzzyDedup().gives("near").names == ["near_cluster", "near_size", "near_survivor", "near_similarity"]


def test_bands_follow_the_threshold() -> None:
    rows = [FuzzyDedup(threshold=threshold).banding[1] for threshold in (0.5, 0.6, 0.7, 0.8, 0.9)]
    assert rows == sorted(set(rows))
    assert FuzzyDedup(verify="none").banding[1] > FuzzyDedup(verify="text").banding[1]


def test_bands_of_verified_candidates_favour_recall() -> None:
    for threshold in (i / 100 for i in range(60, 96)):
        banding = FuzzyDedup(threshold=threshold).banding
        assert caught(threshold, *banding) >= 0.947
        assert threshold + 0.1 > 1 or caught(threshold + 0.1, *banding) >= 0.998
