"""The live pages in headless Chromium: no error, no request elsewhere, accessible, wide and narrow, light and dark."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from gristmill.pipelines.label.store import fingerprints
from gristmill.pipelines.ui.app import make_app
from tests.pipelines.html.hostile import HOSTILE
from tests.pipelines.ui.conftest import asking, page

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("ui")]
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390)]


@pytest.fixture(scope="module", params=["plain", "hostile"])
def site(request: pytest.FixtureRequest, store: str, hostile_store: str) -> Iterator[tuple[str, list[str]]]:
    """Where a store is served, and the paths of one page of each kind, indexed already."""
    served = store if request.param == "plain" else hostile_store
    with asking(served) as client:
        page(client, "/search")
        (cluster, *_) = page(client, "/clusters").xpath("//main//table//@href")
        explained = page(client, cluster).xpath("//section[@aria-labelledby='members']//@href")[-1]
        word = "mountain" if request.param == "plain" else "pwned"
        hits = page(client, "/search", q=word).xpath("//article[@class='hit']//a/@href")
    paths = ["/", "/runs/1", "/search", f"/search?q={word}", hits[0], "/explain", explained, "/explain?id=odd"]
    paths += ["/clusters", cluster, "/quarantine", "/labels", f"/labels/{fingerprints(served)[0]}"]
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(make_app(served, Path(f"{served}-cache")), log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}", paths
    server.should_exit = True
    thread.join()


def opened(context: Any, base: str, path: str, said: list[str], asked: list[str]) -> Any:
    """A page when all that it loads by itself is there."""
    shown = context.new_page()
    shown.on("console", lambda message: said.append(f"{path}: {message.text}"))
    shown.on("pageerror", lambda error: said.append(f"{path}: {error}"))
    shown.on("dialog", lambda dialog: said.append(f"{path}: {dialog.message}"))
    shown.on("request", lambda request: asked.append(request.url))
    assert shown.goto(base + path).status == 200
    for _ in range(200):
        if not shown.locator("[data-load] .working").count():
            return shown
        time.sleep(0.05)
    raise AssertionError(f"{path}: a text is not there")


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
@pytest.mark.parametrize("policy", ["its own", "none"])
def test_pages_ask_nobody_else_say_no_error_and_fit(
    browser: Any, site: tuple[str, list[str]], scheme: str, width: int, policy: str
) -> None:
    """Escaping alone is enough: without the policy nothing happens either."""
    base, paths = site
    viewport = {"width": width, "height": 900}
    context = browser.new_context(color_scheme=scheme, viewport=viewport, bypass_csp=policy == "none")
    for path in paths:
        said: list[str] = []
        asked: list[str] = []
        shown = opened(context, base, path, said, asked)
        shown.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.className") == "skip", "the first stop is the way to the content"
        shown.mouse.move(width // 2, 450)
        shown.wait_for_timeout(50)
        assert said == []
        assert [url for url in asked if not url.startswith(f"{base}/")] == []
        assert shown.evaluate("[window.pwned === undefined, document.scripts.length]") == [True, 1]
        assert shown.evaluate("document.documentElement.scrollWidth") <= width, path
        shown.close()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser: Any, site: tuple[str, list[str]], scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install 'gristmill[browser]'")
    base, paths = site
    context = browser.new_context(bypass_csp=True, color_scheme=scheme, viewport={"width": 1280, "height": 900})
    for path in paths:
        shown = opened(context, base, path, [], [])
        shown.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        found = axe.Axe().run(shown).response["violations"]
        assert [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found] == [], path
        shown.close()
    context.close()


def test_keys_lead_to_the_search_and_from_hit_to_hit(browser: Any, site: tuple[str, list[str]]) -> None:
    base, paths = site
    context = browser.new_context()
    shown = opened(context, base, paths[3], [], [])
    shown.keyboard.press("j")
    first = shown.evaluate("document.activeElement.href")
    assert first == base + paths[4]
    shown.keyboard.press("/")
    assert shown.evaluate("document.activeElement.id") == "q"
    shown.keyboard.type("nothing has this")
    shown.keyboard.press("Enter")
    shown.wait_for_url("**q=nothing*")
    assert shown.get_by_text("Nothing that is kept and indexed has all of it.").is_visible()
    context.close()


def test_without_scripts_the_texts_are_a_link_away(browser: Any, site: tuple[str, list[str]]) -> None:
    base, paths = site
    context = browser.new_context(java_script_enabled=False)
    for path in (paths[6], paths[9]):
        shown = context.new_page()
        shown.goto(base + path)
        shown.locator(".working a").first.click()
        shown.wait_for_url("**texts=1*")
        assert shown.locator("section[id^=texts] .text").first.is_visible()
    context.close()


def test_what_is_typed_is_shown_as_it_is(browser: Any, site: tuple[str, list[str]]) -> None:
    base, _ = site
    context = browser.new_context(bypass_csp=True)
    said: list[str] = []
    shown = opened(context, base, "/search", said, [])
    for text in HOSTILE[::10]:
        shown.fill("#q", text.replace("\n", " "))
        shown.get_by_role("button", name="Search").click()
        shown.wait_for_load_state()
        assert shown.evaluate("window.pwned === undefined")
    assert said == []
    context.close()
