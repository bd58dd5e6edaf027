"""The application around its pages: addresses, what every response carries, what is refused."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import gristmill
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.ui.serve import serve
from tests.pipelines.html.corpus import cells, parsed, write_corpus
from tests.pipelines.ui.conftest import asking, page

pytestmark = pytest.mark.xdist_group("ui")  # one store for all
#: Values of parameters that would reach a file, another query or much memory where they became a part of one.
HOSTILE_VALUES = [
    "../../../../outside.txt",
    "..%2f..%2foutside.txt",
    "/etc/passwd",
    "file:///etc/passwd",
    "' OR 1=1 --",
    "'; COPY (SELECT 1) TO 'stolen.txt'; --",
    "x' UNION SELECT content FROM read_text('outside.txt') --",
    '"); DROP TABLE documents; --',
    "{{ 7 * 7 }}",
    "%00",
    "\x00",
    "-1",
    "1e9",
    "99999999999999999999999999",
    "9" * 900,
    "a" * 1001,
    "NaN",
    "*",
    '"' * 500,
    "\ud800\udfff".encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
    "\u202e\u0000\uffff",
]
ADDRESSES = [
    ("/", "page"),
    ("/runs/{}", ""),
    ("/search", "q"),
    ("/search", "dataset"),
    ("/search?q=x", "page"),
    ("/written?dataset=web&row=0", "file"),
    ("/written?dataset=web&file=x", "row"),
    ("/explain", "id"),
    ("/explain", "address"),
    ("/explain?address=15", "texts"),
    ("/clusters", "dataset"),
    ("/clusters", "page"),
    ("/cluster?cluster=54", "rule"),
    ("/cluster?rule=fuzzy_dedup", "cluster"),
    ("/quarantine", "source"),
    ("/quarantine", "reason"),
    ("/labels/{}", ""),
    ("/static/{}", ""),
]


def test_runs_and_texts_are_those_of_now(tmp_path: Path) -> None:
    recipe = write_corpus(tmp_path)
    with asking(str(tmp_path / "store")) as client:
        assert "holds no run yet" in client.get("/").text
        assert "holds no finished run" in client.get("/search").text
        gristmill.run(recipe)
        (row,) = cells(page(client, "/").xpath("//main//table")[0])[1:]
        assert row[1] == "web"
        assert row[4:6] == ["320", "120"]
        assert "120 of 120 documents indexed" in page(client, "/search?q=mountain").text_content()
        gristmill.run(gristmill.load_recipe(recipe, ["decide.select.documents=100"]))
        kept = [row[5] for row in cells(page(client, "/").xpath("//main//table")[0])[1:]]
        assert kept == ["100", "120"]
        for _ in range(200):  # which version readers take is known a second later
            if "100 of 100 documents indexed" in page(client, "/search?q=mountain").text_content():
                return
            time.sleep(0.02)
        raise AssertionError("the new version is not searched")


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


@pytest.mark.parametrize(("address", "parameter"), ADDRESSES)
def test_no_parameter_reaches_a_file_or_a_query(client: TestClient, store: str, address: str, parameter: str) -> None:
    secret = Path(store).parent / "outside.txt"
    secret.write_text("the secret of this machine")
    page(client, "/search")
    page(client, "/clusters")
    before = sorted(Path(store).parent.rglob("*"))
    for value in HOSTILE_VALUES:
        quoted = urllib.parse.quote(value, safe="")
        path = (
            address.format(quoted)
            if "{}" in address
            else f"{address}{'&' if '?' in address else '?'}{parameter}={quoted}"
        )
        answer = client.get(path)
        assert answer.status_code in (200, 400, 404), (path, answer.text)
        assert "secret" not in answer.text
        assert "root:" not in answer.text
        assert "Traceback" not in answer.text
    assert sorted(Path(store).parent.rglob("*")) == before


def test_a_request_without_bounds_is_refused(client: TestClient) -> None:
    assert client.get("/search?q=" + "a" * 20_000).status_code == 414
    assert client.get("/" + "9" * 20_000).status_code == 414


def test_an_error_of_the_store_is_a_page_that_says_what_to_do(tmp_path: Path, store: str) -> None:
    shutil.copytree(store, tmp_path / "store")
    run = next((tmp_path / "store" / "runs").iterdir())
    content = bytearray((run / "shards.parquet").read_bytes())
    content[20] ^= 1
    (run / "shards.parquet").write_bytes(content)
    with asking(str(tmp_path / "store")) as client:
        answer = client.get(f"/runs/{run.name}")
        assert answer.status_code == 500
        assert "shards.parquet is damaged" in parsed(answer.content).xpath("//main")[0].text_content()
        assert client.get("/").status_code == 200


def test_the_command_serves_this_machine_alone_until_it_is_ended(store: str) -> None:
    command = [sys.executable, "-m", "gristmill", "ui", "--store", store, "--no-open", "--cache", f"{store}-cache"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        url = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert url is not None, line
        with urllib.request.urlopen(f"{url[0]}search?q=mountain") as answer:
            assert b"<h1>Search</h1>" in answer.read()
        with pytest.raises(RecipeError, match="--port"):
            serve(store, int(url[0].split(":")[2].strip("/")), None, lambda url: None)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 128 + signal.SIGINT
        assert process.stdout.read() == "ended\n"
        assert process.stderr.read() == ""
