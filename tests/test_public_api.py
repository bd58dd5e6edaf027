"""What `import gristmill` gives, wherever it is installed and whatever lies beside it."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

import gristmill
from tests.support import make_documents, write_jsonl
from tests.test_layout import ROOT

RECIPE = """
version: 1
name: clean
store: ./store
sources: [{name: docs, path: data.jsonl}]
decide: [exact_dedup]
write: {}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe over 100 documents, of which ten are copies."""
    write_jsonl(tmp_path / "data.jsonl", make_documents(100))
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def python(folder: Path, program: str, *path: Path) -> str:
    """What a program prints that a Python of its own runs in a folder, with some folders on its path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def make_foreign_packages(folder: Path) -> None:
    """Packages `operators` and `pipelines` of somebody else, which end whoever imports them."""
    for name in ("operators", "pipelines"):
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text("raise SystemExit('these are not gristmill's')\n")


def test_the_list_of_names_is_sorted_and_complete() -> None:
    assert gristmill.__all__ == sorted(gristmill.__all__)
    assert dir(gristmill) == gristmill.__all__
    for name in gristmill.__all__:
        value = getattr(gristmill, name)
        assert name == "__version__" or value.__name__ == name
        assert name == "__version__" or inspect.getdoc(value), f"{name} has no docstring"
    names = set(gristmill.__all__)
    assert {"load_recipe", "run", "plan", "explain", "query", "label", "open_dataset"} <= names
    assert {"Transform", "Measure", "FittedMeasure", "Rule", "GristmillError", "__version__"} <= names
    with pytest.raises(AttributeError, match="no attribute 'measure'"):
        _ = gristmill.measure  # type: ignore[attr-defined]


def test_the_names_that_type_checkers_see_are_those() -> None:
    source = (ROOT / "gristmill" / "__init__.py").read_text().partition("if TYPE_CHECKING:")[2].partition("__all__")[0]
    seen: dict[str, object] = {}
    exec("\n".join(line.removeprefix("    ") for line in source.splitlines()), seen)
    assert {name for name in seen if name != "__builtins__"} == {*gristmill.__all__} - {"__version__"}
    assert all(seen[name] is getattr(gristmill, name) for name in gristmill.__all__ if name != "__version__")


def test_importing_it_loads_nothing_else(tmp_path: Path) -> None:
    program = "import sys; before = {*sys.modules}; import gristmill; print(*{*sys.modules} - before)"
    loaded = python(tmp_path, program, ROOT).split()
    assert {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names} == {"gristmill"}


def test_a_run_from_python(recipe: Path) -> None:
    assert gristmill.plan(recipe)["shards"] == 1
    result = gristmill.run(recipe, engine="local", workers=1)
    assert (result.funnel.documents, result.funnel.kept) == (100, 90)
    assert gristmill.run(gristmill.load_recipe(recipe, ["name=other"]), engine="local").recipe == "other"
    store = recipe.parent / "store"
    assert gristmill.query(
        store, "SELECT count(*) AS n FROM decisions WHERE kept AND dataset = 'clean'"
    ).to_pylist() == [{"n": 90}]
    (document,) = gristmill.explain(store, str(make_documents(100)[0]["id"]))
    assert document["source"] == "docs"
    rows = gristmill.open_dataset(store / "datasets/clean")
    assert rows.rows == rows.arrow().count_rows() == 90
    assert rows.schema.field("text").type in (pa.string(), pa.large_string())


def test_a_dataset_that_is_not_there_is_named(recipe: Path) -> None:
    gristmill.run(recipe, engine="local")
    folder = recipe.parent / "store" / "datasets"
    (version,) = (path.name for path in (folder / "clean").iterdir() if path.is_dir())
    assert gristmill.open_dataset(folder / "clean", version).rows == 90
    with pytest.raises(gristmill.RecipeError, match="has no dataset clen; did you mean clean"):
        gristmill.open_dataset(folder / "clen")
    with pytest.raises(gristmill.RecipeError, match=f"clean has no version 000009-abc; there is {version}"):
        gristmill.open_dataset(folder / "clean", "000009-abc")
    with pytest.raises(gristmill.RecipeError, match="is no folder of a dataset; name one, such as STORE/datasets/web"):
        gristmill.open_dataset(folder.parent)


def test_folders_of_the_same_names_on_the_path_are_not_ours(recipe: Path) -> None:
    make_foreign_packages(recipe.parent)
    program = "import gristmill; print(gristmill.run('recipe.yaml', engine='local').funnel.kept)"
    assert python(recipe.parent, program, recipe.parent, ROOT) == "90"


def test_a_wheel_leaves_the_packages_of_others_alone(recipe: Path, tmp_path: Path) -> None:
    """In an environment where somebody else has installed `operators` and `pipelines`."""
    ignored = shutil.ignore_patterns("__pycache__")
    source, wheels, site = tmp_path / "checkout", tmp_path / "wheels", tmp_path / "site"
    made = shutil.ignore_patterns("__pycache__", "data", "store", "target", "models")
    for name in ("gristmill", "operators", "pipelines", "configs"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=made if name == "configs" else ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copyfile(ROOT / name, source / name)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", wheels, source], check=True)
    make_foreign_packages(site)
    before = {path: path.read_bytes() for path in site.rglob("*.py")}
    (wheel,) = wheels.glob("gristmill-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # as an installer does: what is there already is written over
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in site.iterdir()} == {"operators", "pipelines", "gristmill"} | {
        path.name for path in site.glob("gristmill-*.dist-info")
    }
    assert not [path for path in site.rglob("*") if path.is_symlink()]
    for template in ("dedup.yaml", "web/fineweb.yaml", "tasks/edu.yaml"):
        assert (site / "gristmill" / "configs" / template).read_bytes() == (ROOT / "configs" / template).read_bytes()
    assert (site / "gristmill" / "py.typed").exists(), "type checkers look for it beside __init__.py"
    program = "import gristmill; print(gristmill.__file__, gristmill.run('recipe.yaml', engine='local').funnel.kept)"
    assert python(recipe.parent, program, site) == f"{site / 'gristmill' / '__init__.py'} 90"
