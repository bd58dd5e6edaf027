"""Rules that cannot work are refused before anything runs; rules are named."""

from __future__ import annotations

import pyarrow as pa
import pytest

from gristmill.operators.base import Rule
from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.exact_dedup import ExactDedup
from gristmill.operators.rules.select import Select
from gristmill.pipelines.decide import rule_names
from gristmill.pipelines.decide.executors import executor_for
from tests.pipelines.decide.fakes import check_rules

SCHEMA = pa.schema(
    {
        "row": pa.uint32(),
        "content_id": pa.binary(16),
        "source": pa.string(),
        "bytes": pa.uint64(),
        "tokens": pa.uint32(),
        "quality": pa.float32(),
        "tags": pa.list_(pa.string()),
        "text_hash": pa.binary(16),
    }
)


@pytest.mark.parametrize(
    "rule",
    [
        Drop(when="quality < quantile(0.3) or len(tags) > 3"),
        ExactDedup(),
        ExactDedup(keep="best: quality", by=("source", "tokens")),
        ExactDedup(keep="longest"),
        Select(by="quality", documents=3),
        Select(by="random", tokens=3, quotas={"shares": {"a": 1.0}}),
    ],
)
def test_rules_that_fit(rule: Rule) -> None:
    check_rules([rule], SCHEMA)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Drop(when="bytes > 3 or qualty < 0.5"), "unknown column qualty at character 14 of .*; did you mean quality?"),
        (Drop(when="Quality < 0.5"), "unknown column Quality .*did you mean quality?"),
        (Drop(when="current_date > '2020-01-01'"), "unknown column current_date"),
        (Drop(when="source < 3"), "Cannot compare"),
        (Drop(when="quality"), "not true or false"),
        (ExactDedup(by="text_has"), "unknown column text_has in exact_dedup; did you mean text_hash?"),
        (ExactDedup(by="tags"), "exact_dedup compares text, bytes, numbers and dates; tags is list"),
        (ExactDedup(keep="best: source"), "keeps the highest number or date; source is string"),
        (ExactDedup(keep="best: qualities"), "unknown column qualities"),
        (Select(by="importance", documents=3), "unknown column importance in select"),
        (Select(by="source", documents=3), "takes the largest numbers .*; source is string"),
        (Select(by="random", documents=3, quotas={"column": "tags", "shares": {"a": 1}}), "tags is list"),
        (Select(by="random", documents=3, quotas={"column": "lang", "shares": {"a": 1}}), "unknown column lang"),
    ],
)
def test_rules_that_do_not(rule: Rule, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_rules([Drop(when="bytes > 3", name="fine"), rule], SCHEMA)


def test_names() -> None:
    drop, dedup = Drop(when="bytes > 3"), ExactDedup(name="drop_2")
    assert rule_names([drop, dedup, drop, drop]) == ["drop", "drop_2", "drop_3", "drop_4"]
    with pytest.raises(RecipeError, match="two rules are called drop_2"):
        rule_names([dedup, drop, dedup])


def test_a_rule_that_says_when_is_a_condition() -> None:
    class Preset(Rule):
        limit: int = 50

        def when(self) -> str:
            return f"bytes < {self.limit}"

    assert executor_for(Preset()) is executor_for(Drop(when="bytes > 3"))
    check_rules([Preset(name="preset")], SCHEMA)


def test_an_unknown_executor_for_rule_is_named() -> None:
    class Odd(Rule):
        pass

    with pytest.raises(RecipeError, match="nothing applies Odd"):
        executor_for(Odd())
