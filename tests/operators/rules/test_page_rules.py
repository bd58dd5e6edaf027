"""The rules of C4, FineWeb and DCLM: their published limits, as conditions over what is measured."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from gristmill.operators.measures.page_statistics import PageStatistics
from gristmill.operators.rules.page_rules import C4Rules, DclmRules, FinewebRules
from gristmill.operators.rules.threshold_rule import ThresholdRule
from gristmill.operators.transforms.clean_lines import CleanLines

#: The measured columns of a page that every rule keeps.
GOOD = {
    "page_ended_lines": 1.0,
    "page_sentences": 50,
    "removed_words": 0.0,
}
#: Raffel et al. 2020, section 2.2; Penedo et al. 2024, section 3.6; Penedo et al. 2023, appendix G.2.
LIMITS: list[tuple[type[ThresholdRule], str, Any, Any]] = [
    (C4Rules, "page_lorem_ipsum", 0, 1),
    (C4Rules, "page_curly_brackets", 0, 1),
    (C4Rules, "page_sentences", 5, 4),
    (FinewebRules, "page_ended_lines", 0.12, 0.12 - 1e-9),
    (FinewebRules, "page_short_lines", 0.67, 0.67 + 1e-9),
    (FinewebRules, "page_dup_line_chars", 0.01, 0.01 + 1e-9),
    (FinewebRules, "page_newlines_per_word", 0.3, 0.3 + 1e-9),
    (DclmRules, "removed_words", 1 / 20, 0.05 + 1e-9),
]


def dropped(rule: ThresholdRule, **values: Any) -> bool:
    """Whether DuckDB finds the condition true for a page that is good but for the values given."""
    fields = [*PageStatistics().gives(), *CleanLines(rules="c4").gives()]
    row = {field.name: 0 for field in fields} | GOOD | values
    with duckdb.connect() as connection:
        columns = [pa.array([row[field.name]]).cast(field.type) for field in fields]
        connection.register("documents", pa.table(columns, names=[field.name for field in fields]))
        return bool(connection.execute(f"SELECT {rule.when()} FROM documents").fetchall()[0][0])


@pytest.mark.parametrize(("rule", "column", "kept", "gone"), LIMITS)
def test_limits(rule: type[ThresholdRule], column: str, kept: Any, gone: Any) -> None:
    assert not dropped(rule(), **{column: kept})
    assert dropped(rule(), **{column: gone})
    option = next(name for name in rule.model_fields if name.endswith(column.removeprefix("page_")))
    off = rule.model_validate({option: None})
    assert not dropped(off, **{column: gone})
    assert off.reads() == rule().reads() - {column}
    assert not dropped(rule.model_validate({option: 0 if option.startswith("min") else 10}), **{column: gone})


@pytest.mark.parametrize("rule", [C4Rules, FinewebRules, DclmRules])
def test_columns_are_those_of_the_measures(rule: type[ThresholdRule]) -> None:
    assert rule().reads() == {column for owner, column, _, _ in LIMITS if owner is rule}
    assert rule().reads() <= {*PageStatistics().gives().names, *CleanLines(rules="c4").gives().names}
    assert rule(languages=("en",)).meant_for() == ("lang", ("en",))


def test_mc4_asks_for_long_lines() -> None:
    rule = C4Rules(min_long_lines=3, min_sentences=None)
    assert dropped(rule, page_long_lines=2, page_sentences=0)
    assert not dropped(rule, page_long_lines=3, page_sentences=0)
    assert not dropped(C4Rules(), page_long_lines=0)
