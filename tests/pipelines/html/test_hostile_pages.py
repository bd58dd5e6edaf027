"""Documents, ids, sources, labels, annotators and rules are shown as what they are: none becomes a part of a page."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

import gristmill
from gristmill import api
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.config.quoting import printable
from gristmill.pipelines.html.comparison_page import comparison_page
from gristmill.pipelines.versions.compare import compare
from tests.pipelines.html.corpus import parsed, write_corpus
from tests.pipelines.html.hostile import HOSTILE
from tests.pipelines.html.labelled import labelled
from tests.pipelines.label.tasks import TOPICS, topical
from tests.pipelines.train.topics import examples, table
from tests.support import write_jsonl

pytestmark = pytest.mark.xdist_group("reports")  # one store for all
# fmt: off
TAGS = {
    "html", "head", "meta", "title", "style", "body", "a", "header", "p", "h1", "code", "time", "nav", "ul", "li",
    "main", "section", "dl", "div", "dt", "dd", "small", "h2", "h3", "span", "table", "caption", "thead", "tbody", "tr",
    "th", "td", "details", "summary", "figure", "figcaption", "article", "pre", "svg", "rect", "line", "path", "circle",
    "polyline", "text", "ins", "del", "strong",
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


#: The kinds of pages besides that of a run.
KINDS = ("task", "model", "comparison", "nights")


def hostile_page(kind: str, folder: Path) -> Path:
    """A page of a kind, of texts, ids, sources, labels and names that have run scripts elsewhere."""
    out = folder / f"{kind}.html"
    if kind == "task":
        documents = [
            {**row, "id": HOSTILE[i % 200], "source": HOSTILE[i % 25], "text": f"{row['text']} {HOSTILE[i]}"}
            for i, row in enumerate(topical(200))
        ]
        labels = dict(zip(HOSTILE[40:42], TOPICS, strict=True))
        answers = {"answer": {"choice": labels}, "instruction": HOSTILE[43]}
        _, store = labelled(folder, documents, reply=HOSTILE[44], **answers)
        given = [{"id": row["id"], "text": row["text"], "answer": HOSTILE[40]} for row in documents[:20]]
        write_jsonl(folder / "people.jsonl", given)
        imported = ["labels", "import", str(folder / "task.yaml"), str(folder / "people.jsonl"), "--store", store]
        done = CliRunner().invoke(app, [*imported, "--annotator", HOSTILE[45]])
        assert done.exit_code == 0, done.output
        return Path(gristmill.report(folder / "task.yaml", store, examples=100, out=out))
    if kind == "model":
        made = examples(240, source=lambda topic, draw: HOSTILE[draw.randrange(2)])
        names = dict(zip(("sport", "law", "food"), HOSTILE[50:53], strict=True))
        made = [{**row, "label": names[row["label"]]} for row in made]
        api.distil(str(folder / "m.bin"), table=table(folder / "t.parquet", made), by=["source"])
        return Path(f"{folder / 'm.bin'}.report.html")
    if kind == "comparison":
        recipe = hostile_recipe(folder)
        gristmill.run(recipe)
        (folder / "data" / "hostile.jsonl").unlink()
        write_jsonl(
            folder / "data" / "hostile.jsonl", [{"id": t, "text": t, "lang": t, "score": 9} for t in HOSTILE[80:]]
        )
        gristmill.run(gristmill.load_recipe(recipe, ["decide.0.when=bytes < 110"]))
        out.write_bytes(comparison_page(compare(str(folder / "store"), "web", "1", "2", 100, 600)))
        return out
    decide: list[Any] = [{"drop": {"when": "bytes < 90", "name": HOSTILE[30]}}]
    decide.append({"fuzzy_dedup": {"threshold": 0.5, "index": {"name": "web"}}})
    recipe = write_corpus(folder, decide=decide, texts=HOSTILE)
    value = yaml.safe_load(recipe.read_text())
    recipe.write_text(
        yaml.safe_dump({**value, "refresh": {"guards": {"documents": {"max": 1.01}}}}, allow_unicode=True)
    )
    for night in range(2):
        write_jsonl(folder / "data" / f"a-{night + 4}.jsonl", [{**row, "score": 9} for row in topical(20, seed=night)])
        gristmill.refresh(recipe, date(2026, 11, 1 + night))
    return Path(gristmill.report("2", folder / "store", out=out))


@pytest.fixture(scope="module", params=KINDS)
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    return request.param, hostile_page(request.param, tmp_path_factory.mktemp(request.param)).read_bytes()


def test_no_page_takes_anything_from_outside_for_a_part_of_it(other: tuple[str, bytes]) -> None:
    kind, content = other
    tree = parsed(content)
    assert elements(tree) <= TAGS
    assert {name.lower() for element in tree.iter() for name in element.attrib} <= ATTRIBUTES
    assert [comment for comment in tree.iter() if not isinstance(comment.tag, str)] == []
    assert len(tree.xpath("//main")) == len(tree.xpath("//style")) == len(tree.xpath("/html/head/title")) == 1
    assert all(link.startswith("#") for link in tree.xpath("//@href"))
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]", content.decode())
    shown = {
        "task": [*HOSTILE[40:42], *HOSTILE[43:46], HOSTILE[10]],
        "model": [*HOSTILE[50:53], HOSTILE[0]],
        "comparison": [HOSTILE[0], f"dropped by {HOSTILE[30]} now"],
        "nights": [HOSTILE[0], HOSTILE[30]],
    }[kind]
    text = " ".join(tree.text_content().split())
    for value in shown:
        assert " ".join(printable(value.expandtabs(4)).split()) in text
