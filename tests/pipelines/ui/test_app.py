"""The application around its pages: addresses, what every response carries, what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import gristmill
from gristmill.pipelines.ui.app import make_app
from tests.pipelines.html.corpus import cells, parsed, write_corpus

pytestmark = pytest.mark.xdist_group("reports")  # one store for all


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("ui")
    gristmill.run(write_corpus(folder))
    return str(folder / "store")


@pytest.fixture(scope="module")
def client(store: str) -> Iterator[TestClient]:
    with TestClient(make_app(store), base_url="http://127.0.0.1:8765") as client:
        yield client


def test_the_first_page_lists_the_runs_as_they_are_now(tmp_path: Path) -> None:
    recipe = write_corpus(tmp_path)
    with TestClient(make_app(str(tmp_path / "store")), base_url="http://localhost") as client:
        assert "holds no run yet" in client.get("/").text
        gristmill.run(recipe)
        (row,) = cells(parsed(client.get("/").content).xpath("//main//table")[0])[1:]
        assert row[1] == "web"
        assert row[4:6] == ["320", "120"]
        gristmill.run(gristmill.load_recipe(recipe, ["decide.select.documents=100"]))
        kept = [row[5] for row in cells(parsed(client.get("/").content).xpath("//main//table")[0])[1:]]
        assert kept == ["100", "120"]


def test_every_response_forbids_what_a_page_does_not_need(client: TestClient) -> None:
    for path in ("/", "/static/style.css", "/static/script.js", "/nowhere", "/?page=x"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "10.0.0.1:8765"])
def test_a_name_of_somebody_else_for_this_machine_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 400


def test_other_sites_and_other_methods_change_nothing(client: TestClient) -> None:
    for headers in ({}, {"origin": "https://evil.example"}, {"origin": "null"}):
        assert client.post("/", headers=headers).status_code == 403
    own = {"origin": "http://127.0.0.1:8765"}
    assert client.post("/", headers={**own, "sec-fetch-site": "cross-site"}).status_code == 403
    assert client.post("/", headers={**own, "sec-fetch-site": "same-origin"}).status_code == 405
    assert client.delete("/", headers=own).status_code == 405
