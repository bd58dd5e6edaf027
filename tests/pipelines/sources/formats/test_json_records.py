from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import orjson
import pytest

from gristmill.operators.errors import ShardError
from gristmill.pipelines.sources.json_values import RepeatedKeys, exact_json
from gristmill.pipelines.sources.records import Fault
from tests.pipelines.sources.reading import as_lines, read

GOOD = b'{"id": "a", "text": "before"}\n', b'{"id": "b", "text": "after"}\n'


def between(folder: Path, bad: bytes) -> Path:
    """A file with one bad line between two good ones."""
    path = folder / "docs.jsonl"
    path.write_bytes(GOOD[0] + bad + b"\n" + GOOD[1])
    return path


BAD_LINES = {
    "malformed": b'{"id": "x", "text": "cut off',
    "html": b"<html><body>502 Bad Gateway</body></html>",
    "array": b'["text", "of", "an", "array"]',
    "string": b'"only a text"',
    "number": b"17",
    "null": b"null",
    "invalid utf-8": b'{"id": "x", "text": "caf\xe9"}',
    "raw NUL": b'{"id": "x", "text": "a\0b"}',
    "escaped NUL": rb'{"id": "x", "text": "a\u0000b"}',
    "lone surrogate": rb'{"id": "x", "text": "a\ud800b"}',
    "surrogate as bytes": b'{"id": "x", "text": "a\xed\xa0\x80b"}',
    "missing text": b'{"id": "x", "body": "hello"}',
    "null text": b'{"id": "x", "text": null}',
    "number text": b'{"id": "x", "text": 12}',
    "object text": b'{"id": "x", "text": {"a": 1}}',
    "float id": b'{"id": 1.5, "text": "hello"}',
    "deep": b'{"id": "x", "text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
}
REASONS = {
    "malformed": "malformed",
    "html": "malformed",
    "array": "not_an_object",
    "string": "not_an_object",
    "number": "not_an_object",
    "null": "not_an_object",
    "invalid utf-8": "invalid_utf8",
    "raw NUL": "nul_character",
    "escaped NUL": "nul_character",
    "lone surrogate": "lone_surrogate",
    "surrogate as bytes": "invalid_utf8",
    "missing text": "missing_text",
    "null text": "null_text",
    "number text": "wrong_type",
    "object text": "wrong_type",
    "float id": "wrong_type",
    "deep": "malformed",
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_a_bad_line_is_rejected_by_place_and_reason(tmp_path: Path, case: str) -> None:
    reading = read(between(tmp_path, BAD_LINES[case]))
    assert [(d["row"], d["id"], d["text"]) for d in reading.documents] == [(0, "a", "before"), (2, "b", "after")]
    (reject,) = reading.rejects
    assert (reject.row, reject.line, reject.offset) == (1, 2, len(GOOD[0]))
    assert reject.reason == REASONS[case]
    assert (reading.records, reading.lines) == (3, 3)


def test_a_reject_says_what_to_look_for(tmp_path: Path) -> None:
    (reject,) = read(between(tmp_path, BAD_LINES["missing text"])).rejects
    assert (reject.id, reject.detail) == ("x", "there is no field text; there is body, id")
    (reject,) = read(between(tmp_path, b'{"txt": "a", "id": 7}')).rejects
    assert (reject.id, reject.detail) == ("7", "there is no field text; did you mean txt?")
    (reject,) = read(between(tmp_path, b'{"text": "\x1b[31m' + b"x" * 500 + b"\x01\xff")).rejects
    assert reject.excerpt.startswith(r'{"text": "\x1b[31mxxx')


def test_blank_lines_are_no_records_but_count_as_lines(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD[0] + b"\n  \r\n" + GOOD[1].replace(b"\n", b"\r\n") + b"bad\n\n\n")
    reading = read(path)
    assert reading.texts == ["before", "after"]
    assert [r.line for r in reading.rejects] == [5]
    assert (reading.records, reading.lines) == (3, 7)


def test_a_file_of_bad_lines_alone_is_read_to_the_end(tmp_path: Path) -> None:
    path = tmp_path / "page.jsonl"
    path.write_text("<html>\n<h1>404</h1>\n</html>\n")
    reading = read(path)
    assert (reading.documents, reading.reasons) == ([], [(0, "malformed"), (1, "malformed"), (2, "malformed")])


def test_what_is_unusual_but_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(
        b'{"id": 12345678901234567, "text": ""}\n'
        b'{"id": "", "text": "NaN is null", "score": NaN, "big": -Infinity}\n'
        b'{"text": "tab\there", "score": 1}\n'
        b'{"id": null, "text": "no newline at the end", "score": 2.5}'
    )
    reading = read(path, metadata={"score": "float"})
    assert [(d["id"], d["text"], d["score"]) for d in reading.documents] == [
        ("12345678901234567", "", None),
        (None, "NaN is null", None),
        (None, "tab\there", 1.0),
        (None, "no newline at the end", 2.5),
    ]


def test_fields_inside_fields_and_types(tmp_path: Path) -> None:
    record = {
        "doc": {"key": 5, "body": "hello", "link": "https://example.org/"},
        "meta": {"lang": "en", "year": 2024, "score": 1, "ok": True, "tags": ["b", "a"]},
        "meta.lang": "the name itself comes first",
    }
    path = tmp_path / "docs.jsonl"
    path.write_bytes(as_lines([record, {"doc": {"body": "bare"}}]))
    metadata = {
        "lang": {"field": "meta.lang"},
        "year": {"field": "meta.year", "type": "int"},
        "score": {"field": "meta.score", "type": "float"},
        "ok": {"field": "meta.ok", "type": "bool"},
        "tags": {"field": "meta.tags", "type": "json"},
        "year_text": {"field": "meta.year"},
        "all": {"field": "meta"},
    }
    reading = read(path, text="doc.body", id="doc.key", url="doc.link", metadata=metadata)
    assert reading.documents[0] == {
        "row": 0,
        "id": "5",
        "url": "https://example.org/",
        "lang": "the name itself comes first",
        "year": 2024,
        "score": 1.0,
        "ok": True,
        "tags": '["b","a"]',
        "year_text": "2024",
        "all": '{"lang":"en","year":2024,"score":1,"ok":true,"tags":["b","a"]}',
        "text": "hello",
    }
    nothing = dict.fromkeys(["id", "url", *metadata])
    assert reading.documents[1] == {"row": 1, **nothing, "text": "bare"}


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        ("int", "2024"),
        ("int", 1.5),
        ("int", True),
        ("int", 2**63),
        ("float", "1"),
        ("float", False),
        ("bool", 1),
        ("bool", "true"),
    ],
)
def test_metadata_of_another_type_is_a_fault(tmp_path: Path, type_: str, value: Any) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(as_lines([{"text": "a", "x": value}, {"text": "b", "x": None}]))
    reading = read(path, metadata={"x": type_})
    assert (reading.reasons, reading.texts) == ([(0, "wrong_type")], ["b"])
    assert "the field x for column x is" in reading.rejects[0].detail


