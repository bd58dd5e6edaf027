"""The examples of docs/reading.md are run as they stand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "reading.md"
START, *EXAMPLES = re.findall(r"^## (.+?)$|```python\n(.*?)```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
NEEDS = {
    "Hugging Face datasets": "datasets",
    "DuckDB": "duckdb",
    "pandas": "pandas",
    "Ray Data": "ray",
    "PyTorch": "torch",
}


def examples() -> list[tuple[str, str]]:
    """(heading, code) of each example."""
    headings = [heading for heading, _ in EXAMPLES if heading]
    codes = [code for _, code in EXAMPLES if code]
    return list(zip(headings, codes, strict=True))


@pytest.mark.parametrize(("heading", "code"), examples(), ids=lambda value: value if value in NEEDS else "")
def test_example(
    heading: str, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip(NEEDS[heading], reason=f"{NEEDS[heading]} is not among the project's dependencies")
    dataset = tmp_path / "store" / "datasets" / "quickstart"
    table = pa.table({"id": ["a", "b"], "text": ["one", "two"], "source": ["s", "s"], "quality": [0.25, 0.75]})
    paths = ["000001-abc/data-00000-of-00001.parquet", "000002-def/data-00000-of-00001.parquet"]  # of two nights
    for path in paths:
        (dataset / path).parent.mkdir(parents=True)
        pq.write_table(table, dataset / path)
    (dataset / "000002-def" / "manifest.json").write_text(json.dumps({"files": [{"path": path} for path in paths]}))
    (dataset / "CURRENT").write_text("000002-def\n")
    monkeypatch.chdir(tmp_path)
    if heading == "Ray Data":
        import ray

        started = not ray.is_initialized()  # another test's cluster may be there
        if started:
            ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        exec(compile(START[1] + code, str(PAGE), "exec"), {"__name__": "__main__"})
    finally:
        if heading == "Ray Data" and started:
            ray.shutdown()
    assert "4" in capsys.readouterr().out, "documents of both"
