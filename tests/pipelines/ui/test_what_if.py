"""The page of sliders: its numbers are those of `gristmill what-if`, and no parameter is more than a number."""

from __future__ import annotations

import json
import re
import time
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

import gristmill
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.quoting import printable
from gristmill.pipelines.storage import files
from gristmill.pipelines.ui.app import make_app
from gristmill.pipelines.ui.held_recipe import check_recipe
from gristmill.pipelines.ui.what_if import what_if_section
from tests.pipelines.ui.reviewed import write_corpus

HOST = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("what-if"))


@pytest.fixture(scope="module")
def client(recipe: Path) -> TestClient:
    """The page of a recipe whose documents are held."""
    app = make_app(str(recipe.parent / "store"), recipe.parent / "cache", [what_if_section(str(recipe))])
    client = TestClient(app, base_url=HOST, raise_server_exceptions=False)
    assert "Documents held" in client.get("/what-if").text
    until = time.monotonic() + 120
    while not (told := client.get("/what-if/progress").json())["ready"]:
        assert not told["error"]
        assert time.monotonic() < until
        time.sleep(0.05)
    return client


def lines(client: TestClient, query: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in client.get(f"/what-if/answer?{query}").text.splitlines()]


def cells(html: str) -> dict[str, list[str]]:
    """The cells of a table by the name of the row."""
    rows = re.findall(r'<th scope="row" class="name">(.*?)</th>(.*?)</tr>', html)
    return {unescape(name): re.findall(r">([^<]*)</td>", row) for name, row in rows}


def test_a_moved_limit_is_answered_as_the_command_answers(client: TestClient, recipe: Path) -> None:
    answers = lines(client, "limit0=40&limit1=7")
    assert [(told["complete"], told["whole"]) for told in answers] == [(True, False), (True, True)]
    command = unescape(re.findall(r'<code id="command">(.*?)</code>', answers[1]["html"], re.DOTALL)[0])
    (change,) = re.findall(r"--set '(.*)'$", command)
    right = gristmill.what_if(recipe, [change], workers=2)
    for told in answers:
        counts = cells(told["html"])
        assert told["kept"] == right.after.kept
        shown = [f"{right.before.kept:,}", f"{right.after.kept:,}", f"{right.after.kept - right.before.kept:+,}"]
        assert counts["kept"][:3] == shown
        assert counts["− short <b>"][:2] == [f"{f.rules[1].dropped:,}" for f in (right.before, right.after)]
    for example in right.examples:
        assert printable(example["id"]) in unescape(answers[1]["html"])


def test_the_page_needs_no_script(client: TestClient, recipe: Path) -> None:
    page = client.get("/what-if").text
    assert page.count('type="number"') == 2
    assert page.count("<svg") == 2
    moved = client.get("/what-if?limit0=40").text
    right = gristmill.what_if(recipe, ["decide.1.when=gopher_words < 40 or score > 8"], workers=2)
    assert cells(moved)["kept"][1] == f"{right.after.kept:,}"
    assert 'value="40"' in moved


def test_nothing_moved_is_the_recipe(client: TestClient) -> None:
    (told,) = lines(client, "")
    counts = cells(told["html"])["kept"]
    assert counts[0] == counts[1] == f"{told['kept']:,}"
    assert "command line" not in told["html"]


@pytest.mark.parametrize(
    "number",
    ["1 or true", "(SELECT 1)", "50) OR (1=1", "../../etc/passwd", "<script>", "nan", "1e999", "9" * 400, "%00", "１"],
)
def test_a_parameter_is_a_number_or_refused(client: TestClient, recipe: Path, number: str) -> None:
    before = files.states(str(recipe.parent / "store"))
    for path in ("/what-if", "/what-if/answer"):
        response = client.get(path, params={"limit0": number})
        assert response.status_code == 400, path
        assert "<script>" not in response.text.replace('<script src="/', "")
    assert client.get("/what-if/answer", params={"limit99": number, number: "1"}).status_code == 200
    assert files.states(str(recipe.parent / "store")) == before


def test_texts_and_names_are_shown_as_they_are(client: TestClient) -> None:
    """Ids, texts and the name of a rule are hostile here."""
    html = "".join(told["html"] for told in lines(client, "limit0=45"))
    for page in (html, client.get("/what-if?limit0=45").text):
        assert not re.search(r"<(iframe|img|object|base|form action=https|script>|svg on|b>evil)", page)
        assert "short &lt;b&gt;" in page
    assert "&lt;" in html


def test_it_is_read_again_when_a_page_of_its_own_asks(client: TestClient) -> None:
    assert client.post("/what-if/again").status_code == 403
    sent = {"origin": HOST, "sec-fetch-site": "same-origin"}
    assert client.post("/what-if/again", headers=sent, follow_redirects=False).status_code == 303
    until = time.monotonic() + 120
    while not client.get("/what-if/progress").json()["ready"]:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert lines(client, "limit0=40")[0]["complete"]


def test_without_a_recipe_the_page_says_how(recipe: Path) -> None:
    store = str(recipe.parent / "store")
    client = TestClient(make_app(store, recipe.parent / "cache", [what_if_section(None)]), base_url=HOST)
    assert f"gristmill ui --store {store} --recipe" in client.get("/what-if").text
    assert client.get("/what-if/answer").status_code == 409
    with pytest.raises(RecipeError, match="add --store"):
        check_recipe(str(recipe), "/elsewhere/store")


def test_what_keeps_a_recipe_from_being_held_is_told(recipe: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(recipe.read_text().replace("data/docs.jsonl", str(recipe.parent / "data" / "docs.jsonl")))
    client = TestClient(
        make_app(str(tmp_path / "store"), tmp_path / "cache", [what_if_section(str(other))]), base_url=HOST
    )
    until = time.monotonic() + 60
    while "cannot be held" not in (page := client.get("/what-if").text):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "gristmill run" in page
