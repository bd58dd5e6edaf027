"""Fields that no source has are told with their line before anything is read; what some records lack is remarked."""

from __future__ import annotations

import bz2
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.planning.plan import Plan
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe import source_fields
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.sources import preview
from tests.pipelines.stages.test_run import MakeRecipe, execute

RECORDS: list[dict[str, Any]] = [
    {"doc_id": f"d{i}", "body": f"text {i}", "language": "de", "meta": {"licence": "CC0"}} for i in range(5)
]


def as_lines(records: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def as_table(delimiter: str) -> bytes:
    rows = [list(RECORDS[0]), *([str(v) if isinstance(v, str) else "x" for v in r.values()] for r in RECORDS)]
    return "".join(delimiter.join(row) + "\n" for row in rows).encode()


FILES: dict[str, Callable[[], bytes]] = {
    "a.jsonl": lambda: as_lines(RECORDS),
    "a.jsonl.gz": lambda: gzip.compress(as_lines(RECORDS)),
    "a.jsonl.bz2": lambda: bz2.compress(as_lines(RECORDS)),
    "a.json": lambda: json.dumps(RECORDS, indent=1).encode(),
    "a.csv": lambda: as_table(","),
    "a.tsv": lambda: as_table("\t"),
}


def written(folder: Path, name: str) -> None:
    (folder / "data").mkdir(exist_ok=True)
    if name == "a.parquet":
        pq.write_table(pa.Table.from_pylist(RECORDS), folder / "data" / name)
    else:
        (folder / "data" / name).write_bytes(FILES[name]())


def plan(recipe: Path) -> Plan:
    return plan_run(load_recipe(str(recipe))).plan


def source(**given: Any) -> list[dict[str, Any]]:
    return [{"name": "docs", "path": "data", "text": "body", **given}]


@pytest.mark.parametrize("name", [*FILES, "a.parquet"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"text": "bdy"}, r"recipe.yaml:\d+: in .* looked at there is no field bdy \(text\); did you mean body\?"),
        ({"id": "docid"}, r"no field docid \(id\); did you mean doc_id\?"),
        ({"url": "link"}, r"no field link \(url\); there is body, doc_id, language, meta"),
        ({"metadata": ["langage"]}, r"no field langage \(metadata langage\); did you mean language\?"),
        ({"metadata": {"lang": {"field": "meta.licens"}}}, r"no field meta.licens \(metadata lang\)"),
    ],
    ids=["text", "id", "url", "metadata", "nested"],
)
def test_a_field_that_none_has(
    tmp_path: Path, make_recipe: MakeRecipe, name: str, given: dict[str, Any], told: str
) -> None:
    written(tmp_path, name)
    recipe = make_recipe(tmp_path, sources=source(**given))
    with pytest.raises(RecipeError, match=told) as refused:
        plan(recipe)
    line = int(str(refused.value).split(":")[1])
    field = re.search(r"no field (\S+)", str(refused.value))
    assert field is not None
    assert field[1] in recipe.read_text().split("\n")[line - 1]
    with pytest.raises(RecipeError, match=told):
        execute(recipe)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("name", [*FILES, "a.parquet"])
def test_fields_that_are_there(tmp_path: Path, make_recipe: MakeRecipe, name: str) -> None:
    written(tmp_path, name)
    nested = {} if name[2:5] in ("csv", "tsv") else {"licence": {"field": "meta.licence"}}
    given = source(id="doc_id", metadata={"lang": {"field": "language"}, **nested})
    assert plan(make_recipe(tmp_path, sources=given)).looked == ()


