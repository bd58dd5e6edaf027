"""One entry of `sources` in a recipe: the paths of documents, the way to read them, the metadata to keep."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field

from gristmill.operators.base import digest_of
from gristmill.operators.columns import ID, TEXT, TYPES, URL

AUTO = "auto"  #: the format of a source whose files are each of the format that their name says
MetadataType = Literal["string", "int", "float", "bool", "json"]
Quoting = Literal["auto", "double", "none"]
Unit = Literal["file", "paragraph", "line"]
Damaged = Literal["refuse", "skip"]

#: Raise it when the same file gives other documents or other rejects than before: measures are then made again.
READING_VERSION = 1

METADATA_TYPES: dict[MetadataType, pa.DataType] = {
    "string": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "json": pa.string(),  # the value as JSON text
}

#: Names of the pipeline's own columns: in batches, in measures of every run, in decisions.
RESERVED = frozenset(
    {*TYPES, "kept", "rule", "condition", "value", "limit", "survivor", "tokens", "text_hash", "shard", "reason"}
)


class MetadataField(BaseModel):
    """A field of the records that is carried along as a column."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str = Field(min_length=1, description="Name of the field; `meta.lang` is the field lang inside meta.")
    type: MetadataType = "string"


def _expand_metadata(given: Any) -> Any:
    """Return `[lang]`, `{year: int}` or `{lang: {field: meta.lang}}` as {column: {field, type}}."""
    if isinstance(given, list):
        if (other := next((name for name in given if not isinstance(name, str)), None)) is not None or None in given:
            raise ValueError(
                f"{_name_problem(other)}; write [lang, year], or {{year: int, lang: {{field: meta.lang}}}}"
            )
        if repeated := {name for name in given if given.count(name) > 1}:
            raise ValueError(f"metadata names {', '.join(sorted(map(str, repeated)))} more than once")
        given = {name: {"field": name} for name in given}
    if not isinstance(given, dict):
        return given
    for column, value in given.items():
        if (problem := _name_problem(column)) is not None:
            field = value["field"] if isinstance(value, dict) and "field" in value else column
            raise ValueError(f"{problem}; name the column otherwise, as in metadata: {_renamed(str(field))}")
    return {
        column: {"field": column, "type": value}
        if isinstance(value, str)
        else ({"field": column, **value} if isinstance(value, dict) else value)
        for column, value in given.items()
    }


def _name_problem(column: Any) -> str | None:
    if not isinstance(column, str) or not column:
        return f"metadata column {column!r:.100} is not a name"
    if column in RESERVED:
        return f"metadata column {column!r} is a name that gristmill gives to a column of its own"
    if "." in column:
        return f"metadata column {column!r} has a dot, which an expression could not name"
    return None


def _renamed(field: str) -> str:
    column = re.sub(r"\W+", "_", field.rsplit(".", 1)[-1]) or "column"
    return f"{{{'original_' + column if column in RESERVED else column}: {{field: {field}}}}}"


Metadata = Annotated[
    dict[str, MetadataField],
    BeforeValidator(_expand_metadata, json_schema_input_type=list[str] | dict[str, MetadataType | MetadataField]),
]
#: A number of bytes; `256MB` is 256,000,000 and `256MiB` 268,435,456.
Size = ByteSize


class Source(BaseModel):
    """A set of files that hold documents, and how a record becomes a document.

    A field's name may lead into nested records: `meta.lang` is the field lang inside meta, unless a field is called
    `meta.lang` itself.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(min_length=1, description="What the column `source` says of these documents.")
    path: str | Annotated[list[str], Field(min_length=1)] = Field(
        description="Files, folders or globs, relative to the recipe's folder, or URLs of any fsspec store. "
        "For python_env a site-packages folder, or `auto` for the running interpreter's."
    )
    format: str = Field(default=AUTO, description="`auto` goes by the file's name.")
    unit: Unit = Field(
        default="file",
        description="What a document of a text file is: the file, a paragraph (lines between blank lines) or a line. "
        "Paragraphs and lines are called by the file and the byte where they begin: notes.txt@1024.",
    )
    text: str = Field(default=TEXT, min_length=1, description="Field that holds the text.")
    id: str | None = Field(default=ID, description="Field that holds the id; where there is none, an id is derived.")
    url: str | None = Field(default=None, description="Field that holds the URL; without it there is no column url.")
    metadata: Metadata = Field(
        default_factory=dict,
        description="Fields to carry along: [lang, year], or {year: int, lang: {field: meta.lang, type: string}}.",
    )
    quoting: Quoting = Field(
        default="auto",
        description="CSV and TSV: `double` where cells may stand in double quotes, `none` where quotes are text; "
        "`auto` is `double` for CSV and `none` for TSV.",
    )
    part_bytes: Size = Field(
        default=Size(128_000_000),
        gt=0,
        description="Larger files are read as several shards where their format allows it (JSON lines, Parquet, text "
        "files by lines).",
    )
    document_bytes: Size = Field(
        default=Size(256_000_000), gt=0, description="A larger document is quarantined; of pages, one of 10 MB."
    )
    html: str | None = Field(
        default=None,
        description="Field that holds HTML, in place of `text`: the recipe's `extract` says how its text is found.",
    )
    license: str | None = Field(
        default=None, min_length=1, description="Licence of the texts, for the dataset card: an SPDX name, or words."
    )
    damaged: Damaged = Field(
        default="refuse",
        description="What becomes of a WARC file in which something is damaged: it is refused, or (`skip`) what is "
        "whole is read and what is not goes to quarantine.",
    )

    @property
    def content(self) -> str:
        """Return the field that holds the text, or the HTML whose text is extracted."""
        return self.text if self.html is None else self.html

    def patterns(self) -> list[str]:
        """Return the paths as a list."""
        return [self.path] if isinstance(self.path, str) else list(self.path)

    def metadata_types(self) -> Iterator[tuple[str, str, MetadataType]]:
        """Yield (column, field, type) of each metadata column, in recipe order."""
        for column, entry in self.metadata.items():
            yield column, entry.field, entry.type

    def fields(self) -> list[str]:
        """Return the fields that are read from records, that of the text first, each once."""
        named = [self.content, self.id, self.url, *(field for _, field, _ in self.metadata_types())]
        return [field for field in dict.fromkeys(named) if field is not None]

    def schema(self) -> pa.Schema:  # type: ignore[override]
        """Return the columns of documents without `row`: id, url if asked for, metadata, text (never null)."""
        columns = [pa.field(ID, TYPES[ID])]
        if self.url is not None:
            columns.append(pa.field(URL, TYPES[URL]))
        columns += [pa.field(column, METADATA_TYPES[type_]) for column, _, type_ in self.metadata_types()]
        return pa.schema([*columns, pa.field(TEXT, TYPES[TEXT])])

    def reading_fingerprint(self) -> str:
        """Return a hex digest of all that affects the reading of a given shard; name, paths and licence do not."""
        defaults = {"unit": "file", "quoting": "auto", "html": None, "damaged": "refuse"}
        as_ever = {
            field for field, value in defaults.items() if getattr(self, field) == value
        }  # left out: digests from before these fields stay valid
        decisive: Mapping[str, Any] = self.model_dump(
            mode="json", exclude={"name", "path", "part_bytes", "license", *as_ever}
        )
        return digest_of([READING_VERSION, decisive, list(self.metadata)])
