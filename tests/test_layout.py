"""The lines between the parts of the code: who may import whom, and how large a module may grow."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: The layers of `pipelines`, lowest first: a module imports from its own folder and from those before it.
LAYERS = (
    "storage",  # every byte in and out
    "config",  # YAML with line numbers, names and numbers in sentences, quoting
    "progress",  # consoles and live lines
    "engine",  # one method: map
    "sources",  # files to documents
    "sinks",  # rows to files
    "exchange",  # rows of many tasks to many others, over files
    "store",  # what a run leaves for the next
    "readers",  # a dataset for programs that read it
    "shard_tasks",  # what is done to one shard: measure, read again, write
    "recipe",  # YAML to a checked description of a run
    "decide",  # rules over all shards
    "label",  # tasks, annotators, answers
    "planning",  # recipe and store to a plan
    "index",  # the history of fuzzy_dedup
    "stages",  # what a run does, in order
    "train",  # models that measures use
    "report",  # what a store holds and what a run did, for people
    "versions",  # datasets over nights: published, compared, refreshed, collected
    "html",  # reports for a browser
    "ui",  # a store in a browser, live
    "start",  # a first look at data, a first recipe, checks of a machine
    "jobs",  # recipes as jobs of a Ray cluster
    "cli",  # commands
)
MODULES = sorted([*(ROOT / "operators").rglob("*.py"), *(ROOT / "pipelines").rglob("*.py")])


def imports(path: Path) -> Iterator[str]:
    """First names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


def pipeline_imports(path: Path) -> Iterator[str]:
    """Modules of `pipelines` that a file imports, anywhere in it: dotted, without `gristmill.pipelines`."""
    prefix = "gristmill.pipelines."
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name.removeprefix(prefix) for name in names if name.startswith(prefix))


def loaded_after(program: str) -> set[str]:
    """First names of all modules that are loaded when a program ends."""
    listing = "\nimport sys\nprint(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", program + listing],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


def test_facts_and_what_prints_them_are_apart() -> None:
    """A page can show what the console shows: outside these folders nothing knows of the console."""
    printing = {path for path in MODULES if "rich" in imports(path)}
    folders = {str(path.parent.relative_to(ROOT / "pipelines")) for path in printing}
    assert folders == {"report/console", "progress"}
    for path in (ROOT / "pipelines" / "report").glob("*.py"):
        assert not any(name.startswith("report.console") for name in pipeline_imports(path)), path


@pytest.mark.parametrize("path", [p for p in MODULES if p.parts[len(ROOT.parts)] == "operators"], ids=lambda p: p.stem)
def test_operators_know_no_engine_no_files_no_pipeline(path: Path) -> None:
    assert not set(imports(path)) & {"ray", "fsspec"}
    assert not [*pipeline_imports(path)]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_module_imports_lies_no_higher(path: Path) -> None:
    if path.parent == ROOT / "pipelines":
        assert path.name == "__init__.py", "a module of pipelines/ lies in one of its layers"
    if "pipelines" in path.parts[len(ROOT.parts) : -2]:
        layer = path.relative_to(ROOT / "pipelines").parts[0]
        higher = LAYERS[LAYERS.index(layer) + 1 :]
        assert not [name for name in pipeline_imports(path) if name.split(".")[0] in higher]


def test_only_commands_use_the_public_functions() -> None:
    using = [p for p in MODULES if "from gristmill import api" in p.read_text() or "gristmill.api" in p.read_text()]
    assert {path.parent.name for path in using} == {"cli"}


def test_every_layer_is_there() -> None:
    assert {path.parent.name for path in (ROOT / "pipelines").glob("*/__init__.py")} == {*LAYERS}


def test_all_code_is_imported_from_one_root() -> None:
    tried = [*MODULES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    assert not [str(path) for path in tried if {"operators", "pipelines"} & {*imports(path)}]


def test_no_two_classes_share_a_name() -> None:
    """A name stands for one thing, wherever it is read: public classes of all modules, see docs/glossary.md."""
    places: dict[str, list[str]] = {}
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_module_names_say_what_is_in_them() -> None:
    vague = "given passes words texts part adjacent implied rows known rounds placement crossing stars settlement utils"
    modules = [path for path in MODULES if path.parent.name != "kernels"]  # where words are words
    assert {path.stem for path in modules} & {*vague.split()} == set()


_RELATIVE = re.compile(r"(What|How|Which|Who|Whom|Whose|Whether|Where|Why|When)\b")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_begin_with_a_noun_or_an_imperative(path: Path) -> None:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [
        ast.get_docstring(node) or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, documented)
    ]
    assert not [text for text in texts if _RELATIVE.match(text)]


def test_four_modules_import_ray() -> None:
    importing = [str(p.relative_to(ROOT / "pipelines")) for p in MODULES if "ray" in imports(p)]
    assert importing == ["engine/ray_data.py", "jobs/server.py", "label/ray/backend.py", "readers/open_dataset.py"]


@pytest.mark.parametrize("package", [p for p in MODULES if p.name == "__init__.py"], ids=lambda p: p.parent.name)
def test_a_package_gives_no_name_to_two_things(package: Path) -> None:
    """A module that is imported for the first time takes the place of whatever its package calls by its name.

    What a package takes from the module of the same name comes after that, and stays.
    """
    modules = {module.stem for module in package.parent.iterdir()}
    for node in ast.walk(ast.parse(package.read_text())):
        if isinstance(node, ast.ImportFrom):
            named = {alias.asname or alias.name for alias in node.names}
            assert not (named & modules) - {str(node.module).rpartition(".")[2]}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            assert node.name not in modules


def test_operators_load_no_engine_no_files_no_pipeline() -> None:
    names = [".".join(p.relative_to(ROOT).with_suffix("").parts) for p in MODULES if "operators" in p.parts]
    program = f"import importlib, sys\nfor name in {names}: importlib.import_module('gristmill.' + name)\n"
    assert not loaded_after(program + "assert 'gristmill.pipelines' not in sys.modules") & {"ray", "fsspec"}


def test_the_command_line_loads_little_before_it_knows_what_is_asked() -> None:
    heavy = {"ray", "numba", "duckdb", "pyarrow", "fsspec", "fasttext", "aiohttp", "torch", "jsonschema"}
    assert not loaded_after("import gristmill.pipelines.cli.main") & heavy


def test_a_local_run_never_loads_ray_and_a_cached_one_no_compiler_either(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "a", "text": "one text"}\n')
    (tmp_path / "recipe.yaml").write_text(
        "version: 1\nname: test\nstore: ./store\nsources: [{name: docs, path: a.jsonl}]\n"
        "transform: [normalize_unicode]\nmeasure: [gopher, tokens]\n"
        "decide: [{drop: gopher_words < quantile(0.1)}, gopher_rules, exact_dedup, fuzzy_dedup]\nwrite: {}\n"
    )
    program = (
        f"from gristmill.pipelines.cli.main import app; app(['run', '{tmp_path}/recipe.yaml'], standalone_mode=False)"
    )
    loaded = loaded_after(program)
    assert "ray" not in loaded
    assert {"pyarrow", "numba"} <= loaded
    cached = loaded_after(program)
    assert "duckdb" in cached
    assert not cached & {"ray", "numba", "pandas", "torch", "jsonschema", "ftfy", "scipy", "aiohttp"}
