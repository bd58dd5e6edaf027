"""Limits in conditions: which comparisons they are, and the condition with another number in one of them."""

from __future__ import annotations

import duckdb
import pytest

from gristmill.operators.base import Limit
from gristmill.operators.errors import RecipeError
from gristmill.operators.expressions.limits import limits_of, with_limit
from gristmill.operators.rules.gopher_rules import GopherRules


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("x < 0.4", [("x", "<", "0.4")]),
        ("a = 'de' and (-2 >= x or y > 1e3)", [("x", "<=", "-2"), ("y", ">", "1e3")]),
        ("x < quantile(0.3)", [("x", "<", "quantile(0.3)")]),
        ("y > 1 and y > quantile(x, 0.3)", [("y", ">", "1"), ("y", ">", "quantile(x, 0.3)")]),
        ("not (x >= 1 + 2)", [("x", ">=", "1 + 2")]),
        ("x < y or x + 1 > 2 or x = 3 or x between 1 and 2", []),
    ],
)
def test_limits_are_comparisons_of_a_column_with_what_is_the_same_for_all(
    text: str, limits: list[tuple[str, ...]]
) -> None:
    assert limits_of(text) == tuple(Limit(*limit) for limit in limits)


def test_another_number_changes_that_limit_alone() -> None:
    text = "a = 'it''s' and (-2 >= x or x > 7 or y < 1)"
    rows = duckdb.sql("SELECT a, x, y FROM (VALUES ('it''s'), ('de')) t(a), range(-9, 9) r(x), range(3) s(y)")
    for old, expected in ((limits_of(text)[0], "-4 >= x or x > 7"), (limits_of(text)[1], "-2 >= x or x > -4")):
        changed = with_limit(text, old, "-4")
        assert len(limits_of(changed)) == 3
        wanted = rows.filter(f"a = 'it''s' and ({expected} or y < 1)")
        assert sorted(rows.filter(changed).fetchall()) == sorted(wanted.fetchall())


def test_thresholds_are_options() -> None:
    rule = GopherRules(min_words=None)
    words = [limit for limit in rule.limits() if limit.column == "gopher_words"]
    assert words == [Limit("gopher_words", ">", "100000")]
    assert rule.with_limit(words[0], "70") == GopherRules(min_words=None, max_words=70)
    assert rule.with_limit(words[0], "70").when() == GopherRules(min_words=None, max_words=70).when(), "the same names"
    with pytest.raises(RecipeError, match=r"max_words: .*, not 70\.5"):
        rule.with_limit(words[0], "70.5")
