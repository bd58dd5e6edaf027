"""Documents, ids, sources, labels and rules are shown as what they are: none becomes a part of the page."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

import gristmill
from gristmill.pipelines.config.quoting import printable
from tests.pipelines.html.corpus import parsed, write_corpus
from tests.pipelines.html.hostile import HOSTILE

pytestmark = pytest.mark.xdist_group("reports")  # one store for all
# fmt: off
TAGS = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "p", "h1", "code", "time", "nav", "ul", "li",
    "main", "section", "dl", "div", "dt", "dd", "small", "h2", "h3", "span", "table", "caption", "thead", "tbody", "tr",
    "th", "td", "details", "summary", "figure", "figcaption", "article", "pre", "svg", "rect", "line", "path", "circle",
    "polyline", "text", "ins", "del",
}
ATTRIBUTES = {
    "lang", "charset", "http-equiv", "content", "name", "class", "href", "id", "aria-label", "aria-labelledby",
    "tabindex", "role", "scope", "rowspan", "title", "datetime", "dir", "open", "viewbox", "x", "y", "x1", "x2", "y1",
    "y2", "cx", "cy", "r", "d", "points", "width", "height", "text-anchor",
}
# fmt: on


def hostile_recipe(folder: Path) -> Path:
    """A recipe over the hostile texts, half of which a rule with a hostile name drops; some are near copies."""
    decide: list[Any] = [
        {"drop": {"when": "bytes < 90 or score = -1", "name": HOSTILE[30]}},
        {"fuzzy_dedup": {"threshold": 0.5, "name": HOSTILE[55]}},
    ]
    return write_corpus(folder, decide=decide, texts=HOSTILE)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("hostile")
    result = gristmill.run(hostile_recipe(folder))
    assert result.funnel.documents == 320 + 200
    assert result.report is not None
    own = Path(result.report).read_bytes()
    assert gristmill.report(store=folder / "store", examples=600) == result.report
    asked = Path(result.report).read_bytes()
    assert len(asked) > len(own)
    assert elements(parsed(own)) <= TAGS
    return asked


def elements(tree: Any) -> set[str]:
    return {element.tag for element in tree.iter() if isinstance(element.tag, str)}


def test_nothing_from_outside_becomes_an_element_or_an_attribute(page: bytes) -> None:
    tree = parsed(page)
    assert elements(tree) <= TAGS
    assert {name.lower() for element in tree.iter() for name in element.attrib} <= ATTRIBUTES
    assert [comment for comment in tree.iter() if not isinstance(comment.tag, str)] == []
    assert len(tree.xpath("//main")) == len(tree.xpath("//style")) == len(tree.xpath("/html/head/title")) == 1
    assert all(link.startswith("#") for link in tree.xpath("//@href"))


def test_every_text_and_id_is_shown_whole_with_what_cannot_be_seen_escaped(page: bytes) -> None:
    tree = parsed(page)
    shown = {"".join(p.itertext()) for p in tree.xpath("//p[@class='text']")}
    ids = {"".join(span.itertext()) for span in tree.xpath("//figcaption/span[@class='name'][1]")}
    for text in HOSTILE:
        assert printable(text.expandtabs(4)) in shown
        assert printable(text) in ids
    body = page.decode()
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", body)


def test_names_of_sources_rules_and_groups_are_shown(page: bytes) -> None:
    tree = parsed(page)
    names = {"".join(cell.itertext()) for cell in tree.xpath("//th[contains(@class, 'name')]")}
    assert {HOSTILE[0], HOSTILE[30], HOSTILE[55]} <= names
    assert [chart for chart in tree.xpath("//*[local-name()='svg']/@aria-label") if HOSTILE[30] in chart]


def test_the_policy_allows_the_pages_own_style_alone(page: bytes) -> None:
    tree = parsed(page)
    (policy,) = tree.xpath("//meta[@http-equiv='Content-Security-Policy']/@content")
    style = re.search(r"<style>(.*?)</style>", page.decode(), re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert "url(" not in style[1]
    assert "@import" not in style[1]
