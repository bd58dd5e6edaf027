"""Versions that nothing keeps go, with their runs; all that is needed stays."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill import api
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.progress.reporter import Reporter
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.storage import files
from gristmill.pipelines.store import runs
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.versions import publishing
from gristmill.pipelines.versions.compare import compare
from gristmill.pipelines.versions.retention import Collection, collect, judge, newest_of_each, retention
from tests.pipelines.stages.test_run import execute
from tests.pipelines.versions.stores import add_night, nights, plain_versions, store_of, write_recipe

NIGHTS = ("2026-11-02", "2026-11-09", "2026-11-10")
days = st.lists(st.integers(0, 60).map(lambda n: date(2026, 11, 1) + timedelta(n)), max_size=12)


def versions(store: str) -> list[int]:
    return [int(version.name.split("-")[0]) for version in Dataset(store, "web").versions()]


def going(found: Collection) -> list[int]:
    return [int(version.version.split("-")[0]) for version in found.going]


def check_whole(store: str) -> None:
    """All files of the store are there, whole, and named by something."""
    assert not verify(store, None, False, Reporter(quiet=True)).findings
    for version in Dataset(store, "web").versions():
        assert (
            len(api.open_dataset(f"{store}/datasets/web", version.name).arrow().to_table()) == version.manifest["rows"]
        )


@given(days, st.integers(0, 4), st.sampled_from(["nightly", "weekly", "monthly"]))
def test_the_newest_of_each_of_the_last_periods_stays(nights: list[date], number: int, period: str) -> None:
    dates = {f"{i:06d}-x": night for i, night in enumerate(sorted(nights))}
    key = {"nightly": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m"}[period]
    groups: dict[str, str] = {}
    for version, night in dates.items():
        groups[night.strftime(key)] = version
    expected = [groups[name] for name in sorted(groups)][-number:] if number else []
    assert newest_of_each(period, number, dates, without=()) == expected


def test_what_readers_tags_and_the_newest_run_need_stays(tmp_path: Path) -> None:
    recipe = plain_versions(tmp_path)
    store = store_of(recipe)
    execute(recipe, "decide.drop.when=gopher_words < 70")
    execute(recipe, "decide.drop.when=gopher_words < 80")
    publishing.tag(store, "web", "kept", "2")
    publishing.roll_back(store, "web", "3")  # holds back the fourth and the fifth
    seen: list[list[int]] = []
    shown = collect(RunRecords(store), "web", retention(nightly=1), lambda found: bool(seen.append(going(found))))
    assert (seen, going(shown), versions(store)) == ([[1]], [1], [1, 2, 3, 4, 5])  # nothing was removed
    publishing.publish(store, "web", "5")
    reasons = {
        int(v.version.split("-")[0]): list(v.kept_by)
        for v in judge(RunRecords(store), Dataset(store, "web"), retention(nightly=1)).versions
    }
    (held,) = reasons.pop(4)
    assert held.startswith(f"held back: rolled back to {Dataset(store, 'web').find('3').name} on 20")
    newest = ["readers take it", "it is the newest", "the next run builds on it", "the newest of its night"]
    assert reasons == {1: [], 2: ["tag kept"], 3: [], 5: newest}
    before = len(runs.run_names(store))
    collect(RunRecords(store), "web", retention(nightly=1), lambda found: True)
    assert versions(store) == [2, 4, 5]
    assert len(runs.run_names(store)) == before - 2
    check_whole(store)
    assert execute(recipe, "decide.drop.when=gopher_words < 80").cached
    again = execute(recipe)  # comes to the tagged version
    assert versions(store) == [2, 4, 5]
    assert again.dataset == Dataset(store, "web").find("kept").url
    with pytest.raises(RecipeError, match="has no version 1"):
        compare(store, "web", "1")


def test_nights_count_by_their_dates(tmp_path: Path) -> None:
    recipe = plain_versions(tmp_path)
    store = store_of(recipe)
    for run, night in zip(reversed([*RunRecords(store).finished()]), NIGHTS, strict=True):
        record = {**run.record, "date": night}
        files.write_record(files.join(run.url, runs.RECORD), {k: v for k, v in record.items() if k != "seal"})
    judged = judge(RunRecords(store), Dataset(store, "web"), retention(nightly=1, weekly=2))
    assert [v.date for v in judged.versions] == [*NIGHTS]
    assert going(judged) == [2]  # its week has a newer one
    assert going(judge(RunRecords(store), Dataset(store, "web"), retention(nightly=2))) == [1]
    assert going(judge(RunRecords(store), Dataset(store, "web"), retention(nightly=0, monthly=1))) == [1, 2]


def test_of_a_dataset_with_an_index_each_night_is_needed(tmp_path: Path) -> None:
    recipe = nights(tmp_path)
    store = store_of(recipe)
    collect(RunRecords(store), "web", retention(nightly=1), lambda found: True)
    assert versions(store) == [1, 2, 3]
    add_night(recipe, 8)
    assert execute(recipe).whole == 80
    check_whole(store)


def test_files_that_a_kept_version_lists_stay_when_the_index_is_left(tmp_path: Path) -> None:
    recipe = nights(tmp_path)
    store = store_of(recipe)
    publishing.tag(store, "web", "kept", "3")
    write_recipe(tmp_path, [{"drop": "gopher_words < 5"}])
    execute(recipe)
    assert going(collect(RunRecords(store), "web", retention(nightly=1), lambda found: True)) == []
    assert len(api.open_dataset(f"{store}/datasets/web", "kept").arrow().to_table()) == 60
    check_whole(store)


def test_what_an_interrupted_removal_left_goes_with_the_next(tmp_path: Path) -> None:
    recipe = plain_versions(tmp_path)
    store = store_of(recipe)
    oldest = min(runs.run_names(store))
    Path(store, "runs", oldest, "run.json").unlink()  # where a removal was ended
    collect(RunRecords(store), "web", retention(nightly=1), lambda found: True)
    assert oldest not in runs.run_names(store)
    assert versions(store) == [3]
    check_whole(store)


@pytest.mark.parametrize("numbers", [{"nightly": -1}, {"nightly": 0}])
def test_a_wish_that_keeps_nothing_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(RecipeError, match="keep:"):
        retention(**numbers)
