"""What may stand in a rule's expression, and what is said of the rest."""

from __future__ import annotations

import pytest

from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.drop import Drop


@pytest.mark.parametrize(
    ("when", "columns"),
    [
        ("a < 3 or lower(b) = 'é'", {"a", "b"}),
        ('"Quo ted" in (1, 2) and x.field is not null -- a comment', {"Quo ted", "x"}),
        ("list_reduce(y, lambda p, q: p + q) > z", {"y", "z"}),
        ("quantile(a, 0.3) < 3 or c between quantile(0.1) and quantile(0.9)", {"a", "c"}),
        ("CASE WHEN a THEN try_cast(b AS int) ELSE 1 END > date_part('year', d)", {"a", "b", "d"}),
    ],
)
def test_columns_of_an_expression(when: str, columns: set[str]) -> None:
    assert Drop(when=when).reads() == columns


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ("a <", "ends too early: something is missing after character 3"),
        ("é <> < 3", 'syntax error at or near "<", character 6'),
        ("a b", "character 3"),
        ("", "not one expression"),
        ("a, b", "not one expression"),
        ("a) FROM t WHERE (b", "not one expression"),
        ("a); SELECT (b", "not one expression"),
        ("a) LIMIT (1", "not one expression"),
        ("a; DROP TABLE t", 'syntax error at or near ";"'),
        ("é > 1 or random() > 0.5", "function random at character 10"),
        ("now() > a", "function now"),
        ("a > current_localtimestamp()", "function current_localtimestamp"),
        ("sum(a) > 3", "function sum"),
        ("count(*) > 3", "function count_star"),
        ("sum(a) over () > 3", "a window function at character 1"),
        ("a = any(SELECT 1)", "a subquery"),
        ("exists(FROM secrets)", "a subquery"),
        ("read_text('/etc/passwd') is null", "function read_text"),
        ("unnest([1, 2]) > a", "function unnest"),
        ("system.main.random() > a", "function random"),
        ("current_setting('threads') = a", "function current_setting"),
        ("#1 > 3", "a column by position"),
        ("*", "`*`"),
        ("a > ?", "a parameter"),
        ("grouping(a)", "grouping"),
        ("lenth(a) > 3", "unknown function lenth at character 1 of 'lenth(a) > 3'; did you mean length?"),
        ("quantile(a, 0.3) FILTER (WHERE b) > 3", "FILTER"),
    ],
)
def test_refused_with_the_position(when: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        Drop(when=when).reads()
    assert message in str(error.value)
