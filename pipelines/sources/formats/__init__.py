"""File formats, one module for each: a new one is a file here and a row in FORMATS. Nothing here groups shards."""

from gristmill.pipelines.sources.formats.base import Format, Reading
from gristmill.pipelines.sources.formats.delimited import CSV, TSV
from gristmill.pipelines.sources.formats.json_records import JSON, JSONL
from gristmill.pipelines.sources.formats.parquet import PARQUET
from gristmill.pipelines.sources.formats.plain_text import TEXT
from gristmill.pipelines.sources.formats.python_env import PYTHON_ENV
from gristmill.pipelines.sources.formats.wet import WET

FORMATS: dict[str, Format] = {
    format_.name: format_ for format_ in (JSONL, JSON, PARQUET, CSV, TSV, TEXT, WET, PYTHON_ENV)
}

__all__ = ["FORMATS", "Format", "Reading"]
