"""The label store: nothing that append returned for is lost or doubled, whatever is killed, whatever is compacted."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.operators.errors import RecipeError, StoreDamaged, StoreFileGone, StoreLocked
from gristmill.operators.label.contract import Rejected
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.label.budget import Amount
from gristmill.pipelines.label.store import DOCUMENTS, LabelStore, open_stored, writer
from gristmill.pipelines.label.store.journal import LocalJournal
from gristmill.pipelines.label.store.schema import (
    ANSWERED,
    MISSING,
    NEEDED,
    QUARANTINED,
    REPAIR,
    SCHEMA,
    Annotation,
    AnswerRow,
    Known,
    to_columns,
    to_table,
)
from gristmill.pipelines.storage import files
from tests.pipelines.label.store.rows_made import BIG, answered, key, refused, rejected
from tests.reliability.object_store import bucket

ROOT = Path(__file__).resolve().parents[4]
SMALL = Annotation("small", "other", "rev-1")
BUCKET = "s3://label-store"


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    return LabelStore(str(tmp_path), "fingerprint")


@pytest.fixture
def small_journals() -> Iterator[None]:
    """Journals that are full after three rows, and few files that count as many."""
    with tuned(journal_rows=3, answer_files=4):
        yield


def keys_of(numbers: list[int]) -> pa.Array:
    return pa.array(map(key, numbers), pa.binary(16))


def names(store: LabelStore) -> list[str]:
    return [name for name in files.names(store.url) if name != "inventory.json"]


def test_what_is_appended_counts_at_once_and_after_the_run(store: LabelStore) -> None:
    with store.open_run("r") as run:
        run.append(BIG, [answered(1), answered(2, "5")])
        run.append(SMALL, [answered(1)])
        during = store.rows().to_pylist()
    assert store.rows().to_pylist() == during
    assert [(row["content_id"], row["annotator"], row["answer"]) for row in during] == [
        (key(1), "big", "4"),
        (key(1), "small", "4"),
        (key(2), "big", "5"),
    ]
    assert store.rows("small").num_rows == 1
    assert store.rows().schema == SCHEMA
    assert names(store) == ["answers-r-000001.parquet"]


def test_an_empty_store_has_nothing(store: LabelStore) -> None:
    assert store.rows().num_rows == store.documents().num_rows == len(store.known("big", "rev-1")) == 0
    assert store.spent() == Amount()
    with store.open_run("r"):
        pass
    assert names(store) == []


def test_a_repair_takes_the_place_of_the_first_answer_and_its_tokens_are_kept(store: LabelStore) -> None:
    with store.open_run("r") as run:
        run.append(BIG, [rejected(1, tokens=100), rejected(2, tokens=10)])
        run.append(BIG, [answered(1, attempt=2, tokens=150), rejected(2, attempt=2, tokens=20)])
    one, two = store.rows().to_pylist()
    assert (one["answer"], one["attempt"], one["input_tokens"], one["output_tokens"]) == ("4", 2, 250, 2)
    assert (two["answer"], two["raw"], two["input_tokens"]) == (None, "raw 2", 30)
    assert store.spent()[:3] == (2, 280, 4)


def test_states(store: LabelStore) -> None:
    with store.open_run("r") as run:
        run.append(BIG, [answered(1), rejected(2), rejected(3), refused(4), AnswerRow(None, 1, None, cost=1.0)])
        run.append(BIG, [rejected(3, attempt=2), AnswerRow(key(6), 0, "4")])
        run.append(SMALL, [answered(5)])
    known = store.known("big", "rev-1")
    found = known.states(keys_of([1, 2, 3, 4, 5, 6, 0, 2**100]))
    assert found.tolist() == [ANSWERED, REPAIR, QUARANTINED, QUARANTINED, MISSING, ANSWERED, MISSING, MISSING]
    assert known.rejected(key(2)) == Rejected("raw 2", "reason 2")
    assert len(known) == 5
    assert len(store.known("big", "rev-2")) == len(store.known("small", "rev-2")) == 0


#: Content ids that share upper and lower halves with one another.
crowded = st.builds(lambda high, low: bytes([high] * 8 + [low] * 8), st.integers(0, 4), st.integers(0, 4))
few_rows = st.lists(st.tuples(crowded, st.integers(0, 2), st.sampled_from("avr"), st.integers(0, 3)), max_size=40)


def brute_force(rows: list[tuple[bytes, int, str, int]]) -> dict[bytes, int]:
    best: dict[bytes, tuple[int, int]] = {}
    state: dict[bytes, int] = {}
    for content_id, attempt, kind, created in rows:
        if (attempt, created) >= best.get(content_id, (-1, -1)):
            best[content_id] = (attempt, created)
            repair = kind == "r" and attempt == 1
            state[content_id] = ANSWERED if kind == "a" else REPAIR if repair else QUARANTINED
    return state


@given(st.lists(few_rows, max_size=3), st.lists(crowded, max_size=30))
def test_known_is_what_a_dict_says(batches: list[list[tuple[bytes, int, str, int]]], asked: list[bytes]) -> None:
    tables = []
    for batch in batches:
        table = to_table(
            [
                {
                    **to_columns(
                        [AnswerRow(content_id, attempt, "x" if kind == "a" else None, raw="r" if kind == "r" else None)]
                    ),
                    **BIG._asdict(),
                    "created": created,
                }
                for content_id, attempt, kind, created in batch
            ],
            "run",
        )
        tables.append(table.select(NEEDED))
    expected = brute_force([row for batch in batches for row in batch])
    known = Known(tables)
    assert known.states(pa.array(asked, pa.binary(16))).tolist() == [expected.get(k, MISSING) for k in asked]
    assert len(known) == len(expected)
    for content_id, state in expected.items():
        if state == REPAIR:
            assert known.rejected(content_id) == Rejected("r", "")


operations = st.lists(
    st.one_of(
        st.lists(
            st.tuples(st.integers(0, 9), st.integers(1, 2), st.booleans(), st.sampled_from([BIG, SMALL])),
            min_size=1,
            max_size=4,
        ),
        st.sampled_from(["reopen", "compact"]),
    ),
    max_size=14,
)


@settings(max_examples=40)
@given(operations)
def test_a_store_holds_what_a_dict_says(tmp_path_factory: pytest.TempPathFactory, operations: list[Any]) -> None:
    """Any appends, small journals, runs that end and compactions in between: answers and totals are those of a dict."""
    store = LabelStore(str(tmp_path_factory.mktemp("store")), "f")
    held: dict[tuple[bytes, str], tuple[int, str | None]] = {}
    tokens = 0
    with tuned(journal_rows=3, answer_files=4):
        runs = iter(range(100))
        opened = store.open_run("r0")
        run = opened.__enter__()
        for i, operation in enumerate(operations):
            if isinstance(operation, str):
                opened.__exit__(None, None, None)
                if operation == "compact":
                    store.compact()
                opened = store.open_run(f"r{next(runs) // 2}")
                run = opened.__enter__()
                continue
            for number, attempt, valid, annotation in operation:
                row = answered(number, str(i), attempt, tokens=7) if valid else rejected(number, attempt, tokens=7)
                run.append(annotation, [row])
                tokens += 7
                if attempt >= held.get((key(number), annotation.annotator), (0, ""))[0]:
                    held[key(number), annotation.annotator] = (attempt, row.answer)
        opened.__exit__(None, None, None)
    found = {(row["content_id"], row["annotator"]): (row["attempt"], row["answer"]) for row in store.rows().to_pylist()}
    assert found == held
    assert store.spent()[:2] == (len(held), tokens)
    assert len(names(store)) <= 6


def test_many_files_become_one_and_nothing_changes(store: LabelStore) -> None:
    for i in range(5):
        with store.open_run(f"r{i}") as run:
            run.append(BIG, [answered(i), rejected(i + 1), AnswerRow(None, 1, None, input_tokens=3, cost=0.5)])
            run.append(BIG, [answered(i + 1, attempt=2)])
    before = store.rows().to_pylist(), store.unanswered().select(["input_tokens", "cost"]).to_pylist(), store.spent()
    store.compact()
    store.compact()
    assert names(store) == ["compacted-000001.parquet"]
    after = store.rows().to_pylist(), store.unanswered().select(["input_tokens", "cost"]).to_pylist(), store.spent()
    assert after == before
    held = pq.read_table(files.join(store.url, "compacted-000001.parquet"))["content_id"].to_pylist()
    assert [*filter(None, held)] == sorted(filter(None, held))
    with store.open_run("r0") as run:
        run.append(BIG, [answered(77)])
    assert store.rows().num_rows == len(before[0]) + 1, "a run of the same name goes on after its files were compacted"


@tuned(merged_rows=10)
def test_large_files_are_left_as_they_are(store: LabelStore) -> None:
    for i in range(5):
        with store.open_run(f"r{i}") as run:
            run.append(BIG, [answered(10 * i + j) for j in range(6 if i == 2 else 4)])
    store.compact()
    assert names(store) == ["answers-r2-000001.parquet", "compacted-000001.parquet", "compacted-000002.parquet"]
    assert store.rows().num_rows == 22


class Killed(BaseException):
    """Stands for the end of the process: nothing catches it."""


def kill_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """The step-th opening, write or removal of a file does not happen, nor does anything after it."""
    steps = iter(range(10**6))
    dead = []
    real_files = {name: getattr(files, name) for name in ("write_table", "write_bytes", "remove")}
    for name, real in real_files.items():

        def dying(*given: Any, real: Any = real, **options: Any) -> Any:
            if "LOCK" not in given[0] and (dead or next(steps) == step):
                dead.append(True)
                raise Killed
            return real(*given, **options)

        patch.setattr(files, name, dying)

    def write(journal: LocalJournal, line: bytes, real: Any = LocalJournal.write) -> None:
        if dead:
            raise Killed
        real(journal, line)

    patch.setattr(LocalJournal, "write", write)

    def open_journal(journal: LocalJournal, *given: Any, real: Any = LocalJournal.__init__) -> None:
        if dead or next(steps) == step:
            dead.append(True)
            raise Killed
        real(journal, *given)

    patch.setattr(LocalJournal, "__init__", open_journal)


def killed_everywhere(store: LabelStore, act: Any) -> Iterator[int]:
    """Do something again and again, killed one step later each time, until it comes to its end."""
    for step in range(100):
        with pytest.MonkeyPatch.context() as patch:
            kill_at(patch, step)
            try:
                act(step)
                return
            except Killed:
                pass
        yield step
    pytest.fail("it never ends")


def test_compaction_killed_at_each_step(store: LabelStore) -> None:
    for i in range(4):
        with store.open_run(f"r{i}") as run:
            run.append(BIG, [answered(i), rejected(i + 1), AnswerRow(None, 1, None, input_tokens=3)])
    before = store.rows().to_pylist(), store.spent()
    steps = 0
    for step in killed_everywhere(store, lambda step: writer.compact(store.url)):
        assert (store.rows().to_pylist(), store.spent()) == before, f"killed at step {step}"
        with store.open_run(f"more{step}") as run:
            run.append(BIG, [answered(100 + step)])
        before = store.rows().to_pylist(), store.spent()
        steps += 1
    assert steps >= 4
    assert (store.rows().to_pylist(), store.spent()) == before
    assert len(names(store)) == 1


def test_a_run_killed_at_each_step_of_its_files(store: LabelStore, small_journals: None) -> None:
    """Journals that become Parquet files, runs that end, recovery of killed ones: killed in turn at every write."""
    appended: set[bytes] = set()
    asked = 0

    def act(step: int) -> None:
        nonlocal asked
        with store.open_run(f"run{step % 3}") as run:
            run.reserve("big", Amount(1, 5, 0, 0.5))  # never answered: it is outstanding through all that follows
            asked += 5
            for i in range(8):
                number = 1000 * step + i
                run.reserve("big", Amount(1, 10, 0, 1.0))
                asked += 10
                appended.add(key(number))  # if it dies within append, the journal has the row
                run.append(BIG, [answered(number, tokens=10)], Amount(1, 10, 0, 1.0))

    for step in killed_everywhere(store, act):
        found = store.rows()
        assert set(found["content_id"].to_pylist()) == appended, f"killed at step {step}"
        assert store.spent().input_tokens == asked, f"killed at step {step}"
    assert set(store.rows()["content_id"].to_pylist()) == appended
    assert store.spent()[:2] == (len(appended), asked)
    assert store.outstanding().total() == Amount()
    assert not [name for name in names(store) if name.startswith("journal-")]


APPENDING = """
import sys
from gristmill.pipelines.config.tuning import tuned
from gristmill.pipelines.label.budget import Amount
from gristmill.pipelines.label.store import LabelStore
from tests.pipelines.label.store.rows_made import BIG, answered
url, run, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
with tuned(journal_rows=40, answer_files=3), LabelStore(url, "f").open_run(run) as run:
    for i in range(first, first + 100_000, 4):
        run.reserve("big", Amount(4, 40, 4, 0.04))
        print("reserved", i, flush=True)
        run.append(BIG, [answered(i + j, tokens=10) for j in range(4)], Amount(4, 40, 4, 0.04))
        print("appended", i, flush=True)
