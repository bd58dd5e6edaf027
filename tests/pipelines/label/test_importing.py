"""Labels that people gave: every form is read, every mistake is told with its place, and nothing is imported then."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.operators.label.answers import Choice, Multi, Scale
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.label.importing import Imported, import_labels
from gristmill.pipelines.label.store import LabelStore
from gristmill.pipelines.sources.discover import FEW_FILES

SCALE = Scale(scale=(0, 5))
TEXTS = [f"the text number {i}" for i in range(4)]
KEYS: list[bytes] = content_ids(pa.array(TEXTS, pa.large_string())).to_pylist()


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    """A store whose runs chose four documents; the last two have the same text."""
    store = LabelStore(str(tmp_path / "store"), "f")
    held = [*KEYS[:3], KEYS[2]]
    rows = [{"content_id": held[i], "id": f"d{i}", "source": "s"} for i in range(4)]
    store.write_documents("r", [pa.Table.from_pylist(rows)])
    return store


def answers(store: LabelStore) -> dict[bytes, tuple[str, float | None]]:
    return {row["content_id"]: (row["answer"], row["probability"]) for row in store.rows("human").to_pylist()}


def as_csv(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in rows)]
    path.write_text("\n".join(lines) + "\n")
    return path


def as_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1)
    return path


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("l.csv", as_csv),
        ("l.tsv", lambda path, rows: as_csv(path, rows, "\t")),
        ("l.jsonl", as_jsonl),
        ("l.json", lambda path, rows: path.write_text(json.dumps(rows)) and path),
        ("l.parquet", as_parquet),
    ],
)
def test_formats(store: LabelStore, tmp_path: Path, name: str, write: Callable[..., Path]) -> None:
    rows = [{"id": "d0", "answer": 4, "probability": 0.5}, {"id": "d2", "answer": 0, "probability": 1.0}]
    path = write(tmp_path / name, rows)
    assert import_labels(store, SCALE, str(path), "human", "i") == Imported(2, 2, 0)
    assert answers(store) == {KEYS[0]: ("4", 0.5), KEYS[2]: ("0", 1.0)}


def test_many_small_files_are_all_read(store: LabelStore, tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    folder.mkdir()
    for i in range(FEW_FILES + 10):
        as_jsonl(folder / f"{i:03d}.jsonl", [{"id": f"d{i % 2}", "answer": 1 + i % 2}])
    assert import_labels(store, SCALE, str(folder), "human", "i").records == FEW_FILES + 10
    assert answers(store) == {KEYS[0]: ("1", None), KEYS[1]: ("2", None)}
    as_jsonl(folder / "050.jsonl", [{"id": "nobody", "answer": 1}])
    with pytest.raises(RecipeError, match=r"050\.jsonl:1"):
        import_labels(store, SCALE, str(folder), "human", "i")


def test_documents_may_be_named_by_text_or_content_id(store: LabelStore, tmp_path: Path) -> None:
    rows = [
        {"text": TEXTS[0], "answer": "1"},
        {"content_id": KEYS[1].hex(), "answer": 2},
        {"id": "new", "text": TEXTS[3], "answer": 3.0},
    ]
    import_labels(store, SCALE, str(as_jsonl(tmp_path / "l.jsonl", rows)), "human", "i")
    assert answers(store) == {KEYS[0]: ("1", None), KEYS[1]: ("2", None), KEYS[3]: ("3", None)}
    held = store.documents().to_pylist()
    assert {"content_id": KEYS[3], "id": "new", "source": "import: human"} in held


def test_binary_content_ids_of_a_parquet_file(store: LabelStore, tmp_path: Path) -> None:
    table = pa.table({"content_id": pa.array(KEYS, pa.binary(16)), "answer": [1, 2, 3, 4]})
    pq.write_table(table, tmp_path / "l.parquet")
    assert import_labels(store, SCALE, str(tmp_path / "l.parquet"), "human", "i").labels == 4


def test_a_mapping_takes_the_place_of_the_runs(store: LabelStore, tmp_path: Path) -> None:
    mapping = as_csv(tmp_path / "map.csv", [{"id": "x", "content_id": KEYS[3].hex()}])
    labels = as_csv(tmp_path / "l.csv", [{"id": "x", "answer": 5}])
    import_labels(store, SCALE, str(labels), "human", "i", mapping=str(mapping))
    assert answers(store) == {KEYS[3]: ("5", None)}
    wrong = as_csv(tmp_path / "wrong.csv", [{"id": "x", "content_id": "12"}])
    with pytest.raises(RecipeError, match=r"wrong\.csv:2: the content_id '12' is not 32 hexadecimal digits"):
        import_labels(store, SCALE, str(labels), "human", "i", mapping=str(wrong))


def test_answers_are_stored_as_the_task_stores_them(store: LabelStore, tmp_path: Path) -> None:
    path = as_jsonl(tmp_path / "l.jsonl", [{"id": "d0", "answer": "PHYSICS"}])
    import_labels(store, Choice.model_validate({"choice": ["physics", "law"]}), str(path), "human", "i")
    assert answers(store)[KEYS[0]][0] == "physics"
    path = as_jsonl(tmp_path / "l.jsonl", [{"id": "d0", "answer": ["law", "physics"]}, {"id": "d1", "answer": []}])
    import_labels(store, Multi.model_validate({"multi": ["physics", "law"]}), str(path), "human", "j")
    assert answers(store) == {KEYS[0]: ('["physics","law"]', None), KEYS[1]: ("[]", None)}


def test_importing_again_replaces(store: LabelStore, tmp_path: Path) -> None:
    for answer in (1, 2, 1):
        path = as_csv(tmp_path / "l.csv", [{"id": "d0", "answer": answer}])
        import_labels(store, SCALE, str(path), "human", f"i{answer}")
        assert answers(store) == {KEYS[0]: (str(answer), None)}


def test_repeats_are_counted(store: LabelStore, tmp_path: Path) -> None:
    rows = [{"id": "d2", "answer": 3}, {"id": "d3", "answer": "3"}, {"id": "d2", "answer": 3.0}]
    path = as_jsonl(tmp_path / "l.jsonl", rows)
    assert import_labels(store, SCALE, str(path), "human", "i") == Imported(3, 1, 2)


def test_every_mistake_is_told_and_nothing_is_imported(store: LabelStore, tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"id": "d0", "answer": 1},
        {"id": "nobody", "answer": 1},
        {"id": "d1", "answer": 9},
        {"id": "d2", "answer": 2},
        {"id": "d3", "answer": 4},
        {"answer": 1},
        {"id": "d1"},
        {"id": "d1", "answer": 1, "probability": 1.5},
        {"content_id": "xyz", "answer": 1},
    ]
    path = as_jsonl(tmp_path / "l.jsonl", rows)
    with pytest.raises(RecipeError) as told:
        import_labels(store, SCALE, str(path), "human", "i")
    message = str(told.value)
    assert f"nothing was imported from {path}: 7 mistakes" in message
    for line, why in [
        (2, "no document has the id nobody"),
        (3, "9"),
        (5, "4, but"),
        (6, "the record names no document"),
        (7, "there is no answer"),
        (8, "the probability 1.5 is no number from 0 to 1"),
        (9, "the content_id 'xyz' is not 32 hexadecimal digits"),
    ]:
        assert any(f"l.jsonl:{line}: " in told and why in told for told in message.splitlines()), (line, message)
    assert store.rows().num_rows == 0


def test_the_first_ten_mistakes_are_shown(store: LabelStore, tmp_path: Path) -> None:
    path = as_csv(tmp_path / "l.csv", [{"id": f"x{i}", "answer": 1} for i in range(25)])
    with pytest.raises(RecipeError, match=r"25 mistakes\n(.*\n){10}... and 15 more"):
        import_labels(store, SCALE, str(path), "human", "i")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("l.csv", "id,label\nd0,1\n", "there is no column answer"),
        ("l.csv", "id,answer\n", "holds no labels"),
        ("l.csv", "id,answer\nd0\n", r"l\.csv:2: this row has 1 cells"),
        ("l.jsonl", '{"id": "d0", "answer": 1\n', r"l\.jsonl:1: this is not JSON"),
        ("l.jsonl", "3\n", r"l\.jsonl:1: this is no record"),
        ("l.txt", "d0 1\n", "is read as text, whose records have the fields id, text"),
    ],
)
def test_files_that_cannot_be_read(store: LabelStore, tmp_path: Path, name: str, content: str, told: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(RecipeError, match=told):
        import_labels(store, SCALE, str(tmp_path / name), "human", "i")
