"""Whatever an endpoint replies: what was paid is stored, nobody is asked without end, and no error is unexpected."""

from __future__ import annotations

import contextlib
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gristmill.operators.errors import FatalError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.label.http.replies import Failure, reply_in
from gristmill.pipelines.label.run import label
from gristmill.pipelines.label.store import LabelStore
from tests.pipelines.label.http.http_support import OUTAGE, asker
from tests.pipelines.label.http.test_replies import GOOD, PAID, READ
from tests.pipelines.label.tasks import QUIET, loaded_task, scanned
from tests.support import write_jsonl

PIECES = [
    b"{", b"}", b"[", b"]", b'"', b"'", b",", b":", b"null", b"NaN", b"\\", b"\\u", b"\n", b"\x00", b"\xff", b"B", b"A",
    b"data: ", b"\n\ndata: [DONE]", b'"error": "x", ', b'"usage": 7, ', b'"content": ', b"<answer>", b"\xef\xbb\xbf",
]  # fmt: skip


@contextmanager
def replying(replies: dict[str, bytes]) -> Iterator[tuple[str, Counter[str]]]:
    """An endpoint on loopback: its URL, and how often each document was asked. A document's last word is its reply."""
    asked: Counter[str] = Counter()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_POST(self) -> None:
            told = self.rfile.read(int(self.headers["Content-Length"])).decode()
            name = re.findall(r"zz(\w+?)zz", told)[-1]
            asked[name] += 1
            self.send_response(200)
            self.send_header("Content-Type", random.choice(["application/json", "text/plain", "text/event-stream"]))
            self.send_header("Content-Length", str(len(replies[name])))
            self.end_headers()
            self.wfile.write(replies[name])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def spoilt(content: bytes, draw: random.Random) -> bytes:
    """A reply with a few bytes changed, cut or put in."""
    for _ in range(draw.choice([0, 1, 1, 2, 5])):
        at = draw.randrange(len(content) + 1)
        content = content[:at] + draw.choice([b"", draw.choice(PIECES)]) + content[at + draw.randrange(3) :]
    return content[: draw.randrange(len(content) + 1)] if draw.random() < 0.1 else content


@pytest.mark.parametrize("seed", range(2))
def test_what_was_paid_is_stored_and_nothing_is_asked_without_end(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    known = [*READ.values(), *PAID.values()]
    replies = {"first": GOOD} | {f"d{i}": spoilt(draw.choice(known), draw) for i in range(200)}
    documents = [{"id": name, "text": f"A text on motion zz{name}zz"} for name in replies]
    with replying(replies) as (url, asked):
        annotators = [{"name": "api", "engine": "http", "base_url": url, "model": "m"}]
        answer = {"choice": ["history", "physics", "cooking"]}
        task = loaded_task(tmp_path, answer=answer, annotators=annotators)
        found = scanned(tmp_path, documents, task)
        store = LabelStore(str(tmp_path / "store"), task.fingerprint)
        patient = replace(OUTAGE, patience=60.0, patience_at_start=60.0)  # bad replies may come first, and slowly
        result = label(task, store.store, found, QUIET, lambda p: True, lambda a, t: asker(url, t, patient, retries=2))
        assert result.declined is False
        paid = {name for name, content in replies.items() if not isinstance(reply_in(content), Failure)}
        names = dict(zip(*(found.table[column].to_pylist() for column in ("content_id", "id")), strict=True))
        rows = store.rows().to_pylist()
        stored = {names[row["content_id"]] for row in rows}
        assert paid <= stored
        assert len(paid) > 150
        assert max(asked.values()) <= 3
        assert all(
            asked[names[row["content_id"]]] == (1 if row["attempt"] == 1 and row["raw"] is None else 2) for row in rows
        )
        assert all(row["raw"] is not None or row["error"] for row in rows if row["answer"] is None)
        before = asked.copy()
        with contextlib.suppress(FatalError):  # an endpoint that answers none of the few that are left is given up
            label(task, store.store, found, QUIET, lambda plan: True, lambda a, t: asker(url, t, retries=2))
        assert {name for name in asked if asked[name] != before[name]} <= set(replies) - stored


def test_a_command_that_leaves_texts_without_an_answer_ends_with_its_summary(tmp_path: Path) -> None:
    replies = {"good": GOOD, "empty": b'{"choices": []}'}
    write_jsonl(tmp_path / "docs.jsonl", [{"id": name, "text": f"on motion zz{name}zz"} for name in replies])
    with replying(replies) as (url, asked):
        annotator = {"name": "api", "engine": "http", "base_url": url, "model": "m", "retries": 0}
        task = {"version": 1, "name": "topic", "instruction": "Which?", "answer": {"choice": ["history", "physics"]}}
        (tmp_path / "task.yaml").write_text(yaml.safe_dump({**task, "annotators": [annotator]}))
        arguments = ["label", str(tmp_path / "task.yaml"), "--input", str(tmp_path / "docs.jsonl"), "--yes", "-q"]
        done = CliRunner().invoke(app, [*arguments, "--store", str(tmp_path / "store"), "--json"])
    assert done.exit_code == 1
    assert "unexpected" not in done.stderr
    (told,) = json.loads(done.stdout)["annotators"]
    assert (told["answered"], told["unanswered"]) == (1, 1)
    assert asked == {"good": 1, "empty": 2}
