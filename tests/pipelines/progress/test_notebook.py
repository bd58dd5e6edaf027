"""A run in a real Jupyter kernel: its progress, its result as a table, an error as its message."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def outputs(cells: list[str], folder: Path) -> list[list[Any]]:
    """The outputs of cells that a kernel of its own executes."""
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", allow_errors=True, resources=resources
    ).execute()
    return [cell.outputs for cell in notebook.cells]


def test_a_run_and_an_error(corpus: Path, make_recipe: Callable[..., Path]) -> None:
    make_recipe(corpus, decide=["exact_dedup"])
    ran, again, failed = outputs(
        [
            "import gristmill\ngristmill.run('recipe.yaml')",
            "gristmill.run('recipe.yaml')",
            "gristmill.run('recipy.yaml')",
        ],
        corpus,
    )
    kinds = {kind for output in ran if output.output_type == "display_data" for kind in output["data"]}
    assert "application/vnd.jupyter.widget-view+json" in kinds, "a live display"
    for outcome in (ran[-1], again[-1]):
        assert outcome.output_type == "execute_result"
        assert ">400</" in outcome["data"]["text/html"]
    (error,) = failed
    (line,) = error["traceback"]
    assert line.startswith("RecipeError: recipy.yaml: there is no such recipe")