"""


def test_killed_at_any_moment_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    store, draw = LabelStore(str(tmp_path), "f"), random.Random(11)
    told: list[int] = []
    questions = 0
    for round_ in range(6):
        command = [sys.executable, "-c", APPENDING, str(tmp_path), f"run{round_}", str(round_ * 1_000_000)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        lines = [process.stdout.readline()]  # it has begun
        time.sleep(draw.uniform(0.0, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        lines += process.stdout.readlines()
        process.wait(timeout=60)
        whole = [line.split() for line in lines if line.endswith("\n")]
        told += [int(number) + j for what, number in whole if what == "appended" for j in range(4)]
        questions += 4 * sum(what == "reserved" for what, _ in whole)
        spent = store.spent()
        # the process may have got one step further than it could tell
        assert 0 <= spent.input_tokens - 10 * questions <= 40
        questions = spent.input_tokens // 10
    found = store.rows()
    stored = found["content_id"].to_pylist()
    assert len(stored) == len(set(stored))
    assert {key(number) for number in told} <= set(stored)
    assert len(told) > 100
    with store.open_run("last"):
        pass
    assert store.spent().input_tokens == 10 * questions
    assert store.rows().to_pylist() == found.to_pylist()
    assert not [name for name in names(store) if name.startswith("journal-")]


def test_of_two_writers_the_second_is_refused(store: LabelStore) -> None:
    with store.open_run("a"), pytest.raises(StoreLocked), store.open_run("b"):
        pytest.fail("two writers at once")


def test_what_is_reserved_when_a_run_ends_counts_for_ever(store: LabelStore) -> None:
    with store.open_run("r") as run:
        run.reserve("big", Amount(2, 200, 20, 0.5))
        run.append(BIG, [answered(1, tokens=90)], Amount(1, 100, 10, 0.25))
        assert store.spent()[1:3] == (190, 11)
    (lost,) = store.unanswered().to_pylist()
    assert (lost["annotator"], lost["input_tokens"], lost["output_tokens"], lost["cost"]) == ("big", 100, 10, 0.25)
    assert store.spent()[:3] == (1, 190, 11)


def test_imported_answers_are_no_documents_of_the_budget(store: LabelStore) -> None:
    with store.open_run("r") as run:
        run.append(Annotation("human", "human", "imported"), [AnswerRow(key(1), 0, "4")])
    assert store.spent().documents == 0


def test_documents_are_those_of_all_runs_each_once(store: LabelStore) -> None:
    rows = [{"content_id": key(i), "id": f"d{i}", "source": "s"} for i in range(4)]
    store.write_documents("a", [pa.Table.from_pylist(rows[:2]), pa.Table.from_pylist(rows[1:3])])
    store.write_documents("b", [pa.Table.from_pylist(rows[1:])])
    found = sorted(store.documents().to_pylist(), key=lambda row: str(row["id"]))
    assert found == rows
    assert store.documents().schema == DOCUMENTS


def test_the_task_is_kept(store: LabelStore) -> None:
    with pytest.raises(RecipeError, match="has no labels of this task"):
        open_stored(store.store, "fingerprint")
    store.write_task("edu", {"instruction": "é", "api_key": "${KEY}"})
    assert open_stored(store.store, "fingerprint").task()["name"] == "edu"
    assert json.loads(files.read_bytes(files.join(store.url, "task.json")))["task"]["api_key"] == "${KEY}"


@pytest.fixture
def on_s3(request: pytest.FixtureRequest) -> Iterator[LabelStore]:
    """A label store on an S3 server on loopback."""
    with bucket(BUCKET):
        yield LabelStore(f"{BUCKET}/{request.node.name}", "f")


@tuned(flush_seconds=0.05, answer_files=3)
def test_on_s3(on_s3: LabelStore) -> None:
    store = on_s3
    with store.open_run("r") as run:
        for i in range(6):
            run.reserve("big", Amount(1, 100, 10, 0.1))
            run.append(BIG, [answered(i, tokens=90)], Amount(1, 100, 10, 0.1))
            until = time.monotonic() + 60
            while store.rows().num_rows != i + 1:  # the flusher writes it without another append
                assert time.monotonic() < until
                time.sleep(0.02)
        run.reserve("big", Amount(1, 100, 10, 0.1))
    assert store.known("big", "rev-1").states(keys_of([0, 5, 6])).tolist() == [ANSWERED, ANSWERED, MISSING]
    assert store.spent()[:3] == (6, 6 * 90 + 100, 6 + 10)
    assert store.spent().cost == pytest.approx(6 * 90 / 1024 + 0.1)
    store.compact()
    assert len(names(store)) == 1
    assert store.spent()[:3] == (6, 640, 16)


def test_on_s3_what_a_killed_run_may_have_spent_counts(on_s3: LabelStore) -> None:
    store = on_s3
    run = writer.BufferedWriter(store.url, "killed")
    run.reserve("big", Amount(1, 100, 10, 1.0))
    run.append(BIG, [answered(1)], Amount(1, 100, 10, 1.0))
    run._closing.set()  # it goes no further, as if it were killed before it wrote the row
    run._flusher.join()
    documents, input_tokens, output_tokens, cost = store.spent()
    assert (documents, input_tokens >= 100, output_tokens >= 10, cost >= 1.0) == (0, True, True, True)
    with store.open_run("next"):
        pass
    assert store.spent() == Amount(0, input_tokens, output_tokens, cost)


def chosen(numbers: Iterable[int]) -> pa.Table:
    return pa.Table.from_pylist([{"content_id": key(i), "id": f"d{i}", "source": "s"} for i in numbers], DOCUMENTS)


def run_once(store: LabelStore, *numbers: int, answer: str = "4") -> str:
    with store.open_run() as run:
        store.write_documents(run.run, [chosen(numbers)])
        run.append(BIG, [answered(i, answer) for i in numbers])
        return run.run


def test_runs_are_numbered_whatever_the_clock_says(store: LabelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [run_once(store, i) for i in range(3)] == ["00000001", "00000002", "00000003"]
    store.compact()
    monkeypatch.setattr(time, "time_ns", lambda: 1)
    assert run_once(store, 1, answer="5") == "00000004"
    newest = next(row for row in store.rows().to_pylist() if row["content_id"] == key(1))
    assert (newest["answer"], newest["run"]) == ("5", "00000004")
    created = [row["created"] for row in store.rows().sort_by("run").to_pylist()]
    assert created == sorted(created)


@pytest.mark.parametrize("lost", ["answers", "documents", "compacted", "task", "inventory", "journal"])
def test_a_file_that_somebody_removed_is_missed(store: LabelStore, lost: str) -> None:
    store.write_task("edu", {})
    run_once(store, 1)
    run_once(store, 2)
    if lost == "compacted":
        store.compact()
    if lost == "journal":
        with contextlib.suppress(StoreLocked):  # what a killed run leaves
            run = writer.LocalWriter(store.url, "00000003")
            run.append(BIG, [answered(3)])
    (name,) = [name for name in files.names(store.url) if name.startswith(lost)][-1:]
    files.remove(files.join(store.url, name))
    for look in (store.rows, store.documents, store.spent, store.task if lost == "task" else store.outstanding):
        with pytest.raises(StoreFileGone, match=f"{name} is gone. Restore it from a backup"):
            look()
    with pytest.raises(StoreFileGone), store.open_run():
        pytest.fail("a run began")
    assert store.let_go() == ([] if lost == "inventory" else [name])
    held = {row["content_id"] for row in store.rows().to_pylist()}
    left = {"answers": [1], "compacted": [], "journal": [1, 2]}.get(lost, [1, 2])
    assert held == {key(i) for i in left}
    run_once(store, 1, 2)
    assert store.rows().num_rows == 2


def test_a_file_that_somebody_put_there_does_not_count(store: LabelStore, tmp_path: Path) -> None:
    run_once(store, 1)
    other = LabelStore(str(tmp_path / "other"), "fingerprint")
    for number in range(2):
        run_once(other, 7 + number)
    for name in ("answers-00000002-000001.parquet", "documents-00000002.parquet"):
        files.write_bytes(files.join(store.url, name), files.read_bytes(files.join(other.url, name)))
    assert store.foreign() == ["answers-00000002-000001.parquet", "documents-00000002.parquet"]
    assert store.rows()["content_id"].to_pylist() == [key(1)]
    assert store.documents()["id"].to_pylist() == ["d1"]
    assert run_once(store, 2) == "00000002"


def test_a_folder_of_an_earlier_version_is_taken_as_it_is(store: LabelStore) -> None:
    with store.open_run("20261101T120000000000") as run:
        run.append(BIG, [answered(1)])
    files.remove(files.join(store.url, "inventory.json"))
    assert store.rows().num_rows == 1
    assert run_once(store, 2) == "00000001"
    assert store.rows().num_rows == 2
    files.remove(files.join(store.url, "answers-20261101T120000000000-000001.parquet"))
    with pytest.raises(StoreFileGone):
        store.rows()


@pytest.mark.parametrize("damaged", ["answers", "documents", "task", "inventory", "journal"])
def test_a_damaged_file_is_named_and_may_be_let_go(store: LabelStore, damaged: str) -> None:
    store.write_task("edu", {})
    run_once(store, 1)
    run = writer.LocalWriter(store.url, "00000002")  # killed before its end
    run.append(BIG, [answered(2)])
    run.append(BIG, [answered(3)])
    (name,) = [name for name in files.names(store.url) if name.startswith(damaged)]
    content = bytearray(files.read_bytes(files.join(store.url, name)))
    content[len(content) // 2] ^= 4
    files.write_bytes(files.join(store.url, name), bytes(content))
    with pytest.raises(StoreDamaged, match=name):
        _ = store.rows(), store.documents(), store.task()
    assert store.let_go() == [name]
    expected = {"answers": [2, 3], "journal": [1, 3]}.get(damaged, [1, 2, 3])
    assert {row["content_id"] for row in store.rows().to_pylist()} == {key(i) for i in expected}
    run_once(store, 9)
