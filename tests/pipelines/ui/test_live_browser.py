"""Sliders and the review in headless Chromium, by keyboard: what they do, axe, no error, no script of a document's."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

import gristmill
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.ui.app import SECTIONS, make_app
from gristmill.pipelines.ui.review import ReviewAccess, review_section
from gristmill.pipelines.ui.review_queue import ReviewQueue
from gristmill.pipelines.ui.site import SectionMaker
from gristmill.pipelines.ui.what_if import what_if_section
from tests.pipelines.ui.reviewed import write_corpus, write_task

pytestmark = pytest.mark.browser
KEPT = "document.querySelector('#answer tr.sum').cells[2].textContent"


@contextmanager
def served(store: Path, *sections: SectionMaker) -> Iterator[str]:
    """The UI of a store at a port of this machine."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        app = make_app(str(store), store.parent / "cache", [*SECTIONS, *sections])
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(30)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("live"))


@pytest.fixture(scope="module")
def task(recipe: Path) -> LoadedTask:
    return write_task(recipe.parent)


@pytest.fixture(scope="module")
def sliders(recipe: Path) -> Iterator[str]:
    with served(recipe.parent / "store", what_if_section(str(recipe))) as address:
        yield f"{address}/what-if"


def until(holds: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for something; `wait_for_function` would evaluate a text in the page, which its policy forbids."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


class Page:
    """A page that notes what its console says and what it asks of other machines."""

    def __init__(self, browser: Any, scheme: str = "light", width: int = 1280, **options: Any) -> None:
        self.context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}, **options)
        self.page, self.said, self.asked = self.context.new_page(), [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def check(self, address: str) -> None:
        """Nothing was said, nothing asked of others, no script of a document ran, and the page fits."""
        assert self.said == []
        assert [url for url in self.asked if not url.startswith(address)] == []
        assert self.page.evaluate("window.pwned === undefined")
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.page.viewport_size["width"]


def violations(page: Any) -> list[Any]:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install 'gristmill[browser]'")
    found = axe.Axe().run(page).response["violations"]
    return [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390)])
def test_sliders_by_keyboard(browser: Any, sliders: str, recipe: Path, scheme: str, width: int) -> None:
    opened = Page(browser, scheme, width)
    page = opened.page
    page.goto(sliders)
    page.locator("#limits").wait_for(timeout=120_000)  # until the documents are held
    before = page.evaluate(KEPT)
    page.locator("input.slide").first.focus()
    for _ in range(5):
        page.keyboard.press("PageUp")
    number = page.locator("#limit0").input_value()
    assert int(number) > 30
    right = gristmill.what_if(recipe, [f"decide.1.when=gopher_words < {number} or score > 8"], workers=2)
    until(lambda: page.evaluate(KEPT) == f"{right.after.kept:,}")
    assert page.evaluate(KEPT) != before
    page.locator("#command").wait_for()
    page.locator("figure.example").first.wait_for()
    assert f"gopher_words < {number}" in page.locator("#command").inner_text()
    assert f"limit0={number}" in page.url
    page.reload()
    assert page.evaluate(KEPT) == f"{right.after.kept:,}"
    page.keyboard.press("Tab")
    page.locator("button.back").first.press("Enter")
    until(lambda: page.evaluate(KEPT) == before)
    assert page.evaluate("document.activeElement.id") == "limit0"
    opened.check(sliders.rpartition("/")[0])
    opened.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, sliders: str, recipe: Path, task: LoadedTask, scheme: str) -> None:
    opened = Page(browser, scheme, bypass_csp=True)
    opened.page.goto(sliders)
    opened.page.locator("#limits").wait_for(timeout=120_000)
    opened.page.locator("#limit0").fill("40")
    opened.page.locator("figure.example").first.wait_for()
    assert violations(opened.page) == []
    access = ReviewAccess()
    queue = ReviewQueue(task, str(recipe.parent / "store"), f"axe-{scheme}")
    with served(recipe.parent / "store", review_section(queue, access)) as address:
        opened.page.goto(f"{address}/{access.page}", wait_until="commit")
        opened.page.locator("#answers").wait_for(timeout=60_000)
        assert violations(opened.page) == []
    opened.context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_a_review_by_keyboard(browser: Any, recipe: Path, task: LoadedTask, width: int) -> None:
    """Answers wait, can be undone, are written before the next one or after some seconds, and survive a dead server."""
    store, access = recipe.parent / "store", ReviewAccess()
    queue = ReviewQueue(task, str(store), f"keys-{width}")

    def written() -> list[str]:
        return LabelStore(str(store), task.fingerprint).rows(queue.annotator, ["answer"])["answer"].to_pylist()

    opened = Page(browser, width=width)
    page = opened.page
    with served(store, review_section(queue, access)) as address:
        page.goto(f"{address}/{access.page}", wait_until="commit")
        page.locator("#answers").wait_for(timeout=60_000)
        assert access.token not in page.url

        def shown() -> str:
            return str(page.locator(".review").get_attribute("data-key"))

        first = shown()
        page.keyboard.press("2")
        until(lambda: shown() != first)
        second = shown()
        assert "law for" in page.locator("#pending").inner_text()
        assert written() == []
        page.keyboard.press("Backspace")
        until(lambda: shown() == first)
        assert written() == []
        page.keyboard.press("3")
        until(lambda: shown() == second)
        page.keyboard.press("ArrowRight")
        until(lambda: shown() != second)
        third = shown()
        page.keyboard.press("1")  # writes the one before
        until(lambda: shown() != third)
        assert written() == ["food"]
        until(lambda: page.locator("#pending").inner_text().endswith(": written"))
        assert sorted(written()) == ["food", "sport"]
        assert page.locator("#count").inner_text() == "2"
        opened.check(address)
        assert violations(page) == [] if width == 390 else True
    opened.context.close()


def test_an_answer_that_no_server_takes_is_kept_and_told(browser: Any, recipe: Path, task: LoadedTask) -> None:
    store, access = recipe.parent / "store", ReviewAccess()
    opened = Page(browser)
    page = opened.page
    with served(store, review_section(ReviewQueue(task, str(store), "lost"), access)) as address:
        page.goto(f"{address}/{access.page}", wait_until="commit")
        page.locator("#answers").wait_for(timeout=60_000)
        page.keyboard.press("1")
        page.locator("#undo").wait_for()
    until(lambda: "not written yet" in page.locator("#pending").inner_text())
    assert page.evaluate("JSON.parse(sessionStorage.getItem('gristmill-review-pending')).body").endswith("answer=sport")
    opened.context.close()
