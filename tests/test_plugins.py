"""Operators of other packages: usable by name wherever those of gristmill are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import make_documents, write_jsonl
from tests.test_layout import ROOT

RECIPE = """
version: 1
name: test
store: ./store
sources: [{name: docs, path: "data-*.jsonl", metadata: [lang]}]
decide:
  - drop: "symbol_share > 0.5"
  - at_most: {documents: 30, by: lang}
write: {columns: [id, lang, symbol_share]}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the example package is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(ROOT / "tests" / "plugin_example", folder / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", folder / "site", folder / "source"], check=True)
    return folder / "site"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe that uses both operators of the package."""
    documents = [{**d, "lang": ["en", "fr"][i % 2]} for i, d in enumerate(make_documents(200))]
    for i in range(4):
        some = [*documents[i * 50 : (i + 1) * 50], {"id": f"noise {i}", "text": "#*" * 20, "lang": "en"}]
        write_jsonl(tmp_path / f"data-{i}.jsonl", some)
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def gristmill(recipe: Path, site: Path, *arguments: str, code: int = 0) -> str:
    """What a command prints in the folder of a recipe, where the package is installed; its errors, where it fails."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}
    command = [sys.executable, "-m", "gristmill", *arguments]
    done = subprocess.run(command, cwd=recipe.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def test_plan_and_catalogue_know_them(recipe: Path, site: Path) -> None:
    plan = json.loads(gristmill(recipe, site, "plan", "recipe.yaml", "--json"))
    assert {"name": "symbol_share", "needed_by": "drop"}.items() <= next(
        m for m in plan["measure"] if m["name"] == "symbol_share"
    ).items()
    assert [rule["operator"] for rule in plan["decide"]] == ["drop", "at_most"]
    assert "at_most " in gristmill(recipe, site, "operators")
    assert "Keeps the first documents" in gristmill(recipe, site, "operators", "at_most")
    schema = json.loads(gristmill(recipe, site, "operators", "--schema"))
    assert "at_most" in json.dumps(schema["properties"]["decide"])
    assert "did you mean at_most?" in gristmill(recipe, site, "operators", "at_mots", code=2)


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])])
def test_a_run_uses_them(recipe: Path, site: Path, engine: str) -> None:
    printed = gristmill(recipe, site, "run", "recipe.yaml", "--json", "--quiet", "--engine", engine)
    rules = {rule["name"]: rule for rule in json.loads(printed)["funnel"]["rules"]}
    assert (rules["drop"]["dropped"], rules["at_most"]["dropped"]) == (4, 140)
    assert rules["at_most"]["details"]["beyond"] == 140
    by_lang = "SELECT lang, count(*) AS n, max(id) FROM test GROUP BY ALL ORDER BY ALL"
    found = json.loads(gristmill(recipe, site, "query", by_lang, "--json"))
    assert [(row["lang"], row["n"]) for row in found] == [("en", 30), ("fr", 30)]
    kept = json.loads(gristmill(recipe, site, "query", "SELECT id FROM test ORDER BY id", "--json"))
    assert {row["id"] for row in kept} == {str(d["id"]) for d in make_documents(200)[:60]}


def test_without_the_package_the_recipe_is_wrong(recipe: Path, tmp_path: Path) -> None:
    told = gristmill(recipe, tmp_path, "plan", "recipe.yaml", code=2)
    assert "recipe.yaml:8: at_most is not an operator" in told


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ("gopher = example_operators:SymbolShare", "the operator gopher of broken (example_operators:SymbolShare) has"),
        ("odd = example_operators:Missing", "(example_operators:Missing) cannot be loaded: AttributeError"),
        ("odd = no_such_module:X", "cannot be loaded: ModuleNotFoundError"),
        ("odd = example_operators:Allowances", "is no Transform, Measure or Rule"),
    ],
)
def test_a_broken_plugin_is_named(recipe: Path, site: Path, tmp_path: Path, point: str, message: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(site, broken)
    (info,) = broken.glob("*.dist-info")
    info.rename(broken / "broken-1.0.dist-info")
    (broken / "broken-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (broken / "broken-1.0.dist-info" / "entry_points.txt").write_text(f"[gristmill.operators]\n{point}\n")
    assert message in " ".join(gristmill(recipe, broken, "plan", "recipe.yaml", code=2).split())
