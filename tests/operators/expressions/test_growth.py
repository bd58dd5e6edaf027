"""Which expressions are computed where they can do no harm."""

from __future__ import annotations

import contextlib

import pyarrow as pa
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.operators.expressions import growth
from gristmill.operators.expressions.condition import compile_condition
from gristmill.operators.expressions.sandbox import functions
from gristmill.operators.expressions.syntax import LONGEST, parse

HARMLESS = [
    "gopher_words < 50 or quality < quantile(0.3)",
    "source in ('web', 'docs') and not (a between 1 and 2)",
    "lower(trim(url)) like '%.pdf' or regexp_matches(title, '^[A-Z]+$')",
    "case when a > 3 then true else w > 5 end",
    "try_cast(s as int) > 3 or coalesce(a, 0) * 2 + w ** 2 - 1 > 7",
    "date_part('year', d) < 2000 or d < '2020-01-03'",
    "len(string_split(s, ' ')) > 3 and y[1] = 3 and list_contains(y, 4)",
    "length(replace(s, 'x', '')) < 3 and len(regexp_replace(s, '[a-z]', '', 'g')) > 1",
    "m.q > 1 or s || t = 'ab' || 'cd' || 'ef' || 'gh' || 'ij' || 'kl' || 'mn' || 'op' || 'qr'",
    "s collate nocase = 'X' and if(a > 1, true, false) and nullif(a, 1) is null",
    "json_extract_string(j, '$.a') = 'b'",
]
GROWING = [
    "len(repeat('a', 2000000000)) > w",
    "len(lpad(s, 1000000000, 'x')) > w",
    "len(range(1000000000)) > w",
    "len(generate_series(1, w)) > 3",
    "len(replace(replace(s, 'a', s), 'a', s)) > w",
    "len(regexp_replace(s, '', 'aa', 'g')) > w",
    "len(list_reduce(y, lambda p, q: p || p)) > 2",
    "list_sum(list_transform(y, lambda x: x + 1)) > 2",
    "len(list_resize(y, 1000000000)) > 2",
    "len(format('{:>2000000000}', s)) > w",
    "len(printf('%2000000000d', w)) > w",
    "NULL::INTEGER[99999][99999] is null and w > 3",
    "len(hex(hex(hex(hex(hex(hex(hex(hex(s))))))))) > w",
    "[[[[[[[s]::varchar]::varchar]::varchar]::varchar]::varchar]::varchar]::varchar = 'x'",
    "levenshtein(s, s) > 3",
    "len(bar(w, 0, 1, 1000000000)) > 3",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_ordinary_expressions_are_harmless(text: str) -> None:
    assert not growth.may_grow(parse(text))


@pytest.mark.parametrize("text", GROWING)
def test_what_makes_much_of_little_is_found(text: str) -> None:
    assert growth.may_grow(parse(text))


def test_the_functions_listed_are_functions_of_duckdb() -> None:
    assert {name for name in growth._NAMES if name not in functions()} == set()


def test_expressions_have_an_end() -> None:
    with pytest.raises(RecipeError, match="an expression has at most 100,000 characters, not 100,005"):
        parse("a" * (LONGEST + 5))
    with pytest.raises(RecipeError, match=r"nested|deep|memory|depth"):
        parse("(" * 20_000 + "a > 1" + ")" * 20_000)


@pytest.mark.parametrize("n", [100, 300, 900, 3000])
@pytest.mark.parametrize(
    ("before", "after"), [("not (", ")"), ("1 + ", ""), ("-", ""), ("case when a > 1 then ", " end")]
)
def test_deep_expressions_are_compiled_or_refused(n: int, before: str, after: str) -> None:
    text = before * n + "a" + after * n
    with contextlib.suppress(RecipeError):
        compile_condition(f"{text} = 1", pa.schema([("a", pa.int64())]))
