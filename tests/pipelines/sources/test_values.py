"""One meaning for a value, whatever format it comes from and whatever it is read as."""

from __future__ import annotations

import datetime
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import ShardError
from tests.pipelines.sources.reading import read

REJECT = object()  #: the record is quarantined
LONG = 340282366920938463463374607431768211455  #: 2**128 - 1, as simhashes and UUIDs are written
NESTED = pa.struct([("n", pa.decimal256(40, 0)), ("b", pa.binary()), ("t", pa.timestamp("us")), ("x", pa.float64())])
FAR = 253402300800  #: the first second of the year 10000


class Case(NamedTuple):
    """A value as formats write it, and what it is as each type; a type that is not named is not tried."""

    json: str | None  #: as JSON
    arrow: tuple[Any, pa.DataType] | None
    cell: str | None  #: in CSV and TSV
    id: Any
    string: Any
    int: Any
    float: Any
    bool: Any
    json_: Any


R = REJECT
CASES = {
    "null": Case("null", (None, pa.null()), None, None, None, None, None, None, None),
    "NaN": Case("NaN", (float("nan"), pa.float64()), "NaN", None, None, None, None, R, None),
    "NaN32": Case(None, (float("nan"), pa.float32()), None, None, None, None, None, R, None),
    "infinity": Case("Infinity", (float("inf"), pa.float64()), None, R, "Infinity", R, float("inf"), R, None),
    "whole": Case("2003", (2003, pa.int32()), "2003", "2003", "2003", 2003, 2003.0, R, "2003"),
    "whole float": Case("2003.0", (2003.0, pa.float64()), "2003.0", "2003", "2003.0", 2003, 2003.0, R, "2003.0"),
    "half float": Case(None, (2.0, pa.float16()), None, "2", "2.0", 2, 2.0, R, "2.0"),
    "negative": Case("-7.0", (-7.0, pa.float32()), "-7.0", "-7", "-7.0", -7, -7.0, R, "-7.0"),
    "fraction": Case("1.5", (1.5, pa.float64()), None, R, "1.5", R, 1.5, R, "1.5"),
    "decimal": Case(None, (Decimal("1.50"), pa.decimal128(9, 2)), None, R, "1.50", R, 1.5, R, "1.50"),
    "whole decimal": Case(None, (Decimal(12), pa.decimal128(9, 2)), None, "12", "12.00", 12, 12.0, R, "12.00"),
    "small decimal": Case(None, (Decimal("1E-9"), pa.decimal128(38, 10)), None, R, "0.0000000010", R, 1e-9, R, None),
    "64 bits": Case(str(2**63), (2**63, pa.uint64()), str(2**63), str(2**63), str(2**63), R, 2.0**63, R, str(2**63)),
    "53 bits": Case(
        str(2**53 + 1), (2**53 + 1, pa.int64()), str(2**53 + 1),
        str(2**53 + 1), str(2**53 + 1), 2**53 + 1, 2.0**53, R, str(2**53 + 1),
    ),
    "128 bits": Case(
        str(LONG), (Decimal(LONG), pa.decimal256(40, 0)), str(LONG), str(LONG), str(LONG), R, float(LONG), R, str(LONG)
    ),
    "below": Case(str(-(2**64)), None, str(-(2**64)), str(-(2**64)), str(-(2**64)), R, -(2.0**64), R, str(-(2**64))),
    "true": Case("true", (True, pa.bool_()), None, R, "true", R, R, True, "true"),
    "text": Case('"é"', ("é", pa.string()), None, "é", "é", R, R, R, '"é"'),
    "view": Case(None, ("é", pa.string_view()), None, "é", "é", R, R, R, '"é"'),
    "UTF-8": Case(None, ("é".encode(), pa.binary()), None, "é", "é", R, R, R, '"é"'),
    "bytes": Case(None, (b"\xff\0", pa.large_binary()), None, "/wA=", "/wA=", R, R, R, '"/wA="'),
    "fixed": Case(None, (b"\xff\xfe", pa.binary(2)), None, "//4=", "//4=", R, R, R, '"//4="'),
    "UUID": Case(
        None, (uuid.UUID(int=7).bytes, pa.uuid()), None,
        str(uuid.UUID(int=7)), str(uuid.UUID(int=7)), R, R, R, f'"{uuid.UUID(int=7)}"',
    ),
    "date": Case(None, (datetime.date(2020, 2, 29), pa.date32()), None, R, "2020-02-29", R, R, R, '"2020-02-29"'),
    "far date": Case(
        None, (FAR * 10**6, pa.timestamp("us")), None,
        R, "10000-01-01 00:00:00.000000", R, R, R, '"10000-01-01 00:00:00.000000"',
    ),
    "very far date": Case(
        None, (2**62, pa.timestamp("us", "UTC")), None,
        R, "148108-07-06 14:00:27.387904Z", R, R, R, '"148108-07-06 14:00:27.387904Z"',
    ),
    "farthest date": Case(None, (2**31 - 1, pa.date32()), None, R, "5881580-07-11", R, R, R, '"5881580-07-11"'),
    "no time": Case(None, (-(2**63), pa.timestamp("us")), None, R, None, R, R, R, None),
    "nested times": Case(
        None, ([{"t": [2**62]}], pa.list_(pa.struct([("t", pa.list_(pa.timestamp("us")))]))), None, R,
        *['[{"t":["148108-07-06 14:00:27.387904"]}]', R, R, R, '[{"t":["148108-07-06 14:00:27.387904"]}]'],
    ),
    "map of times": Case(
        None, ([("k", 0)], pa.map_(pa.string(), pa.timestamp("s"))), None, R,
        *['[["k","1970-01-01 00:00:00.000"]]', R, R, R, '[["k","1970-01-01 00:00:00.000"]]'],
    ),
    "nanoseconds": Case(
        None, (1, pa.timestamp("ns")), None,
        R, "1970-01-01 00:00:00.000000001", R, R, R, '"1970-01-01 00:00:00.000000001"',
    ),
    "nested": Case(
        None, ({"n": Decimal(LONG), "b": b"\xff", "t": FAR * 10**6, "x": float("nan")}, NESTED), None, R,
        *[f'{{"n":{LONG},"b":"/w==","t":"10000-01-01 00:00:00.000000","x":null}}', R, R, R] ,
        f'{{"n":{LONG},"b":"/w==","t":"10000-01-01 00:00:00.000000","x":null}}',
    ),
    "nested numbers": Case(
        f'{{"a": [{LONG}, 0.5], "b": "1e2"}}', None, None,
        R, *[f'{{"a":[{LONG},0.5],"b":"1e2"}}', R, R, R, f'{{"a":[{LONG},0.5],"b":"1e2"}}'],
    ),
    "nested NaN": Case(
        f'{{"a": [{LONG}, NaN]}}', None, None, R, *[f'{{"a":[{LONG},null]}}', R, R, R, f'{{"a":[{LONG},null]}}']
    ),
    "list": Case("[1, 2.5]", ([1.0, 2.5], pa.list_(pa.float64())), None, R, *["[1,2.5]", R, R, R, "[1,2.5]"]),
}  # fmt: skip
CASES["small decimal"] = CASES["small decimal"]._replace(json_="0.0000000010")
CASES["list"] = CASES["list"]._replace(json="[1.0, 2.5]", string="[1.0,2.5]", json_="[1.0,2.5]")
READINGS = ["id", "string", "int", "float", "bool", "json_"]


