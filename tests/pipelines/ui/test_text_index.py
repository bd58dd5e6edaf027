"""Search in texts finds what reading them all finds, and each file is read once."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pyarrow as pa
import pytest

from gristmill.operators.errors import StoreDamaged
from gristmill.pipelines.storage import files
from gristmill.pipelines.ui.text_index import IndexedFile, TextIndex

WORD = re.compile(r"[^\W_]+")
WORDS = ["mountain", "river", "light", "stone", "paper", "music", "engine", "Straße", "école", "naïve", "42", "x"]


def written(folder: Path, name: str, texts: list[str | None]) -> IndexedFile:
    """A file of texts of a dataset."""
    ids = [f"{name}-{i}" for i in range(len(texts))]
    files.write_table(str(folder / name), pa.table({"id": ids, "text": pa.array(texts, pa.large_string())}))
    return IndexedFile(f"v/{name}", str(folder / name), files.digest(str(folder / name)), len(texts))


def drawn(seed: int, n: int) -> list[str | None]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(0, 12))) for _ in range(n)]


def found(index: TextIndex, asked: str) -> set[str | None]:
    return {hit.id for hit in index.search(asked, 0, 10_000)}


def brute(texts: dict[str, str], wanted: list[str], without: list[str] = ()) -> set[str]:  # type: ignore[assignment]
    """Ids of the texts that have all of some phrases and none of others, by their words."""
    spoken = {id: f" {' '.join(WORD.findall(text.lower()))} " for id, text in texts.items()}
    return {
        id
        for id, words in spoken.items()
        if all(f" {w} " in words for w in wanted) and not any(f" {w} " in words for w in without)
    }


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextIndex, dict[str, str]]:
    """An index of two files, and their texts by id."""
    folder = tmp_path_factory.mktemp("indexed")
    parts = {f"{name}.parquet": drawn(seed, 300) for seed, name in enumerate("ab")}
    index = TextIndex(folder / "index")
    index.update([written(folder, name, texts) for name, texts in parts.items()], lambda *_: None)
    return index, {f"{name}-{i}": text or "" for name, of in parts.items() for i, text in enumerate(of)}


@pytest.mark.parametrize(
    ("asked", "wanted", "without"),
    [
        ("mountain", ["mountain"], []),
        ("Mountain RIVER", ["mountain", "river"], []),
        ('"river light"', ["river light"], []),
        ('"river light" music', ["river light", "music"], []),
        ("river -light", ["river"], ["light"]),
        ('river -"light stone"', ["river"], ["light stone"]),
        ("straße", ["straße"], []),
        ("ÉCOLE naïve", ["école", "naïve"], []),
        ("music.engine", ["music engine"], []),
        ("42", ["42"], []),
        ("nowhere", ["nowhere"], []),
    ],
)
def test_it_finds_what_reading_all_texts_finds(
    indexed: tuple[TextIndex, dict[str, str]], asked: str, wanted: list[str], without: list[str]
) -> None:
    index, texts = indexed
    assert found(index, asked) == brute(texts, wanted, without)


def test_each_character_of_a_script_without_spaces_is_a_word(tmp_path: Path) -> None:
    index = TextIndex(tmp_path / "index")
    index.update([written(tmp_path, "a.parquet", ["日本語の文です", "本日は晴天", "ภาษาไทย", None])], lambda *_: None)
    assert found(index, "日本") == {"a.parquet-0"}
    assert found(index, "本日") == {"a.parquet-1"}
    assert found(index, "日") == {"a.parquet-0", "a.parquet-1"}
    assert found(index, "ไทย") == {"a.parquet-2"}


def test_nothing_is_found_where_nothing_is_asked_for(tmp_path: Path) -> None:
    index = TextIndex(tmp_path / "index")
    assert found(index, "river") == set()
    index.update([written(tmp_path, "a.parquet", drawn(1, 20))], lambda *_: None)
    for asked in ("", '"', '""', "-river", "- -", "?!", "-"):
        assert found(index, asked) == set()


def test_files_that_are_there_are_not_read_again_and_those_that_went_are_left_out(tmp_path: Path) -> None:
    a, b = written(tmp_path, "a.parquet", drawn(1, 50)), written(tmp_path, "b.parquet", drawn(2, 50))
    index = TextIndex(tmp_path / "index")
    assert index.lacks([a])
    index.update([a], lambda *_: None)
    assert not index.lacks([a])
    (tmp_path / "a.parquet").unlink()
    told: list[tuple[int, int]] = []
    TextIndex(tmp_path / "index").update([a, b], lambda *progress: told.append(progress))
    assert told[0] == (50, 100)
    assert told[-1] == (100, 100)
    index = TextIndex(tmp_path / "index")  # as another process finds it
    assert not index.lacks([a, b])
    assert {str(id)[0] for id in found(index, "river")} == {"a", "b"}
    index.update([b], lambda *_: None)
    assert {str(id)[0] for id in found(index, "river")} == {"b"}
    n = len(found(index, "river"))
    assert len(index.search("river", 0, n)) == n, "nothing that went takes a place"


def test_what_a_process_left_that_was_ended_is_not_there_twice(tmp_path: Path) -> None:
    a, b = written(tmp_path, "a.parquet", drawn(1, 50)), written(tmp_path, "b.parquet", drawn(2, 50))
    index = TextIndex(tmp_path / "index")
    index.update([a], lambda *_: None)
    before = (tmp_path / "index" / "state.json").read_bytes()
    index.update([a, b], lambda *_: None)
    expected = sorted(str(hit.id) for hit in index.search("river", 0, 1000))
    (tmp_path / "index" / "state.json").write_bytes(before)  # b was committed, and the state not written
    index = TextIndex(tmp_path / "index")
    index.update([a, b], lambda *_: None)
    assert sorted(str(hit.id) for hit in index.search("river", 0, 1000)) == expected
    (tmp_path / "index" / "state.json").write_text("{")
    index = TextIndex(tmp_path / "index")
    assert index.lacks([a, b])
    index.update([a, b], lambda *_: None)
    assert sorted(str(hit.id) for hit in index.search("river", 0, 1000)) == expected


def test_a_damaged_file_is_named_and_what_was_indexed_before_it_stays(tmp_path: Path) -> None:
    a, b = written(tmp_path, "a.parquet", drawn(1, 50)), written(tmp_path, "b.parquet", drawn(2, 50))
    content = bytearray((tmp_path / "b.parquet").read_bytes())
    content[40] ^= 1
    (tmp_path / "b.parquet").write_bytes(content)
    index = TextIndex(tmp_path / "index")
    with pytest.raises(StoreDamaged, match=r"b\.parquet"):
        index.update([a, b], lambda *_: None)
    assert index.documents([a, b]) == 50
    assert found(index, "river")
    assert json.loads((tmp_path / "index" / "state.json").read_text()).keys() == {"v/a.parquet"}
