"""A loop whose process is killed goes on where it was: the same student, and no stored answer is asked for again."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.pipelines.label.endpoint import Server, endpoint
from tests.pipelines.label.tasks import task_file
from tests.pipelines.train.topics import TOPICS, text_on
from tests.reliability.command import PATIENCE, gristmill, start
from tests.support import write_jsonl

CONCURRENCY = 8
#: Questions that may be paid for again after a kill: those in flight, and replies on their way to the store.
IN_FLIGHT = 3 * CONCURRENCY


def succeeded(server: Server) -> int:
    return sum(seen.succeeded + seen.spoilt for seen in server.stats().documents.values())


@pytest.mark.slow  # tests/pipelines/train/test_loop.py ends a loop at every write
def test_kill_nine_anywhere_changes_nothing(tmp_path: Path) -> None:
    draw = random.Random(0)
    topics = draw.choices([*TOPICS], [0.5, 0.4, 0.1], k=700)
    write_jsonl(tmp_path / "a.jsonl", [{"id": str(i), "text": text_on(t, draw)} for i, t in enumerate(topics)])
    answers = {word: "ABC"[i] for i, words in enumerate(TOPICS.values()) for word in words}
    plan = {"wrong_label": 0.03, "error_text": 0.03, "reset": 0.02, "unavailable": 0.02}
    with endpoint(answers=answers, plan=plan, delay=0.02) as server:
        annotator = {"name": "api", "engine": "http", "base_url": server.url, "model": "m", "concurrency": CONCURRENCY}
        path = task_file(tmp_path, answer={"choice": [*TOPICS]}, annotators=[annotator])
        loop = ("loop", path, "--input", tmp_path / "a.jsonl", "--rounds", "2", "--budget", "260", "--yes", "--json")
        code, out, err = gristmill(*loop, "--store", tmp_path / "whole", "--out", tmp_path / "whole.bin")
        assert code == 0, err
        expected, once = json.loads(out), succeeded(server)
        again = (*loop, "--store", tmp_path / "store", "--out", tmp_path / "killed.bin")
        kills = 0
        for answered in (20, 110, 160, 215):
            process = start(*again)
            until = time.monotonic() + PATIENCE
            while succeeded(server) - once < answered and time.monotonic() < until and process.poll() is None:
                time.sleep(0.01)
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
                kills += 1
            process.communicate()
            time.sleep(0.2)  # the endpoint ends what it was about to answer
        code, out, err = gristmill(*again)
        assert code == 0, err
        assert kills >= 3
        assert succeeded(server) - 2 * once <= kills * IN_FLIGHT
    told = json.loads(out)
    assert told["rounds"] == expected["rounds"]
    assert (tmp_path / "killed.bin").read_bytes() == (tmp_path / "whole.bin").read_bytes()