def read_as(path: Path, reading: str) -> Any:
    """The value of the first of two records when it is read as a type; the second record has none."""
    as_id = reading == "id"
    source = {"id": "x"} if as_id else {"metadata": {"x": reading.rstrip("_")}}
    try:
        reading_ = read(path, **source)
    except ShardError as error:
        said = str(error)
        return REJECT if f"{path.name}: the column x is" in said else said
    if reading_.rejects:
        (reject,) = reading_.rejects
        assert (reject.row, reject.reason) == (0, "wrong_type")
        assert "the field x" in reject.detail
        return REJECT
    first, second = (document["id" if as_id else "x"] for document in reading_.documents)
    assert second is None or path.suffix in (".csv", ".tsv")
    return first


WRITES = {"jsonl": "json", "json": "json", "parquet": "arrow", "csv": "cell", "tsv": "cell"}


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize(
    ("format_", "case"),
    [(f, case) for f, way in WRITES.items() for case in CASES if getattr(CASES[case], way) is not None],
)
def test_a_value_means_the_same_in_every_format(tmp_path: Path, format_: str, case: str, reading: str) -> None:
    value = CASES[case]
    path = tmp_path / f"docs.{format_}"
    if value.arrow is not None and format_ == "parquet":
        given, type_ = value.arrow
        x = pa.array([given, None], type_)
        pq.write_table(pa.table({"x": x, "text": ["a", "b"], "other": ["c", "d"]}), path)
    elif format_ in ("json", "jsonl"):
        records = [f'{{"x": {value.json}, "text": "a", "other": {LONG}}}', '{"text": "b", "x": null}']
        path.write_text(f"[{','.join(records)}]" if format_ == "json" else "\n".join(records))
    else:
        assert value.cell is not None
        separator = "," if format_ == "csv" else "\t"
        path.write_text("\n".join(separator.join(row) for row in [("x", "text"), (value.cell, "a"), ("", "b")]))
    expected = getattr(value, reading)
    if reading == "string" and value.cell is not None and format_ in ("csv", "tsv") and case != "NaN":
        expected = value.cell
    found = read_as(path, reading)
    assert found == expected
    if reading == "json_" and found not in (None, REJECT):
        json.loads(found)


