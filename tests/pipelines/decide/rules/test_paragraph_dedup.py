"""Repeated paragraphs over many shards, against plain Python, however the documents are split."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators import columns
from gristmill.operators.errors import RecipeError
from gristmill.operators.rules.drop import Drop
from gristmill.operators.rules.paragraph_dedup import ParagraphDedup
from gristmill.pipelines.config.tuning import sizes, tuned
from gristmill.pipelines.decide import decide, given_file
from gristmill.pipelines.decide.rules.paragraph_dedup import MOST_FREQUENT
from gristmill.pipelines.engine.base import Engine
from gristmill.pipelines.engine.local import LocalEngine
from tests.operators.rules.paragraph_oracle import dedup, pieces
from tests.pipelines.decide.fakes import ShufflingEngine, check_rules, documents, split

N = 300
SPLITS = [[N], [100, 0, 150, 50]]


def make_texts() -> list[str]:
    """Texts of a few paragraphs each, some of which are in many texts, in other case, or twice in one."""
    draw = random.Random(5)
    common = [f"boilerplate number {i}\nof two lines" for i in range(12)] + ["short", "x"]
    texts = []
    for d in range(N):
        parts = [draw.choice(common) for _ in range(draw.randrange(4))]
        if d % 5:
            parts.append(f"all of my own {d}")
        draw.shuffle(parts)
        texts.append("\n\n".join(part.upper() if draw.random() < 0.2 else part for part in parts))
    return texts


TEXTS = make_texts()


def decided(rule: ParagraphDedup, sizes: list[int], engine: Engine, folder: Path, first: int = 0) -> dict[str, Any]:
    """What the rule, after one that drops the first documents, made of TEXTS: a row per document, and its details."""
    measured = rule.measure.open({})(pa.record_batch({"text": pa.array(TEXTS, pa.large_string())}))
    whole = documents(N)
    for name in measured.schema.names:
        whole = whole.append_column(name, measured[name])
    shards = split(whole, sizes)
    result = decide([Drop(when=f"bytes < {1000 + first}"), rule], shards, engine, str(folder))
    ordinals = [shard.ordinal for shard in shards]
    given = [pq.read_table(given_file(str(folder), 1, ordinal)) for ordinal in ordinals]
    decisions = [pq.read_table(folder / "decisions" / f"{ordinal:08d}.parquet") for ordinal in ordinals]
    rows = [columns.address(s.ordinal, row) for s in shards for row in s.table[columns.ROW].to_pylist()]
    details = result.funnel[1].details
    frequent = [{**one, "address": rows.index(one["address"])} for one in details["most_frequent"]]
    return {
        "given": pa.concat_tables(given).drop_columns([columns.ROW]).to_pylist(),
        "decisions": pa.concat_tables(decisions).drop_columns([columns.ADDRESS, "survivor"]).to_pylist(),
        "details": {**details, "most_frequent": frequent},
    }


@pytest.mark.parametrize("by", ["paragraph", "line"])
@pytest.mark.parametrize("keep", ["first", "none"])
@pytest.mark.parametrize("limit", [1, 20, 40, 1000])
def test_it_agrees_with_plain_python(tmp_path: Path, by: str, keep: str, limit: int) -> None:
    rule = ParagraphDedup(by=by, keep=keep, limit=limit, min_characters=2)
    found = decided(rule, SPLITS[1], LocalEngine(2), tmp_path, first=30)
    expected = dedup(TEXTS[30:], by, limit, 2, keep)
    assert [row["kept"] for row in found["decisions"]] == [False] * 30 + [text is not None for text, _ in expected]
    assert all(value is None for row in found["given"][:30] for value in row.values())
    for text, row, decision, (rest, gone) in zip(
        TEXTS[30:], found["given"][30:], found["decisions"][30:], expected, strict=True
    ):
        parts = [part for part, is_piece in pieces(text, by) if is_piece]
        removed = [len(parts[position].encode()) for position in row["paragraph_dedup_positions"]]
        assert (row["paragraph_dedup_removed"], row["paragraph_dedup_removed_bytes"]) == (gone, sum(removed))
        assert len(removed) == gone
        if rest is None:
            assert (decision["rule"], decision["value"]) == ("paragraph_dedup", gone)
            assert decision["condition"] == f"no {by} is left"
        else:
            assert len(rest.encode()) == len(text.encode()) - sum(removed)


@pytest.mark.parametrize("partition_rows", [7, sizes().partition_rows])
@pytest.mark.parametrize("split", SPLITS)
def test_shards_partitions_and_engines_do_not_show(tmp_path: Path, partition_rows: int, split: list[int]) -> None:
    rule = ParagraphDedup(limit=20, min_characters=2)
    expected = decided(rule, [N], LocalEngine(1), tmp_path / "plain")
    assert expected["details"]["repeated"] == 13
    assert len(expected["details"]["most_frequent"]) == MOST_FREQUENT
    with tuned(partition_rows=partition_rows):
        assert decided(rule, split, ShufflingEngine(3), tmp_path / "other") == expected


def test_nothing_repeats(tmp_path: Path) -> None:
    found = decided(ParagraphDedup(limit=1000), [N], LocalEngine(1), tmp_path)
    assert found["details"] == {"by": "paragraph", "limit": 1000, "repeated": 0, "most_frequent": []}
    assert {tuple(row["paragraph_dedup_positions"]) for row in found["given"]} == {()}


def test_one_in_a_recipe() -> None:
    rules = [ParagraphDedup(), ParagraphDedup(by="line")]
    measured = [field for rule in rules for field in rule.measure.gives()]
    schema = pa.schema([("row", pa.uint32()), ("bytes", pa.uint64()), ("tokens", pa.uint32()), *measured])
    check_rules(rules[:1], schema)
    with pytest.raises(RecipeError, match="a recipe has one paragraph_dedup"):
        check_rules(rules, schema)


def test_columns_of_another_type_are_refused() -> None:
    schema = pa.schema([("paragraph_hashes_20", pa.list_(pa.string())), ("paragraph_bytes_20", pa.list_(pa.uint64()))])
    with pytest.raises(RecipeError, match=r"needs list<item: uint64> in paragraph_hashes_20, not list<item: string>"):
        check_rules([ParagraphDedup()], schema)
