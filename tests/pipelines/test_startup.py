"""Commands load what they need and nothing more: told by the modules of their processes, not by time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipelines.stages.test_run import execute

#: Prints the modules of interest that a command has loaded.
PROGRAM = """
import json, sys
from gristmill.pipelines.cli.main import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print(json.dumps([name for name in sys.argv[-1].split(",") if name in sys.modules]), file=sys.stderr)
"""
#: No command loads these unless it does just what they are there for.
NEVER = ("pandas", "pyarrow.pandas_compat", "pyarrow.dataset", "ray", "torch", "polars", "datasets", "matplotlib")
#: Compiles kernels.
COMPILER = ("numba", "llvmlite")
TABLES = ("numpy", "pyarrow", "duckdb", "fsspec")
CASES = {
    "--help": (*NEVER, *COMPILER, *TABLES),
    "run --help": (*NEVER, *COMPILER, *TABLES),
    "--version": (*NEVER, *COMPILER, "duckdb"),
    "operators": (*NEVER, *COMPILER),
    "plan RECIPE": (*NEVER, *COMPILER),
    "run RECIPE": (*NEVER, *COMPILER),
    "query FROM\tdecisions": (*NEVER, *COMPILER),
    "explain doc-0-00000": (*NEVER, *COMPILER),
    "datasets show test": (*NEVER, *COMPILER),
    "what-if RECIPE --set decide.drop.when=tokens\t<\t40 --examples 0": (*NEVER, *COMPILER),
    "sweep RECIPE tokens 20..60 --steps 3": (*NEVER, *COMPILER),
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe with a finished run."""
    from tests.support import make_documents, write_jsonl

    folder = tmp_path_factory.mktemp("startup")
    write_jsonl(folder / "data" / "docs-0.jsonl", make_documents(40))
    path = folder / "recipe.yaml"
    path.write_text(
        "version: 1\nname: test\nstore: ./store\nsources: [{name: docs, path: data/*.jsonl}]\n"
        "measure: [tokens]\ndecide: [drop: tokens < 30]\nwrite: {columns: [id]}\n"
    )
    execute(path)
    return path


@pytest.mark.parametrize("command", CASES)
def test_a_command_loads_what_it_needs(command: str, recipe: Path) -> None:
    words = [word.replace("\t", " ").replace("RECIPE", str(recipe)) for word in command.split(" ")]
    environment = {**os.environ, "COLUMNS": "80"}
    environment.pop("RAY_ADDRESS", None)
    program = PROGRAM.replace("sys.argv[-1]", repr(",".join(CASES[command])))
    done = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=recipe.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr.splitlines()[-1]) == []


def test_pandas_is_there_for_who_asks_for_it() -> None:
    program = """
import sys
from gristmill.pipelines.cli.common import leave_pandas_out
leave_pandas_out()
assert "pandas" not in sys.modules
import pandas, pyarrow
assert pyarrow.array(pandas.Series([1, 2])).to_pylist() == [1, 2]
assert pyarrow.table({"a": [1]}).to_pandas()["a"].tolist() == [1]
"""
    subprocess.run([sys.executable, "-c", program], check=True)