def test_a_line_over_the_limit_is_not_held(tmp_path: Path) -> None:
    path = between(tmp_path, json.dumps({"id": "x", "text": "long " * 1000}).encode())
    reading = read(path, document_bytes=1000)
    assert (reading.texts, reading.reasons) == (["before", "after"], [(1, "too_large")])
    assert "document_bytes" in reading.rejects[0].detail


def test_a_document_of_50_mb_is_read(tmp_path: Path) -> None:
    text = "naïve text " * 4_600_000
    path = between(tmp_path, json.dumps({"id": "x", "text": text}, ensure_ascii=False).encode())
    assert read(path).texts == ["before", text, "after"]


def test_arrays_hold_what_lines_hold(tmp_path: Path) -> None:
    records: list[Any] = [{"id": "a", "text": "one"}, {"id": "b"}, "text", {"id": "c", "text": "three\nlines\nlong"}]
    path = tmp_path / "docs.json"
    path.write_text(json.dumps(records, indent=2))
    array = read(path)
    path.write_bytes(as_lines(records))
    lines = read(path)
    assert array.documents == lines.documents
    assert array.reasons == lines.reasons == [(1, "missing_text"), (2, "not_an_object")]
    assert array.lines == 0
    assert all(r.line is None for r in array.rejects)
    assert [r.id for r in array.rejects] == ["b", None]


