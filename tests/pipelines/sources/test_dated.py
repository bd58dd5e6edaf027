"""Paths with dates in them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.sources.dated import dates_from, expanded, is_dated, night_of
from tests.pipelines.stages.test_run import execute
from tests.support import make_documents, write_jsonl

MakeRecipe = Callable[..., Path]
days = st.dates(date(2001, 1, 1), date(2068, 12, 31))  # what %y stands for
FORMATS = ("", ":%Y-%m-%d", ":%Y/%m/%d", ":%Y%m%d", ":%Y-%j", ":%y%m%d")


@given(days, st.sampled_from(FORMATS), st.sampled_from(["a/{}/*.jsonl", "s3://b/x-{}.parquet", "./{}/**", "*/d={}/f"]))
def test_a_date_is_read_again_from_a_path_that_it_was_written_into(day: date, given: str, pattern: str) -> None:
    pattern = pattern.replace("{}", "{date" + given + "}")
    (path,) = expanded([pattern], [day])
    url = path.removeprefix("./").replace("**", "p/q.txt").replace("*", "part-0")
    assert is_dated([pattern])
    assert night_of(f"/home/x/{url}" if "://" not in url else url, [pattern]) == day


def test_paths_of_all_nights_are_told_once() -> None:
    nights = dates_from(date(2026, 11, 29), date(2026, 12, 2))
    assert [*expanded(["a/{date:%Y-%m}/*", "b/*"], nights)] == ["a/2026-11/*", "a/2026-12/*", "b/*"]
    assert len(expanded(["{date}"], nights)) == 4
    assert night_of("a/2026-13-45/x", ["a/{date}/x"]) is None
    assert night_of("other/2026-11-01/x", ["a/{date}/x"]) is None
    with pytest.raises(RecipeError, match="comes after"):
        dates_from(date(2026, 12, 2), date(2026, 12, 1))


def test_nights_without_files_are_told_and_all_of_them_are_an_error(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    for night in ("2026-11-01", "2026-11-03"):
        write_jsonl(tmp_path / "data" / night / "a.jsonl", make_documents(5, seed=int(night[-1])))
    source = {"name": "docs", "path": "data/{date:%Y-%m-%d}/*.jsonl"}
    recipe = make_recipe(tmp_path, sources=[source], refresh={"since": "2026-11-01"})
    done = api.refresh(str(recipe), date(2026, 11, 3), engine="local")
    assert done.run.funnel.documents == 10
    assert done.run.listed == ["source docs: 1 night without files: data/2026-11-02/*.jsonl"]
    assert api.refresh(str(recipe), date(2026, 11, 3), date(2026, 11, 3), engine="local").run.funnel.documents == 5
    with pytest.raises(RecipeError, match=r"recipe.yaml:\d+: nothing matches .*2026-11-06"):
        api.refresh(str(recipe), date(2026, 11, 6), date(2026, 11, 5), engine="local")


def test_without_a_first_night_the_last_is_read_alone(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    today = date.today()
    for night in (today - timedelta(1), today, today + timedelta(1)):  # whatever the hour and the zone
        write_jsonl(tmp_path / "data" / f"{night}.jsonl", make_documents(5, seed=night.day))
    recipe = make_recipe(tmp_path, sources=[{"name": "docs", "path": "data/{date}.jsonl"}])
    assert execute(recipe).funnel.documents == 5


@pytest.mark.parametrize("path", ["data/{date:%H}/*", "data/{date:%Y-%b}/*"])
def test_a_date_that_cannot_be_filled_in_is_named(tmp_path: Path, make_recipe: MakeRecipe, path: str) -> None:
    recipe = make_recipe(tmp_path, sources=[{"name": "docs", "path": path}])
    with pytest.raises(RecipeError, match=r"recipe.yaml:\d+: .* is made of %Y, %m and %d"):
        api.load_recipe(recipe)
