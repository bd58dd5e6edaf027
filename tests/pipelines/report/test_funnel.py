"""The funnel: what it says of each rule, and that it refuses counts that do not add up."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from gristmill.operators.errors import FatalError
from gristmill.pipelines.config.wording import in_units
from gristmill.pipelines.decide.funnel import Funnel, RuleCount
from gristmill.pipelines.report.console.funnel import show_funnel
from gristmill.pipelines.report.funnel import remarks, warnings

#: What fuzzy_dedup tells: half of its candidates reach the threshold.
CLUSTERS: dict[str, Any] = {
    "threshold": 0.75,
    "bands": 18,
    "rows": 6,
    "candidates": 1200,
    "clusters": 7,
    "largest_clusters": [{"cluster": 5, "size": 10}],
    "quality": {"caught_at_threshold": 0.971, "caught_midway": 0.99, "precision": 0.5, "recall": 0.998},
}


def rule(name: str = "drop", operator: str = "drop", seen: int = 100, dropped: int = 10, **details: Any) -> RuleCount:
    return RuleCount(name, operator, seen, dropped, dropped_bytes=0, dropped_tokens=0, details=details)


SIZES = "effective sample size (documents of equal weight that would count as much) {} before, {} after"


def sampled(documents: int, candidates: int) -> dict[str, int]:
    """What a selection says of a group."""
    return {"documents": documents, "candidates": candidates}


@pytest.fixture
def funnel() -> Funnel:
    rules = (rule(seen=100, dropped=10), rule("select", "select", seen=90, dropped=60, budget=30))
    return Funnel(105, 5, 100, text_bytes=9000, tokens=2000, rules=rules, kept=30, kept_bytes=900, kept_tokens=200)


def test_counts_that_add_up_pass(funnel: Funnel) -> None:
    funnel.check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"records": 104}, r"records read = 104, documents \+ quarantined = 105"),
        ({"quarantined": 6}, "records read = 105"),
        ({"kept": 31}, "documents kept = 31, documents - dropped = 30"),
        ({"rules": (rule(seen=99),)}, "documents seen by drop = 99"),
    ],
)
def test_counts_that_do_not_add_up_are_refused(funnel: Funnel, change: dict[str, Any], message: str) -> None:
    with pytest.raises(FatalError, match=message):
        replace(funnel, **change).check()


def test_it_survives_json(funnel: Funnel) -> None:
    assert Funnel.from_json(json.loads(json.dumps(funnel.to_json()))) == funnel


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (rule(seen=100, dropped=40), []),
        (
            rule(seen=100, dropped=41),
            ["drops 41% of the documents that reach it: is that meant? If so, `expect: 0.5` in the rule says it"],
        ),
        (rule(seen=100, dropped=90, expect=0.9), []),
        (
            rule(seen=100, dropped=91, expect=0.9),
            ["drops 91% of the documents that reach it: is that meant? If so, `expect: 1` in the rule says it"],
        ),
        (rule(dropped=70, conditions={"quality < quantile(0.7)": 70}), []),
        (rule(dropped=90, conditions={"quality < quantile(0.5)": 50, "a < 1": 40}), []),
        (rule(operator="select", seen=100, dropped=99, budget=1), []),
        (rule(seen=0, dropped=0), []),
        (
            rule(dropped=50, conditions={"a < 1": 10, "b > 2": 40}),
            [
                "drops 50% of the documents that reach it, most of them by b > 2: is that meant? If so, "
                "`expect: 0.6` in the rule says it"
            ],
        ),
        (rule(operator="select", by="quality", never_taken=2), ["never takes 2 documents whose quality is null"]),
        (rule(**CLUSTERS), []),
        (
            rule(seen=50, dropped=9, **CLUSTERS),
            ["puts 20% of the documents that reach it into one cluster: see `gristmill clusters`"],
        ),
        (
            rule(**{**CLUSTERS, "bands": 3, "rows": 30, "quality": {"caught_midway": 0.053}}),
            [
                "finds only 5% of the pairs with a similarity of 0.875: 3 bands of 30 rows do not suit the threshold "
                "0.75"
            ],
        ),
        (rule(operator="select", shortage="asked for 9, there are 3"), ["asked for 9, there are 3"]),
    ],
)
def test_what_deserves_a_look_is_pointed_out(row: RuleCount, expected: list[str]) -> None:
    assert warnings(row) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (rule(), []),
        (rule(conditions={"a < 1": 10}), []),
        (rule(conditions={"a < 1": 3, "b > 2": 7, "c": 0}), ["7 by b > 2, 3 by a < 1"]),
        (rule(quantiles={"quantile(q, 0.3)": 0.123456}), ["quantile(q, 0.3) is 0.1235"]),
        (rule(groups=1, largest_groups=[{"copies": 1500}]), ["1 set of copies, the largest of 1,500 documents"]),
        (rule(groups=0, largest_groups=[]), []),
        (
            rule(**CLUSTERS, texts_read=2000),
            [
                "1,200 candidate pairs by 18 bands of 6 rows, 50.0% of them reach 0.75",
                "the bands catch an estimated 99.8% of the pairs that do",
                "7 clusters, the largest of 10 documents",
                "read 2,000 texts again to compare candidates",
            ],
        ),
        (
            rule(**{**CLUSTERS, "quality": {"caught_midway": 0.99}, "clusters": 0, "largest_clusters": []}),
            ["1,200 candidate pairs by 18 bands of 6 rows"],
        ),
        (
            rule(
                by="line",
                limit=10,
                repeated=1043,
                most_frequent=[{"documents": 1500, "address": 7}, {"documents": 20, "address": 3}],
                removed={"documents": 1, "pieces": 25978, "bytes": 1003559},
            ),
            [
                "1,043 lines in more than 10 documents, the most frequent in 1,500",
                "25,978 lines (1.0 MB) removed from 1 document",
            ],
        ),
        (rule(by="line", limit=10, repeated=0, most_frequent=[], removed={}), []),
        (
            rule(effective_size_before=123.4, effective_size=20.0, kl_reduction=0.5, groups=[sampled(123, 500)]),
            [
                SIZES.format(123.4, 20),
                "KL reduction 0.5",
            ],
        ),
        (
            rule(effective_size_before=1.2, effective_size=1.1, by="like", groups=[sampled(1, 2), sampled(4, 9)]),
            [
                "effective sample size 1.2 before, 1.1 after: a few weights outweigh all others, so the 5 documents "
                "are nearly those of the largest like and no sample in proportion to the weights; a higher "
                "`temperature` evens them out"
            ],
        ),
        (rule(effective_size_before=10.0, effective_size=10.0, groups=[sampled(20, 20)]), [SIZES.format(10, 10)]),
        (rule(effective_size_before=0.0, effective_size=0.0, groups=[sampled(5, 20)]), [SIZES.format(0, 0)]),
    ],
)
def test_remarks_tell_what_a_rule_went_by(row: RuleCount, expected: list[str]) -> None:
    assert remarks(row) == expected


def test_it_is_a_table_of_plain_lines(funnel: Funnel) -> None:
    console = Console(file=io.StringIO(), width=80)
    show_funnel(replace(funnel, estimated=True), console)
    assert [line.rstrip() for line in console.file.getvalue().splitlines()] == [
        "               documents  of what came in  tokens",
        "records              105",
        "- quarantined          5             4.8%",
        "input                100                   ~2.0 k",
        "- drop                10            10.0%      ~0",
        "- select              60            66.7%      ~0",
        "kept                  30            30.0%    ~200",
    ]
    show_funnel(funnel, counted := Console(file=io.StringIO(), width=80))
    assert "~" not in counted.file.getvalue()


@pytest.mark.parametrize(
    ("n", "short"), [(0, "0"), (999, "999"), (1200, "1.2 k"), (34_500_000, "34.5 M"), (10**9, "1.0 G")]
)
def test_large_numbers_are_short(n: int, short: str) -> None:
    assert in_units(n) == short
