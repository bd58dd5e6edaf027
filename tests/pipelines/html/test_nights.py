"""Nights on reports: what a night came to, with its guards, and a dataset over all of them."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import gristmill
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.decide.funnel import Funnel
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.html.run_report import run_report
from gristmill.pipelines.report.verify import verify
from gristmill.pipelines.store.run_records import RunRecords, Standing
from gristmill.pipelines.versions.history import history
from gristmill.pipelines.versions.profile import Profile, drifts, profile
from gristmill.pipelines.versions.refresh import NightResult
from tests.pipelines.html.corpus import cells, number, parsed
from tests.pipelines.label.tasks import QUIET
from tests.pipelines.versions.stores import add_night, store_of, write_recipe

pytestmark = pytest.mark.xdist_group("reports")
INDEXED = [{"drop": "gopher_words < 78"}, {"fuzzy_dedup": {"index": {"name": "web"}}}]
GUARDS = {"guards": {"kept": {"min": 0.1}, "documents": {"max": 2.5}}}


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[NightResult]]:
    """Three nights, the last of which a guard holds back."""
    recipe = write_recipe(tmp_path_factory.mktemp("nights"), INDEXED, refresh=GUARDS)
    done = []
    for night, documents in enumerate((10, 10, 60)):
        add_night(recipe, night, documents)
        done.append(gristmill.refresh(recipe, date(2026, 11, 1 + night)))
    assert CliRunner().invoke(app, ["datasets", "tag", "web", "good", "2", "--store", store_of(recipe)]).exit_code == 0
    return recipe, done


def table(page: Any, label: str) -> list[list[str]]:
    (shown,) = page.xpath(f"//div[@aria-label='{label}']/table")
    return cells(shown)


def test_the_page_of_a_night_tells_what_it_came_to(nights: tuple[Path, list[NightResult]]) -> None:
    for night in nights[1]:
        assert night.run.report is not None
        page = parsed(Path(night.run.report).read_bytes())
        rows = {row[0]: row[1:] for row in table(page, "Guards of the night")[1:]}
        assert rows == {guard.guard: ["passes" if guard.passes else "tripped", guard.told] for guard in night.guards}
        (source,) = table(page, "Sources before and now")[1:]
        assert [number(cell) for cell in source[2:4]] == [*night.sources[0].documents]
        section = page.xpath("string(//section[@aria-labelledby='night'])")
        assert ("Held back" in section) == (night.held is not None)
    assert [night.held for night in nights[1]] == [None, None, "guards: documents"]


def test_the_page_is_the_same_whoever_makes_it(nights: tuple[Path, list[NightResult]]) -> None:
    records = RunRecords(store_of(nights[0]))
    run = records.run(nights[1][1].run.run)
    assert run is not None
    assert run_report(run, LocalEngine(1)) == Path(str(nights[1][1].run.report)).read_bytes()
    assert not verify(store_of(nights[0]), None, False, QUIET).findings


def test_a_dataset_is_told_over_its_nights(nights: tuple[Path, list[NightResult]], tmp_path: Path) -> None:
    store = store_of(nights[0])
    page = parsed(Path(gristmill.report("3", store, out=tmp_path / "o.html")).read_bytes())
    rows = table(page, "Table of versions")
    heads = rows[0]
    shown = [dict(zip(heads, row, strict=True)) for row in rows[1:]]
    runs = [RunRecords(store).run(night.run.run) for night in nights[1]]
    funnels = [Funnel.from_json(run.record["result"]["funnel"]) for run in runs if run is not None]
    assert [number(row["Documents"]) for row in shown] == [night.documents[1] for night in nights[1]]
    assert [number(row["Read"]) for row in shown] == [funnel.documents for funnel in funnels] == [20, 20, 120]
    assert [number(row["Kept of them"]) for row in shown] == [funnel.kept for funnel in funnels]
    assert [row["Guards"] for row in shown] == ["all pass", "all pass", "tripped: documents"]
    assert [row["Marks"] for row in shown] == ["–", "current, good", "held back"]
    assert table(page, "Guards that tripped")[1][:3] == ["3", "2026-11-03", "documents"]
    lost = table(page, "Loss by source and version")[1][1:]
    assert lost == [f"{100 * (1 - f.kept / f.documents):.1f}%" for f in funnels]
    assert (
        len(page.xpath("//section[@aria-labelledby='versions']//*[local-name()='svg'][contains(@class, 'chart')]")) == 3
    )


def test_drift_by_night_is_that_from_the_nights_before(nights: tuple[Path, list[NightResult]]) -> None:
    records = RunRecords(store_of(nights[0]))
    versions = history(records, "web", "999999", 60)
    runs = [records.run(night.run.run) for night in nights[1]]
    profiles = [profile([Standing(run, run.shards())]) for run in runs if run is not None]
    assert [*versions[0].drift] == []
    assert [*versions[2].drift] == drifts(sum(profiles[:2], Profile()), profiles[2])
    assert [version.facts.version for version in history(records, "web", nights[1][1].version, 60)] == [
        night.version for night in nights[1][:2]
    ]


def test_a_night_that_changes_nothing_leaves_its_page_and_account_as_they_are(
    nights: tuple[Path, list[NightResult]],
) -> None:
    recipe, done = nights
    report = Path(str(done[1].run.report))
    account = report.parent / "night.json"
    assert json.loads(account.read_text())["version"] == done[1].version
    before = report.read_bytes(), account.read_bytes()
    again = gristmill.refresh(recipe, date(2026, 11, 3))
    assert again.run.report is None
    assert (report.read_bytes(), account.read_bytes()) == before


def test_without_an_index_versions_are_told_by_all_that_they_are_made_of(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, [{"drop": "gopher_words < 78"}])
    for night in range(2):
        add_night(recipe, night)
        gristmill.run(recipe)
    page = parsed(Path(gristmill.report("web", tmp_path / "store", examples=0)).read_bytes())
    rows = [
        dict(zip(table(page, "Table of versions")[0], row, strict=True)) for row in table(page, "Table of versions")[1:]
    ]
    assert [number(row["Read"]) for row in rows] == [20, 40]
    assert {row["Guards"] for row in rows} == {"–"}
    assert page.xpath("//h3[starts-with(., 'Drift since')]")
