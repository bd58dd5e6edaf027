"""The fields of a newcomer's records: what each holds, and for what it is taken (text, id, URL, metadata)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gristmill.pipelines.config.wording import excerpt
from gristmill.pipelines.sources.preview import Look
from gristmill.pipelines.sources.records import Utf8, lookup
from gristmill.pipelines.sources.spec import RESERVED, MetadataType

# fmt: off
#: Names of fields that hold the text, likeliest first; other long strings come after them.
TEXT_NAMES = [
    "text", "content", "body", "article", "document", "raw_content", "full_text", "fulltext", "maintext",
    "text_content", "page_content", "passage", "paragraph", "story", "post", "comment", "review", "review_body",
    "message", "description", "abstract", "summary", "answer", "completion", "output", "code",
]
#: Names of fields that hold an id, if its values are all different.
ID_NAMES = [
    "id", "_id", "uid", "uuid", "guid", "doc_id", "docid", "document_id", "key", "record_id", "page_id",
    "article_id", "post_id", "paper_id", "review_id", "item_id", "warc_record_id", "hash", "sha1", "sha256",
    "digest", "filename", "file_name", "file", "path",
]
URL_NAMES = [
    "url", "uri", "link", "permalink", "href", "source_url", "page_url", "web_url", "canonical_url",
    "warc_target_uri",
]
#: Names of fields that are carried along whatever they hold, in this order; others are where they have few values.
METADATA_NAMES = [
    "lang", "language", "source", "subset", "domain", "category", "topic", "label", "label_name", "title", "author",
    "date", "created", "timestamp", "year", "license", "licence", "split",
]
# fmt: on
#: A text is at least this share as long as the longest string of a record, else that is taken.
_LONG = 0.2
#: A field of another name needs texts of this many characters on average to be taken for the text.
_LEAST_CHARACTERS = 30
#: A field belongs to the metadata if this share of the records have it, so that few lack a column.
_NEARLY_ALL = 0.99
_MOST_METADATA, _FEW_VALUES, _SHORT = 5, 20, 80
_TAG = re.compile(r"</?(?:html|body|div|p|span|br|a|li|td|h[1-6])\b[^>]{0,200}>", re.IGNORECASE)
_FEWEST_TAGS = 3
_MISSING = object()


@dataclass(frozen=True)
class FieldFacts:
    """Contents of one field in the records looked at."""

    name: str  #: nested ones with dots
    present: float  #: share of the records that have it
    share: float  #: of the records that have a value in it, which is not null
    kind: str  #: text, whole number, number, true or false, list, bytes, other
    characters: float  #: mean length of its texts
    distinct: float  #: share of its values that are different
    values: int  #: number of different values
    example: str
    html: bool  #: whether its texts are HTML
    urls: bool  #: whether its texts are URLs

    @property
    def last_name(self) -> str:
        """Return the innermost name, in small letters."""
        return self.name.rsplit(".", 1)[-1].lower()


@dataclass(frozen=True)
class Roles:
    """The fields that a source reads, and why."""

    text: str
    html: bool = False  #: whether the text is HTML, whose text is to be extracted
    id: str | None = None
    url: str | None = None
    metadata: Mapping[str, tuple[str, MetadataType]] = field(default_factory=dict)  #: column to field and type
    reasons: Mapping[str, str] = field(default_factory=dict)  #: why, by `text` and `id`

    @property
    def reading(self) -> tuple[str, bool, str | None, str | None]:
        """Return what sources of one recipe differ by: files that agree in it are one source."""
        return self.text, self.html, self.id, self.url


def facts_of(records: Sequence[Mapping[str, Any]]) -> list[FieldFacts]:
    """Return what records hold, field by field, in the order of their first appearance."""
    names = list(Look("", [dict(record) for record in records], declared=True).fields())
    found = [_facts(name, [lookup(dict(record), name, _MISSING) for record in records]) for name in names]
    return [facts for facts in found if facts is not None]


def _facts(name: str, values: Sequence[Any]) -> FieldFacts | None:
    there = sum(value is not _MISSING for value in values)
    present = [_plain(value) for value in values if value is not _MISSING and value is not None]
    if any(isinstance(value, dict) for value in present):
        return None  # its fields stand for it
    kinds = {_kind(value) for value in present}
    kind = kinds.pop() if len(kinds) == 1 else "number" if kinds == {"number", "whole number"} else "other"
    texts = [value for value in present if isinstance(value, str) and value.strip()]
    different = len({str(value) for value in present})
    return FieldFacts(
        name,
        present=there / max(1, len(values)),
        share=len(present) / max(1, len(values)),
        kind=kind,
        characters=sum(map(len, texts)) / max(1, len(texts)),
        distinct=different / max(1, len(present)),
        values=different,
        example=excerpt(str(next(iter(texts or present), "")), 60),
        html=_share(texts, lambda text: len(_TAG.findall(text[:20_000])) >= _FEWEST_TAGS) > 0.5,
        urls=_share(texts, lambda text: re.match(r"https?://\S+$", text) is not None) > 0.9,
    )


def _plain(value: Any) -> Any:
    return value.content.decode(errors="replace") if isinstance(value, Utf8) else value


def _kind(value: Any) -> str:
    kinds = {bool: "true or false", int: "whole number", float: "number", str: "text", list: "list", bytes: "bytes"}
    return kinds.get(type(value), "other")


def _share(texts: Sequence[str], holds: Any) -> float:
    return sum(map(bool, map(holds, texts))) / len(texts) if texts else 0.0


def roles_of(facts: Sequence[FieldFacts], text: str | None = None, id: str | None = None) -> Roles | None:
    """Return which field is taken for what; `text` and `id` are names that a person has chosen. None: there is no text.

    Deterministic: by the names of fields, then by the length of their texts.
    """
    chosen, why = _text(facts, text)
    if chosen is None:
        return None
    id_field, id_why = _id(facts, id)
    url = next((f.name for f in _by_names(facts, URL_NAMES) if f.kind == "text" and f.urls), None)
    if url is None:
        url = next((f.name for f in facts if f.urls and f.name != chosen.name and f.share >= _NEARLY_ALL), None)
    metadata = _metadata(facts, {chosen.name, id_field, url})
    return Roles(chosen.name, chosen.html, id_field, url, metadata, {"text": why, "id": id_why})


def texts_of(facts: Sequence[FieldFacts]) -> list[FieldFacts]:
    """Return the fields that may hold the text, likeliest first."""
    strings = [f for f in facts if f.kind == "text" and f.share > 0.5 and not f.urls and f.characters > 0]
    longest = max((f.characters for f in strings), default=0.0)
    by_name = [f for f in _by_names(strings, TEXT_NAMES) if f.characters >= _LONG * longest]
    other = [f for f in strings if f not in by_name and f.characters >= _LEAST_CHARACTERS]
    rest = sorted(other, key=lambda f: -f.characters)
    ranked = [*by_name, *rest]
    plain = [f for f in ranked if not f.html and f.characters >= _LONG * longest]
    return plain + [f for f in ranked if f not in plain]


def _text(facts: Sequence[FieldFacts], named: str | None) -> tuple[FieldFacts | None, str]:
    if named is not None:
        return next((f for f in facts if f.name == named), None), "you named it"
    ranked = texts_of(facts)
    if not ranked:
        return None, ""
    first = ranked[0]
    by_name = "by its name" if first.last_name in TEXT_NAMES else "the longest texts"
    return first, f"{by_name}: {first.characters:,.0f} characters on average"


def _id(facts: Sequence[FieldFacts], named: str | None) -> tuple[str | None, str]:
    if named is not None:
        return named, "you named it"
    for f in _by_names(facts, ID_NAMES):
        if f.kind in ("text", "whole number") and f.share >= _NEARLY_ALL and f.distinct == 1.0:
            return f.name, "by its name; no value occurs twice"
    return None, "no field has a value of its own in each record: ids are made of file and row"


def _metadata(facts: Sequence[FieldFacts], taken: set[str | None]) -> dict[str, tuple[str, MetadataType]]:
    types: dict[str, MetadataType] = {"whole number": "int", "number": "float", "true or false": "bool"}
    fit = [
        f
        for f in facts
        if f.name not in taken and f.present >= _NEARLY_ALL and f.share >= 0.5 and f.characters <= _SHORT
    ]
    fit = [f for f in fit if f.kind in ("text", *types)]
    named = list(_by_names(fit, METADATA_NAMES))
    few = [f for f in fit if f not in named and f.values <= _FEW_VALUES and f.distinct < 0.2]
    columns: dict[str, tuple[str, MetadataType]] = {}
    for f in [*named, *few][:_MOST_METADATA]:
        column = re.sub(r"\W+", "_", f.name.rsplit(".", 1)[-1]) or "column"
        column = f"original_{column}" if column in RESERVED else column
        columns.setdefault(column, (f.name, types.get(f.kind, "string")))
    return columns


def _by_names(facts: Sequence[FieldFacts], names: Sequence[str]) -> list[FieldFacts]:
    """Return the fields whose innermost name is one of some, in the order of these names."""
    known = [f for f in facts if f.last_name.replace("-", "_") in names]
    return sorted(known, key=lambda f: names.index(f.last_name.replace("-", "_")))
