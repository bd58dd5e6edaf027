"""The review: what it asks, who may answer, and that answers are those of `gristmill labels import`."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import httpx2 as httpx
import pytest
from starlette.testclient import TestClient

from gristmill.operators.errors import RecipeError
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask
from gristmill.pipelines.storage import files
from gristmill.pipelines.ui.app import make_app
from gristmill.pipelines.ui.review import ReviewAccess, review_section
from gristmill.pipelines.ui.review_queue import NEAR, SUSPECTED, ReviewQueue, answer_keys
from tests.pipelines.ui.reviewed import WRONG, documents_of, write_corpus, write_task

HOST = "http://127.0.0.1:8765"
SENT = {"origin": HOST, "sec-fetch-site": "same-origin"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("review")
    write_corpus(made)
    return made


@pytest.fixture(scope="module")
def task(folder: Path) -> LoadedTask:
    return write_task(folder)


class Review:
    """A review of a store, and a browser that may or may not have opened it."""

    def __init__(self, folder: Path, task: LoadedTask, annotator: str) -> None:
        self.store, self.access = str(folder / "store"), ReviewAccess()
        self.queue = ReviewQueue(task, self.store, annotator)
        self.app = make_app(self.store, folder / "cache", [review_section(self.queue, self.access)])
        assert self.queue.ready.wait(60)

    def client(self, opened: bool = True) -> TestClient:
        client = TestClient(self.app, base_url=HOST, headers=SENT, raise_server_exceptions=False)
        if opened:
            assert client.get(f"/{self.access.page}").status_code == 200
        return client

    def answers(self) -> dict[bytes, str]:
        rows = LabelStore(self.store, self.queue.loaded.fingerprint).rows(self.queue.annotator, ["answer"])
        return dict(zip(rows["content_id"].to_pylist(), rows["answer"].to_pylist(), strict=True))


@pytest.fixture
def review(folder: Path, task: LoadedTask, request: pytest.FixtureRequest) -> Review:
    return Review(folder, task, f"anna-{request.node.name}")


def form(review: Review, answer: str, key: bytes, queue: str = SUSPECTED) -> dict[str, str]:
    return {"key": key.hex(), "queue": queue, "answer": answer}


def post(client: TestClient, fields: dict[str, str], **headers: str) -> httpx.Response:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return client.post("/review/answer", content=urlencode(fields), headers=kind | headers, follow_redirects=False)


def test_both_queues_have_what_they_are_for(review: Review, folder: Path) -> None:
    texts = {document["text"]: i for i, document in enumerate(documents_of(folder))}
    suspected = [review.queue.place(SUSPECTED, key) for key in review.queue._items[SUSPECTED]]
    places = [texts[place.item.text] for place in suspected if place]
    assert len([place for place in places if place < WRONG]) > WRONG / 2
    assert all(place.others["crowd"] == place.item.said for place in suspected if place)
    near = [place.item for key in review.queue._items[NEAR] if (place := review.queue.place(NEAR, key))]
    assert {item.said.split(": ")[1] for item in near} == {"dropped, nearest to the limit", "kept, nearest to a limit"}
    assert {item.text for item in near} <= {*texts}
    assert not review.queue.remarks


def test_an_answer_is_an_imported_label(review: Review) -> None:
    client = review.client()
    key = review.queue.next(SUSPECTED)
    assert key is not None
    response = post(client, form(review, "law", key), accept="application/json")
    assert response.json() == {"stored": "law", "answered": 1}
    assert review.answers() == {key: "law"}
    row = LabelStore(review.store, review.queue.loaded.fingerprint).rows(review.queue.annotator).to_pylist()[0]
    assert (row["revision"], row["attempt"], row["cost"]) == ("imported", 0, 0)
    # another answer replaces it; a near document has its id in the store, so that `labels export` names it
    post(client, form(review, "food", key))
    near = review.queue.next(NEAR)
    assert near is not None
    onward = post(client, form(review, "sport", near, NEAR))
    assert (onward.status_code, onward.headers["location"]) == (303, f"/review/item?queue=near&after={near.hex()}")
    assert review.answers() == {key: "food", near: "sport"}
    documents = LabelStore(review.store, review.queue.loaded.fingerprint).documents().to_pylist()
    assert near in {document["content_id"] for document in documents}


def test_the_next_text_is_one_that_nobody_has_answered(folder: Path, task: LoadedTask) -> None:
    mine, other = Review(folder, task, "ben"), Review(folder, task, "carla")
    first = mine.queue.next(NEAR)
    assert first is not None
    mine.queue.write(first, "law")
    assert mine.queue.next(NEAR) != first
    assert other.queue.next(NEAR) not in (None, first)
    place = other.queue.place(NEAR, first)
    assert place is not None
    assert (place.others["ben"], place.mine) == ("law", None)
    opened = other.client()
    assert "ben</dt><dd>law" in opened.get(f"/review/item?queue=near&key={first.hex()}").text
    second = mine.queue.next(NEAR, first)
    assert second is not None
    assert mine.queue.next(NEAR, first, second) not in (first, second)
    for key in mine.queue._items[NEAR]:
        if key != first:
            other.queue.write(key, "food")
    assert other.queue.next(NEAR) == first, "what others answered comes last"
    other.queue.write(first, "food")
    assert other.queue.next(NEAR) is None
    assert "Nothing is left here" in opened.get("/review/item?queue=near").text


def test_only_who_has_the_address_gets_in(review: Review) -> None:
    stranger = review.client(opened=False)
    key = review.queue.next(NEAR)
    assert key is not None
    for path in ("/review", "/review?token=", f"/review?token={'x' * 43}", "/review/item", "/review/ready"):
        assert stranger.get(path).status_code == 403, path
    assert post(stranger, form(review, "law", key, NEAR)).status_code == 403
    client = review.client()
    (cookie,) = client.cookies.jar
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite").lower() == "strict"
    assert cookie.path == "/review"
    assert review.access.token not in cookie.value
    assert stranger.get(f"/{review.access.page}").status_code == 403, "the address opens once"
    assert client.get(f"/{review.access.page}").status_code == 200, "again for who is in"
    stranger.cookies.set(cookie.name, cookie.value[:-1])
    assert post(stranger, form(review, "law", key, NEAR)).status_code == 403
    assert review.answers() == {}


def test_what_another_site_sends_is_refused(review: Review) -> None:
    client, key = review.client(), review.queue.next(NEAR)
    assert key is not None
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"host": "evil.example", "origin": "http://evil.example"},
        {"host": "127.0.0.1.evil.example"},
    ):
        assert post(client, form(review, "law", key, NEAR), **headers).status_code == 403, headers
    without = TestClient(review.app, base_url=HOST, cookies=dict(client.cookies))
    assert post(without, form(review, "law", key, NEAR)).status_code == 403, "no Origin"
    assert review.answers() == {}


def test_what_is_no_answer_is_refused(review: Review) -> None:
    client, key = review.client(), review.queue.next(NEAR)
    assert key is not None
    before = files.states(review.store)
    good = form(review, "law", key, NEAR)
    for change in (
        {"answer": "politics"},
        {"answer": ""},
        {"key": "00" * 16},
        {"key": "../../etc/passwd"},
        {"queue": "' OR 1=1"},
    ):
        assert post(client, good | change).status_code == 400, change
    assert post(client, good | {"answer": "x" * 200_000}).status_code == 413
    assert client.post("/review/answer", content=b"\xff\xfe").status_code == 400
    assert client.get("/review/item?queue=../x").status_code == 404
    assert client.get(f"/review/item?key={'0' * 32}").status_code == 200
    assert client.get("/review/answer").status_code == 405
    assert files.states(review.store) == before


def test_hostile_texts_are_shown_as_they_are(review: Review, folder: Path) -> None:
    client, shown = review.client(), 0
    for name in (SUSPECTED, NEAR):
        for key, item in review.queue._items[name].items():
            page = client.get(f"/review/item?queue={name}&key={key.hex()}").text
            assert page.count("<script") == 2, "the site's own and the review's"
            assert not re.search(r"<(iframe|svg|img|body on|base|object|form action=https)", page), item.id
            shown += "<" in item.text and item.text[-40:] in unescape(page)
    assert shown > 5


def test_it_says_what_is_wrong_before_it_starts(folder: Path, task: LoadedTask) -> None:
    with pytest.raises(RecipeError, match="api is a model of topic"):
        ReviewQueue(task, str(folder / "store"), "api")
    with pytest.raises(RecipeError, match="pairs of texts"):
        ReviewQueue(write_task(folder, "better", pair="is better"), str(folder / "store"), "anna")


def test_a_task_without_labels_has_the_documents_near_limits_alone(folder: Path) -> None:
    review = Review(folder, write_task(folder, "rated", scale=[0, 5]), "anna")
    assert (len(review.queue._items[SUSPECTED]), len(review.queue._items[NEAR]) > 10) == (0, True)
    assert "has no labels of this task" in review.client().get("/review/item").text or review.queue.remarks
    key = review.queue.next(NEAR)
    assert key is not None
    assert review.queue.write(key, "4") == "4"
    with pytest.raises(RecipeError):
        review.queue.write(key, "6")


def test_several_labels_and_json(folder: Path) -> None:
    review = Review(folder, write_task(folder, "labels", multi=["sport", "law"]), "anna")
    client, key = review.client(), review.queue.next(NEAR)
    assert key is not None
    kind = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    body = urlencode([("key", key.hex()), ("queue", NEAR), ("answer", "law"), ("answer", "sport")])
    assert client.post("/review/answer", content=body, headers=kind).json()["stored"] == '["sport","law"]'
    body = urlencode([("key", key.hex()), ("queue", NEAR)])
    assert client.post("/review/answer", content=body, headers=kind).json()["stored"] == "[]"
    free = Review(folder, write_task(folder, "free", schema={"type": "integer"}), "anna")
    assert free.queue.write(key, "7") == "7"
    with pytest.raises(RecipeError):
        free.queue.write(key, '"seven"')


def test_keys_name_every_answer_once(folder: Path) -> None:
    for i, (answer, keys) in enumerate(
        [
            ({"scale": [0, 5]}, "012345"),
            ({"scale": [1, 12]}, "abcdefghijkl"),
            ({"choice": [f"l{i}" for i in range(9)]}, "123456789"),
            ({"multi": [f"l{i}" for i in range(30)]}, "abcdefghijklmnopqrstuvwxyzABCD"),
        ]
    ):
        found = answer_keys(write_task(folder, f"keys{i}", **answer).task.answer)
        assert "".join(each.key for each in found) == keys


@pytest.fixture(scope="module")
def served(folder: Path, task: LoadedTask) -> Iterator[tuple[subprocess.Popen[str], str, str]]:
    """`gristmill ui --review` in a process of its own: it, its address, and the page that opens the review."""
    program = "from gristmill.pipelines.cli.main import main; main()"
    line = [sys.executable, "-c", program, "ui", "--store", str(folder / "store"), "--port", "0", "--no-open"]
    line += ["--review", task.document.file, "--annotator", "killed"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        shown, opens = process.stdout.readline(), process.stdout.readline()
        address = re.match(r"(http://127\.0\.0\.1:\d+)/", shown)
        page = re.match(r"http://[^/]+(/review\?token=\S+) is the review by killed", opens)
        assert address, shown
        assert page, opens
        yield process, address[1], page[1]
        process.kill()


@pytest.mark.slow
def test_a_killed_server_loses_no_answer_that_it_acknowledged(
    folder: Path, task: LoadedTask, served: tuple[subprocess.Popen[str], str, str]
) -> None:
    process, address, page = served
    acknowledged: dict[bytes, str] = {}
    with httpx.Client(base_url=address, headers={"origin": address}) as client:
        assert client.get(page).status_code == 200
        until = time.monotonic() + 60
        while not client.get("/review/ready").json()["ready"]:
            assert time.monotonic() < until
            time.sleep(0.1)
        for i in range(6):
            item = client.get("/review/item?queue=near").text
            key = re.search(r'data-key="([0-9a-f]{32})"', item)
            assert key
            fields = {"key": key[1], "queue": "near", "answer": ["law", "food"][i % 2]}
            done = client.post("/review/answer", data=fields, headers={"accept": "application/json"})
            acknowledged[bytes.fromhex(key[1])] = done.json()["stored"]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    rows = LabelStore(str(folder / "store"), task.fingerprint).rows("killed", ["answer"])
    assert dict(zip(rows["content_id"].to_pylist(), rows["answer"].to_pylist(), strict=True)) == acknowledged
    assert len(acknowledged) == 6


def test_texts_are_named_by_what_they_hold(review: Review) -> None:
    import pyarrow as pa

    items = [item for items in review.queue._items.values() for item in items.values()]
    texts = pa.array([item.text for item in items], pa.large_string())
    assert [item.key for item in items] == content_ids(texts).to_pylist()
    assert json.dumps([item.queue for item in items]).count(NEAR) > 10
