"""Sources that name the same files: each is read once, for the first of them, and that is told."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gristmill.operators.errors import FatalError
from gristmill.pipelines.cli.main import app
from gristmill.pipelines.planning.state import plan_run
from gristmill.pipelines.recipe.recipe import load_recipe
from gristmill.pipelines.sources import discover as discovering
from gristmill.pipelines.sources.spec import Source
from tests.pipelines.stages.test_run import MakeRecipe, execute, rows
from tests.support import make_documents, write_jsonl


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for i, name in enumerate(["news/b", "web/a"]):
        write_jsonl(tmp_path / "data" / f"{name}.jsonl", make_documents(9, seed=i))
    return tmp_path


def sources(*given: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": f"s{i}", **fields} for i, fields in enumerate(given)]


def test_a_file_of_two_sources_is_read_for_the_first(corpus: Path, make_recipe: MakeRecipe) -> None:
    overlapping = sources({"path": "data/news/*.jsonl"}, {"path": "data", "format": "jsonl"})
    recipe = make_recipe(corpus, sources=overlapping, decide=[{"exact_dedup": "first"}])
    result = execute(recipe)
    found = rows(result, "source", "id")
    assert len(found) == len({id for _, id in found}) == 18
    assert {source for source, id in found if id.startswith("doc-0")} == {"s0"}
    assert {source for source, id in found if id.startswith("doc-1")} == {"s1"}
    said = "1 file of several sources read once, for the first of them: data/news/b.jsonl (for s0, not again for s1)"
    assert said in result.listed
    assert said in execute(recipe).listed
    for command in ("run", "plan"):
        assert said in CliRunner().invoke(app, [command, str(recipe)], env={"COLUMNS": "300"}).stdout
    plan = json.loads(CliRunner().invoke(app, ["plan", str(recipe), "--json"]).stdout)
    assert [(s["files"], s["read_for_earlier_sources"]) for s in plan["sources"]] == [(1, 0), (1, 1)]


def test_a_source_of_which_others_have_all_gives_nothing(corpus: Path, make_recipe: MakeRecipe) -> None:
    recipe = make_recipe(corpus, sources=sources({"path": "data"}, {"path": "data/web"}), decide=[])
    assert len(rows(execute(recipe), "id")) == 18
    assert CliRunner().invoke(app, ["plan", str(recipe)]).exit_code == 0


def test_with_other_fields_it_is_another_shard(corpus: Path, make_recipe: MakeRecipe) -> None:
    twice = sources({"path": "data/web/a.jsonl"}, {"path": "data/web/*", "metadata": ["lang"]})
    result = execute(make_recipe(corpus, sources=twice, decide=[]))
    assert result.listed == []
    assert len(rows(result, "id")) == 18
    assert sorted({lang for source, lang in rows(result, "source", "lang") if source == "s1"}) == ["de", "en"]


def test_what_would_be_read_twice_is_never_committed(
    corpus: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else gives a run the same shard twice: no dataset has a document twice at one address."""
    monkeypatch.setattr(discovering.Discovery, "_own", lambda self, source, files: ([kind for kind, _ in files], []))
    recipe = make_recipe(corpus, sources=sources({"path": "data"}, {"path": "data/web"}), decide=[])
    with pytest.raises(FatalError, match=r"sources s0 and s1 read data/web/a.jsonl .*nothing is committed"):
        execute(recipe)
    assert not (corpus / "store" / "datasets").exists()


def test_many_sources_are_listed_without_looking_twice(
    tmp_path: Path, make_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done for each source does not grow with their number."""
    for i in range(120):
        write_jsonl(tmp_path / "data" / f"{i:03d}-a.jsonl", [{"text": f"text {i}", "lang": "de"}])
    calls: Counter[str] = Counter()

    def counted(owner: Any, name: str) -> None:
        plain = getattr(owner, name)

        def call(*given: Any, **named: Any) -> Any:
            calls[name] += 1
            return plain(*given, **named)

        monkeypatch.setattr(owner, name, call)

    counted(os, "scandir")
    counted(Source, "schema")
    for n in (60, 120):
        calls.clear()
        many = [{"name": f"s{i}", "path": f"data/{i:03d}-*.jsonl", "metadata": ["lang"]} for i in range(n)]
        plan = plan_run(load_recipe(str(make_recipe(tmp_path, sources=many))))
        assert len(plan.specs) == n
        assert calls["scandir"] <= 2
        assert calls["schema"] <= 6 * n