@pytest.mark.parametrize(
    ("element", "reason"),
    [
        (rb'{"text": "\ud800"}', "lone_surrogate"),
        (b'{"text": "caf\xe9"}', "invalid_utf8"),
        (b'{"text": "a\0b"}', "nul_character"),
        (b'{"text": 1, "score": NaN}', "wrong_type"),
    ],
)
def test_a_bad_element_does_not_take_the_array_with_it(tmp_path: Path, element: bytes, reason: str) -> None:
    path = tmp_path / "docs.json"
    path.write_bytes(b'\xef\xbb\xbf [{"text": "one"}, ' + element + b', {"text": "three"}]\n')
    reading = read(path)
    assert (reading.texts, reading.reasons) == (["one", "three"], [(1, reason)])


@pytest.mark.parametrize("content", [b'[{"text": "one"}, {"te', b'[{"text": "one"}', b"[", b'[{"text": "a"}] more'])
def test_a_cut_array_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "docs.json"
    path.write_bytes(content)
    with pytest.raises(ShardError, match=r"docs\.json is not a whole JSON array"):
        read(path)


@pytest.mark.parametrize("content", [b"", b"[]", b" [ ] \n", b"\n\n", b"\xef\xbb\xbf"])
def test_an_empty_file_has_no_documents(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "docs.json"
    path.write_bytes(content)
    reading = read(path)
    assert (reading.documents, reading.rejects, reading.records) == ([], [], 0)


def some_value(draw: random.Random, depth: int = 0) -> str:
    """The JSON of a value, with keys that fields have, and texts that look like keys."""
    kind = draw.random()
    if kind < 0.4 or depth > 2:
        return json.dumps(draw.choice(["x", 'a":b', "text", "id", "", "longer than others"]))
    if kind < 0.55:
        return "1"
    inner = [some_value(draw, depth + 1) for _ in range(draw.randrange(4))]
    if kind < 0.8:
        return "{" + ",".join(f"{json.dumps(draw.choice(KEYS))}:{value}" for value in inner) + "}"
    return f"[{','.join(inner)}]"


KEYS = ["text", "id", "m", "lang", "a", 't"x']


def test_keys_that_are_there_twice_are_found_whatever_is_around_them() -> None:
    """As the standard library's pairs tell; lines are searched without being parsed again."""
    draw, fields, found = random.Random(1), ["text", "id", "m.a"], Counter[bool]()
    keys = RepeatedKeys(fields)
    lines = [
        b'{"m":[],"text":"text","lang":{"text":1},"m":["a\\":b",[]]}',  # the text of an object inside
        b'{"text":"text","id":1,"lang":{"text":1},"id":{}}',
    ]
    for _ in range(20_000):
        pairs = [f"{json.dumps(draw.choice(KEYS))}:{some_value(draw)}" for _ in range(draw.randint(1, 5))]
        lines.append(("{" + ",".join(pairs) + "}").encode())
    for line in lines:
        try:
            keys.judge(exact_json(line, repeated_keys=True))
            expected = False
        except Fault:
            expected = True
        try:
            keys.check(line, orjson.loads(line))
            seen = False
        except Fault:
            seen = True
        assert seen == expected, line
        found[seen] += 1
    assert min(found[True], found[False]) > 1000
