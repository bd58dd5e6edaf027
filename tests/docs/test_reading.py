"""The examples of docs/reading.md are run as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from tests.pipelines.readers.folders import make_dataset

PAGE = Path(__file__).parents[2] / "docs" / "reading.md"
FOUND = re.findall(r"^## (.+?)$|^```python\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
START = FOUND[0][1]
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


def sections() -> list[tuple[str, str]]:
    """(heading, code) of each section, its examples one after the other."""
    codes: dict[str, str] = {}
    for heading, code in FOUND[1:]:
        if heading:
            codes[heading] = ""
        else:
            codes[[*codes][-1]] += code
    return [*codes.items()]


@contextmanager
def cluster() -> Iterator[None]:
    """Ray on this machine, where no other test has started it."""
    import ray

    started = not ray.is_initialized()
    if started:
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


@pytest.mark.parametrize(("heading", "code"), sections(), ids=lambda value: value if value in HEADINGS else "")
def test_example(
    heading: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    needs, printed = HEADINGS[heading]
    pytest.importorskip(needs, reason=f"{needs} is not among the project's dependencies")
    first = {"id": ["a", "b"], "text": ["one", "two"], "source": ["s", "s"]}
    nights = [[pa.table(first)], [pa.table({**first, "quality": [0.75, 0.75]})]]
    make_dataset(str(tmp_path / "store"), "quickstart", nights, columns_changed=True)
    monkeypatch.chdir(tmp_path)
    program = compile(START + code, str(PAGE), "exec")
    if heading == "Ray Data":
        with cluster():
            exec(program, {"__name__": "__main__"})
    else:
        exec(program, {"__name__": "__main__"})
    told, _, rest = capsys.readouterr().out.partition("\n")
    assert told == "000002-000000000002 4 ['id', 'text', 'source', 'quality']"
    assert printed in rest
