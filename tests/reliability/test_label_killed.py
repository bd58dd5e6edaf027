"""A labelling run that is killed keeps every answer that it was given; the next one asks only for the rest."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest

from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.label.task import LoadedTask, load_task
from tests.pipelines.label.endpoint import Server, endpoint
from tests.pipelines.label.tasks import ANSWERS, task_file, topical, truth
from tests.reliability.command import PATIENCE, gristmill, start
from tests.support import write_jsonl

DOCUMENTS = 900
CONCURRENCY = 16
#: Replies on their way from the client to the store when the process is killed, beside the requests in flight.
HANDED_OVER = 2 * CONCURRENCY


def stored(folder: Path, task: LoadedTask) -> dict[bytes, int]:
    """Input tokens of the answers that are stored, by content id."""
    rows = LabelStore(str(folder / "store"), task.fingerprint).rows()
    return dict(zip(rows["content_id"].to_pylist(), rows["input_tokens"].to_pylist(), strict=True))


def replied(server: Server) -> int:
    """How many documents the endpoint has said something about that is paid for, right or wrong."""
    return sum(seen.succeeded + seen.spoilt > 0 for seen in server.stats().documents.values())


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3, 4))])
def test_kill_nine_loses_no_answer_and_pays_none_twice(tmp_path: Path, seed: int) -> None:
    documents = topical(DOCUMENTS, seed)
    write_jsonl(tmp_path / "docs.jsonl", documents)
    with endpoint(answers=ANSWERS, plan={"wrong_label": 0.03, "error_text": 0.02}, seed=seed, delay=0.02) as server:
        annotator = {"name": "api", "engine": "http", "base_url": server.url, "model": "m", "concurrency": CONCURRENCY}
        prices = {"api": {"input_per_million": 1.0, "output_per_million": 2.0}}
        path = task_file(tmp_path, annotators=[annotator], prices=prices, budget={"input_tokens": "10M"})
        task = load_task(str(path))
        label = ("label", path, "--input", tmp_path / "docs.jsonl", "--store", tmp_path / "store", "--yes")
        draw = random.Random(seed)
        lost = 0
        for kill in range(3):
            answers = 10 + int((kill + draw.random()) * DOCUMENTS / 4)
            process = start(*label)
            until = time.monotonic() + PATIENCE
            while replied(server) < answers and time.monotonic() < until:
                time.sleep(0.01)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            assert process.returncode == -signal.SIGKILL, "the run was over before it could be killed"
            time.sleep(0.2)  # the endpoint ends what it was about to answer
            known = stored(tmp_path, task).keys()
            assert 0 <= replied(server) - len(known) <= CONCURRENCY + HANDED_OVER
            lost += replied(server) - len(known)
        code, _, err = gristmill(*label)
        assert code == 0, err
        after = server.stats().documents
    tokens = stored(tmp_path, task)
    assert len(tokens) == DOCUMENTS
    assert known <= tokens.keys()
    assert sum(seen.succeeded - 1 for seen in after.values()) <= lost, "what was stored was asked again"
    store = LabelStore(str(tmp_path / "store"), task.fingerprint)
    spent, unanswered = store.spent(), store.unanswered()
    assert spent.documents == DOCUMENTS
    reserved = sum(unanswered["input_tokens"].to_pylist())
    assert spent.input_tokens == sum(tokens.values()) + reserved
    assert spent.cost == pytest.approx((spent.input_tokens + 2 * spent.output_tokens) / 1e6)
    assert reserved >= lost * min(tokens.values()), "what was asked and never stored counts as spent"
    out = tmp_path / "labels.jsonl"
    code, _, err = gristmill("labels", "export", path, "--store", tmp_path / "store", "--out", out)
    assert code == 0, err
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {row["id"]: row["answer"] for row in rows} == truth(documents)
