"""The journal: what was written is read again, a torn end is no harm, a damaged line is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.operators.errors import FatalError, StoreDamaged
from gristmill.pipelines.label.budget import Amount
from gristmill.pipelines.label.store.journal import (
    LocalJournal,
    Name,
    Outstanding,
    outstanding_line,
    parse_name,
    replay,
    reserved_line,
    rows_line,
    unanswered_lines,
)
from gristmill.pipelines.label.store.schema import SCHEMA, Annotation, AnswerRow, to_table
from tests.pipelines.label.store.rows_made import BIG, answered, key, refused, rejected

shares = st.none() | st.dictionaries(st.text(max_size=5), st.floats(0, 1, width=32), max_size=4)
texts = st.none() | st.text(max_size=20)
stored = st.builds(
    AnswerRow,
    key=st.none() | st.binary(min_size=16, max_size=16),
    attempt=st.integers(0, 2),
    answer=texts,
    probability=st.none() | st.floats(0, 1, width=32),
    probabilities=shares,
    coverage=st.none() | st.floats(0, 1, width=32),
    entropy=st.none() | st.floats(0, 10, width=32),
    logprob=st.none() | st.floats(-1e6, 0, width=32),
    input_tokens=st.integers(0, 2**40),
    output_tokens=st.integers(0, 2**40),
    cost=st.floats(0, 1e9),
    cut_tokens=st.integers(0, 2**31 - 1),
    raw=texts,
    error=texts,
)


@given(st.lists(st.lists(stored, max_size=5), max_size=4))
def test_rows_come_back_as_they_were(batches: list[list[AnswerRow]]) -> None:
    content = b"".join(rows_line(BIG, rows, Amount()) for rows in batches)
    table = to_table(replay(content, "journal").batches, "run")
    table.validate(full=True)
    assert table.schema == SCHEMA
    found = table.to_pylist()
    expected = [row for rows in batches for row in rows]
    for held, row in zip(found, expected, strict=True):
        shown = None if held["probabilities"] is None else dict(held["probabilities"])
        assert AnswerRow(held["content_id"], **{n: held[n] for n in AnswerRow._fields[1:]}) == row._replace(
            probabilities=held["probabilities"]
        )
        assert shown == row.probabilities
        assert (held["annotator"], held["model"], held["revision"], held["run"]) == (*BIG, "run")


def test_half_of_a_surrogate_pair_is_kept_as_an_escape() -> None:
    line = rows_line(BIG, [AnswerRow(key(1), 1, None, raw="a\ud800b", error="é\udfff")], Amount())
    (held,) = to_table(replay(line, "journal").batches, "run").to_pylist()
    assert (held["raw"], held["error"]) == ("a\\ud800b", "é\\udfff")


def test_a_journal_cut_anywhere_holds_its_whole_lines() -> None:
    lines = [
        rows_line(BIG, [answered(1), refused(2)], Amount()),
        reserved_line("big", Amount(2, 10, 4, 1.0)),
        rows_line(BIG, [rejected(3)], Amount(1, 5, 2, 0.5)),
    ]
    content = b"".join(lines)
    ends = [len(b"".join(lines[: i + 1])) for i in range(3)]
    for cut in range(len(content) + 1):
        held = replay(content[:cut], "journal")
        whole = sum(end <= cut for end in ends)
        assert len(held.batches) == [0, 1, 1, 2][whole]
        assert held.size == ([0, *ends][whole])
        assert held.outstanding.total() == [Amount(), Amount(), Amount(0, 10, 4, 1.0), Amount(0, 5, 2, 0.5)][whole]


@pytest.mark.parametrize("damage", [b"{]\n", b"\n", b"3\n", b'{"reserved": [1, 2]}\n', b"{}\n"])
def test_a_damaged_line_is_named(damage: bytes) -> None:
    with pytest.raises(FatalError, match=r"journal:2: this line of the journal is damaged. Remove the line"):
        replay(reserved_line("a", Amount()) + damage + reserved_line("a", Amount()), "journal")


def test_a_flipped_bit_is_found_wherever_it_is() -> None:
    lines = [
        outstanding_line(Outstanding()),
        reserved_line("big", Amount(2, 10, 4, 1.0)),
        rows_line(BIG, [answered(1), refused(2)], Amount(1, 5, 2, 0.5)),
    ]
    content = b"".join(lines)
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StoreDamaged, match=r"journal:\d+: this line of the journal is damaged"):
            replay(bytes(flipped), "journal")


def test_a_journal_of_an_earlier_version_has_no_checksums() -> None:
    lines = (rows_line(BIG, [answered(1)], Amount()), reserved_line("big", Amount(1, 7, 1, 0.5)))
    held = replay(b"".join(line.partition(b"\t")[0] + b"\n" for line in lines), "journal")
    assert (len(held.batches), held.outstanding.total().input_tokens) == (1, 7)


def test_what_is_left_outstanding_becomes_rows_and_is_outstanding_no_more() -> None:
    draw = random.Random(5)
    outstanding = Outstanding()
    for _ in range(200):
        outstanding.add(draw.choice("ab"), Amount(1, draw.randint(0, 99), draw.randint(0, 9), draw.random()))
    before = dict(outstanding.amounts)
    held = replay(outstanding_line(outstanding) + unanswered_lines(outstanding), "journal")
    assert held.outstanding.total() == Amount()
    rows = to_table(held.batches, "run").to_pylist()
    assert {row["annotator"]: row["cost"] for row in rows} == {name: a.cost for name, a in before.items()}
    assert all(row["content_id"] is None and row["answer"] is None and row["error"] for row in rows)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 50)), max_size=30))
def test_what_is_settled_leaves_nothing_outstanding(asked: list[tuple[int, int]]) -> None:
    outstanding = Outstanding()
    amounts = [Amount(1, a, b, a * 0.1 + b * 0.7) for a, b in asked]
    for amount in amounts:
        outstanding.add("a", amount)
    for amount in reversed(amounts):
        outstanding.take("a", amount)
    assert outstanding.total() == Amount()


@pytest.mark.parametrize("run", ["r", "2026-11-21-1437-abc", "a-000001"])
def test_names(run: str) -> None:
    name = Name(run, 12)
    assert parse_name(name.journal) == parse_name(name.answers) == name
    assert parse_name("task.json") is parse_name("compacted-000001.parquet") is None


def test_a_journal_is_never_written_over(tmp_path: Path) -> None:
    LocalJournal(str(tmp_path / "j")).close()
    with pytest.raises(FatalError, match="cannot be written: File exists"):
        LocalJournal(str(tmp_path / "j"))


def test_annotations_need_no_model() -> None:
    line = rows_line(Annotation("a", "", ""), [answered(1)], Amount())
    assert replay(line, "journal").batches[0]["model"] == ""