@pytest.mark.parametrize("name", ["docs.jsonl", "docs.json", "docs.parquet", "docs.csv"])
@pytest.mark.parametrize("batch_rows", [1, 3, 100])
def test_gaps_make_floats_of_whole_numbers_and_change_nothing(tmp_path: Path, name: str, batch_rows: int) -> None:
    """As pandas writes a column of whole numbers with a gap."""
    path = tmp_path / name
    numbers = [float(n) if n % 5 else float("nan") for n in range(12)]
    if name == "docs.parquet":
        pq.write_table(pa.table({"id": numbers, "year": numbers, "text": ["t"] * 12}), path)
    elif name == "docs.csv":
        cells = "".join(f"{n},{n},t\n" if n == n else ",,t\n" for n in numbers)
        path.write_text("id,year,text\n" + cells)
    else:
        records = [json.dumps({"id": n, "year": n, "text": "t"}) for n in numbers]
        path.write_text(f"[{','.join(records)}]" if name == "docs.json" else "\n".join(records))
    reading = read(path, metadata={"year": "int"}, sizes={"batch_rows": batch_rows})
    expected = [n if n % 5 else None for n in range(12)]
    assert [d["year"] for d in reading.documents] == expected
    assert [d["id"] for d in reading.documents] == [None if n is None else str(n) for n in expected]


def test_a_column_that_a_file_lacks_is_null_in_every_format(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n')
    (tmp_path / "c.csv").write_text("text\na\n")
    for name in ("a.parquet", "b.jsonl", "c.csv"):
        reading = read(tmp_path / name, id="key", url="link", metadata={"lang": "string", "year": "int"})
        assert reading.documents == [{"row": 0, "id": None, "url": None, "lang": None, "year": None, "text": "a"}]


@pytest.mark.parametrize("repeated", ["text", "lang", "id", "n"])
def test_a_column_named_twice_is_named_where_it_is_used(tmp_path: Path, repeated: str) -> None:
    source: dict[str, Any] = {"metadata": {"lang": "string", "n": {"field": "meta.n"}}}
    names = ["id", "lang", "text", repeated if repeated != "n" else "other"]
    meta = pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2)) if repeated == "n" else None
    n = pa.StructArray.from_arrays([pa.array([1, 2])] * (2 if meta else 1), ["n"] * (2 if meta else 1))
    columns = [pa.array(["a", "b"])] * 4
    pq.write_table(pa.Table.from_arrays([*columns, n], [*names, "meta"]), tmp_path / "docs.parquet")
    with pytest.raises(ShardError, match=rf"docs\.parquet: there are 2 columns called {repeated}"):
        read(tmp_path / "docs.parquet", **source)
    if repeated == "n":
        lines = '{"text": "a", "meta": {"n": 1, "n": 2}}\n{"text": "b", "meta": {"n": 1}, "n": {"n": 1}}\n'
        field = "meta.n"
    else:
        (tmp_path / "docs.csv").write_text(",".join(names) + "\na,b,c,d\n")
        with pytest.raises(ShardError, match=rf"docs\.csv: there are 2 columns called {repeated}"):
            read(tmp_path / "docs.csv", metadata=["lang"])
        lines = f'{{"id": "1", "lang": "en", "text": "a", "{repeated}": "long, longer than the first"}}\n'
        lines += '{"text": "id", "lang": "text", "id": "lang", "meta": {"n": 0, "id": 1, "text": "lang"}}\n'
        field = repeated
    (tmp_path / "docs.jsonl").write_text(lines)
    (tmp_path / "docs.json").write_text(f"[{','.join(lines.splitlines())}]")
    for name in ("docs.jsonl", "docs.json"):
        reading = read(tmp_path / name, **source)
        assert [(r.row, r.detail) for r in reading.rejects] == [(0, f"the field {field} is there more than once")]
        assert len(reading.documents) == 1


def test_a_column_named_twice_that_is_not_used_is_no_fault(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["a"])] * 3, ["text", "other", "other"])
    pq.write_table(table, tmp_path / "docs.parquet")
    (tmp_path / "docs.csv").write_text("other,text,other\na,a,a\n")
    (tmp_path / "docs.jsonl").write_text('{"other": 1, "text": "a", "other": 2}\n')
    for name in ("docs.parquet", "docs.csv", "docs.jsonl"):
        assert read(tmp_path / name).texts == ["a"]


def test_what_lies_too_deep_is_quarantined(tmp_path: Path) -> None:
    deep = '{"a": ' * 400 + "1" + "}" * 400
    (tmp_path / "docs.jsonl").write_text(
        f'{{"text": "a", "x": {deep}}}\n{{"text": "b", "text": "c", "x": {deep}}}\n{{"text": "d", "y": {deep}}}\n'
    )
    reading = read(tmp_path / "docs.jsonl", metadata={"x": "json"})
    assert reading.texts == ["d"]
    assert reading.reasons == [(0, "wrong_type"), (1, "malformed")]


def test_a_lone_surrogate_outside_the_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "docs.jsonl").write_text('{"text": "a", "x": "\\ud800"}\n{"text": "b", "x": NaN}\n')
    assert read(tmp_path / "docs.jsonl", metadata=["x"]).reasons == [(0, "lone_surrogate")]
