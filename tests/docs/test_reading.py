"""The examples of docs/reading.md are run as they stand."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tests.docs.blocks import code
from tests.pipelines.readers.folders import make_dataset

START, *BELOW = code("docs/reading.md", "python")
Capture = pytest.CaptureFixture[str]
#: The library that the examples below a heading need, and a part of what they print.
HEADINGS = {
    "Arrow": ("pyarrow", "4"),
    "pandas": ("pandas", "0.75"),
    "polars": ("polars", "│ 2   │"),
    "DuckDB": ("duckdb", "│            4 │         0.75 │"),
    "Hugging Face datasets": ("datasets", "a\n"),
    "Ray Data": ("ray", "4 ['id', 'text', 'source', 'quality']"),
    "PyTorch": ("torch", "True"),
    "Without gristmill": ("pyarrow", "000002-000000000002/data-00000-of-00001.parquet'] 4"),
}


#: The code below each heading, its examples one after the other.
EXAMPLES = {heading: "".join(block.text for block in BELOW if block.heading == heading) for heading in HEADINGS}


def test_no_example_is_below_another_heading() -> None:
    assert {block.heading for block in BELOW} == {*HEADINGS}


@pytest.mark.ray
@pytest.mark.usefixtures("ray_engine")
def test_the_example_of_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    check_example("Ray Data", tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    "heading",
    [
        pytest.param(heading, marks=pytest.mark.lm if heading == "PyTorch" else ())
        for heading in EXAMPLES
        if heading != "Ray Data"
    ],
)
def test_example(heading: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    check_example(heading, tmp_path, monkeypatch, capsys)


def check_example(heading: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    """The examples below a heading print what the page is for, over two nights."""
    needs, printed = HEADINGS[heading]
    pytest.importorskip(needs, reason=f"{needs} is not among the project's dependencies")
    first = {"id": ["a", "b"], "text": ["one", "two"], "source": ["s", "s"]}
    nights = [[pa.table(first)], [pa.table({**first, "quality": [0.75, 0.75]})]]
    make_dataset(str(folder / "store"), "quickstart", nights, columns_changed=True)
    monkeypatch.chdir(folder)
    exec(compile(START.text + EXAMPLES[heading], "docs/reading.md", "exec"), {"__name__": "__main__"})
    told, _, rest = capsys.readouterr().out.partition("\n")
    assert told == "000002-000000000002 4 ['id', 'text', 'source', 'quality']"
    assert printed in rest
