"""File formats, one module for each: a new one is a file here and a row in FORMATS. Nothing here groups shards."""

from gristmill.pipelines.sources.formats.base import Format, Reading
from gristmill.pipelines.sources.formats.delimited import CSV, TSV
from gristmill.pipelines.sources.formats.json_records import JSON, JSONL
from gristmill.pipelines.sources.formats.pages import HTML, WARC
from gristmill.pipelines.sources.formats.parquet import PARQUET
from gristmill.pipelines.sources.formats.plain_text import TEXT
from gristmill.pipelines.sources.formats.python_env import PYTHON_ENV
from gristmill.pipelines.sources.formats.wet import WET
from gristmill.pipelines.sources.spec import Source

FORMATS: dict[str, Format] = {
    format_.name: format_ for format_ in (JSONL, JSON, PARQUET, CSV, TSV, TEXT, WET, WARC, HTML, PYTHON_ENV)
}

__all__ = ["FORMATS", "Format", "Reading", "holds_pages", "with_defaults"]


def with_defaults(source: Source) -> Source:
    """Return a source with the options that its format means where the recipe does not write them."""
    defaults = FORMATS[source.format].defaults if source.format in FORMATS else {}
    missing = {name: value for name, value in defaults.items() if name not in source.model_fields_set}
    return Source.model_validate({**source.model_dump(exclude_unset=True), **missing}) if missing else source


def holds_pages(source: Source) -> bool:
    """Return whether the documents of a source are HTML, whose text is to be extracted."""
    return source.html is not None or (source.format in FORMATS and FORMATS[source.format].pages)
