"""Reports in headless Chromium: no error, no request, all charts drawn, accessible, wide and narrow, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import gristmill
from gristmill.pipelines.engine.local import LocalEngine
from gristmill.pipelines.html.model_page import loop_page
from gristmill.pipelines.html.run_report import run_report
from gristmill.pipelines.store.run_records import RunRecords
from tests.pipelines.html.corpus import write_corpus
from tests.pipelines.html.hostile import HOSTILE
from tests.pipelines.html.test_hostile_pages import KINDS, hostile_page, hostile_recipe
from tests.pipelines.html.test_model_report import ROUNDS, classifier_report

pytestmark = pytest.mark.browser
#: The label of each chart that is not folded away, its width in pixels, and how many of its marks have an extent.
MARKS = """
    [...document.querySelectorAll('svg')].filter(svg => svg.checkVisibility()).map(svg => [
        svg.getAttribute('aria-label'),
        svg.getBoundingClientRect().width,
        [...svg.querySelectorAll('rect, path, circle, polyline')]
            .filter(mark => mark.getBoundingClientRect().height > 0).length,
    ])
"""


@pytest.fixture(scope="module", params=["plain", "hostile", "classifier", "loop", *KINDS])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    if request.param in KINDS:
        return hostile_page(request.param, folder)
    if request.param == "hostile":
        gristmill.run(hostile_recipe(folder))
        return Path(gristmill.report(store=folder / "store", examples=60))
    if request.param == "classifier":
        return classifier_report(folder)
    if request.param == "loop":
        page = folder / "loop.html"
        page.write_bytes(loop_page(ROUNDS, HOSTILE[5], "uncertainty"))
        return page
    recipe = write_corpus(folder)
    gristmill.run(recipe)
    gristmill.run(gristmill.load_recipe(recipe, ["decide.fuzzy_dedup.threshold=0.8"]))  # a second version
    return Path(gristmill.report(recipe))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
@pytest.mark.parametrize("policy", ["its own", "none"])
def test_a_page_runs_nothing_fetches_nothing_and_fits(
    browser: Any, report: Path, scheme: str, width: int, policy: str
) -> None:
    """Escaping alone is enough: without the policy nothing happens either."""
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=policy == "none"
    )
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(report.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip", "the first stop is the way to the content"
    page.mouse.move(width // 2, 450)
    page.wait_for_timeout(100)
    assert said == []
    assert asked == [report.as_uri()]
    assert page.evaluate("[window.pwned === undefined, document.scripts.length]") == [True, 0]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_has_marks_and_axe_finds_nothing(browser: Any, report: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install 'gristmill[browser]'")
    context = browser.new_context(bypass_csp=True, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    page = context.new_page()
    page.goto(report.as_uri())
    charts = page.evaluate(MARKS)
    assert len(charts) > (20 if report.name == "report.html" else 0), "the page of a run has many"
    for label, width, marks in charts:
        assert width > 50, label
        assert marks, label
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    found = axe.Axe().run(page).response["violations"]
    assert [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found] == []
    context.close()


def test_a_printed_page_is_light_whatever_the_scheme(browser: Any, report: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(report.as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    assert (
        page.evaluate("getComputedStyle(document.querySelector('main section')).backgroundColor")
        == "rgb(255, 255, 255)"
    )
    assert page.pdf()[:5] == b"%PDF-"
    context.close()


def test_the_report_that_a_run_makes_needs_no_script_either(browser: Any, tmp_path: Path) -> None:
    gristmill.run(write_corpus(tmp_path))
    run = RunRecords(str(tmp_path / "store")).newest()
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(run_report(run, LocalEngine(1)).decode())
    assert page.locator("svg.chart").count() > 20
    page.get_by_text("Table", exact=True).first.click()
    assert page.locator("details[open] table").first.is_visible()
    context.close()
