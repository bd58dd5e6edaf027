"""Documents, ids, names, answers and what is asked for are shown as what they are: none becomes a part of a page."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from gristmill.pipelines.config.quoting import printable
from tests.pipelines.html.corpus import parsed
from tests.pipelines.html.hostile import HOSTILE
from tests.pipelines.html.test_hostile_pages import ATTRIBUTES, TAGS, elements
from tests.pipelines.ui.conftest import asking, page

pytestmark = pytest.mark.xdist_group("ui")  # one store for all
OWN_TAGS = {*TAGS, "link", "script", "form", "label", "input", "button", "mark", "strong", "progress"}
OWN_ATTRIBUTES = {
    *ATTRIBUTES, "src", "rel", "defer", "action", "for", "type", "value", "maxlength", "autocomplete", "spellcheck",
    "aria-current", "data-load", "data-step", "max",
}  # fmt: skip
FURTHER = ("/explain?", "/written?", "/cluster?")
UNSEEN = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]"


def test_two_hundred_hostile_texts_are_inert_on_every_page(hostile_store: str) -> None:
    """Pages with all of them as ids, names, answers and texts, those that their links lead to, searches for some."""
    with asking(hostile_store) as client:
        page(client, "/search")
        page(client, "/clusters")
        (labels,) = page(client, "/labels").xpath("//h2/a/@href")
        todo = ["/", "/runs/1", "/clusters", "/quarantine", "/labels", *(f"{labels}?page={i}" for i in range(1, 9))]
        todo += [f"/search?q={word}&page={i}" for word in ("pwned", "evil") for i in range(1, 6)]
        for text in HOSTILE[::40]:
            for path, name in (("/search", "q"), ("/explain", "id"), ("/search", "dataset"), ("/quarantine", "reason")):
                todo.append(str(client.build_request("GET", path, params={name: text}).url.raw_path, "ascii"))
        links: dict[str, list[str]] = {kind: [] for kind in FURTHER}
        shown = "".join(checked(client, path, links) for path in todo)
        for of_kind in links.values():
            further = [*dict.fromkeys(of_kind)]
            shown += "".join(checked(client, path, links) for path in further[:: max(1, len(further) // 5)])
        assert all(links.values())
        assert [text for text in HOSTILE if printable(text) not in shown] == []


def checked(client: TestClient, path: str, links: dict[str, list[str]]) -> str:
    """The text of a page that has nothing in it but what pages are made of; takes in where it leads."""
    answer = client.get(path)
    tree = parsed(answer.content)
    assert elements(tree) <= OWN_TAGS, path
    assert {name.lower() for element in tree.iter() for name in element.attrib} <= OWN_ATTRIBUTES, path
    assert [comment for comment in tree.iter() if not isinstance(comment.tag, str)] == []
    led_to = tree.xpath("//@href | //@src | //@action | //@data-load")
    assert all(re.match(r"/(?!/)|#", link) for link in led_to), path
    assert tree.xpath("//script/text()") == []
    assert not re.search(UNSEEN, answer.text), path
    for link in led_to:
        for kind in FURTHER:
            if link.startswith(kind):
                links[kind].append(link)
    return str(tree.text_content())