def test_what_some_records_lack_is_remarked(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    written(tmp_path, "a.jsonl")
    (tmp_path / "data" / "b.jsonl").write_bytes(as_lines([{"body": "x"}, {"body": "y", "language": "en"}]))
    made = plan(make_recipe(tmp_path, sources=source(metadata=["language"])))
    assert list(made.looked) == [
        "1 of 7 records looked at of source docs have no field language (metadata language), such as in data/b.jsonl"
    ]
    assert made.looked[0] in execute(make_recipe(tmp_path, sources=source(metadata=["language"]))).listed


def test_it_looks_further_before_it_refuses(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    (tmp_path / "data").mkdir()
    many = [{"body": "x" * 99} for _ in range(5000)]
    for i in range(5):
        (tmp_path / "data" / f"{i}.jsonl").write_bytes(as_lines([*many, {"body": "y", "language": "en"}]))
    assert len(plan(make_recipe(tmp_path, sources=source(metadata=["language"]))).looked) == 1


@pytest.mark.parametrize("content", [b"", b"[]", b"not json\n", b"1\n2\n", b'{"body": ', b"\xff\xfe{\0", b"\x1f\x8b"])
def test_what_cannot_be_looked_at_is_left_to_the_run(tmp_path: Path, make_recipe: MakeRecipe, content: bytes) -> None:
    (tmp_path / "data").mkdir()
    for name in ("a.jsonl", "a.json", "a.jsonl.gz", "a.parquet"):
        (tmp_path / "data" / name).write_bytes(content)
    assert plan(make_recipe(tmp_path, sources=source(metadata=["language"]))).looked == ()


def test_a_night_may_lack_what_others_have(tmp_path: Path, make_recipe: MakeRecipe) -> None:
    written(tmp_path, "a.jsonl")
    given = source(text="body", id="doc_id", metadata=["language"])
    execute(make_recipe(tmp_path, sources=given))
    (tmp_path / "data" / "b.jsonl").write_bytes(as_lines([{"doc_id": "n", "body": "of the night"}]))
    recipe = make_recipe(tmp_path, sources=given)
    (remark,) = plan(recipe).looked
    assert "1 of 1 record looked at of source docs have no field language (metadata language)" in remark
    assert execute(recipe).funnel.documents == len(RECORDS) + 1
    (tmp_path / "data" / "c.jsonl").write_bytes(as_lines([{"doc_id": "n", "content": "in another field"}]))
    with pytest.raises(RecipeError, match=r"there is no field body \(text\)"):
        plan(recipe)


def test_what_is_measured_is_not_looked_at(
    tmp_path: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "a.jsonl")
    recipe = make_recipe(tmp_path, sources=source())
    execute(recipe)
    looked: list[str] = []
    look_at = preview._look_at
    monkeypatch.setattr(preview, "_look_at", lambda file, *rest: looked.append(file.name) or look_at(file, *rest))
    execute(recipe)
    assert looked == []
    written(tmp_path, "a.csv")
    execute(recipe)
    assert looked == ["data/a.csv"]


def test_of_many_sources_one_file_each_is_looked_at(
    tmp_path: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(8):
        (tmp_path / f"{i % 4}").mkdir(exist_ok=True)
        written(tmp_path / f"{i % 4}", "a.jsonl")
        (tmp_path / f"{i % 4}" / "data" / f"{i}.jsonl").write_bytes(as_lines(RECORDS))
    monkeypatch.setattr(source_fields, "MANY_SOURCES", 3)
    looked: list[str] = []
    look_at = preview._look_at
    monkeypatch.setattr(preview, "_look_at", lambda file, *rest: looked.append(file.name) or look_at(file, *rest))
    many = [{"name": f"s{i}", "path": f"{i}/data", "text": "body"} for i in range(4)]
    plan(make_recipe(tmp_path, sources=many))
    assert len(looked) == 4


@pytest.mark.parametrize("name", [*FILES, "a.parquet"])
@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (
            "language != 'de'",
            r"there is no column language: source docs has a field language; .* metadata: \[language\]",
        ),
        (
            "licence = 'x'",
            r"there is no column licence: .* field meta.licence; .* metadata: \{licence: \{field: meta.licence\}\}",
        ),
    ],
)
def test_a_rule_that_names_a_field(tmp_path: Path, make_recipe: MakeRecipe, name: str, rule: str, told: str) -> None:
    if "licence" in rule and name[2:5] in ("csv", "tsv"):
        pytest.skip("a table has no fields inside fields")
    written(tmp_path, name)
    recipe = make_recipe(tmp_path, sources=source(), decide=[{"drop": rule}])
    with pytest.raises(RecipeError, match=rf"recipe.yaml:\d+: {told}"):
        plan(recipe)
