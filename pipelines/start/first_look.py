"""A first look at a newcomer's data: a sample of some megabytes, and the sources that would read all of them.

Files of every family (names that differ in numbers alone) are looked at, spread evenly; a file that cannot be read is
named and left to the run, which reports its error.
"""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.config.wording import did_you_mean, plural
from gristmill.pipelines.sources.formats import FORMATS, Reading, with_defaults
from gristmill.pipelines.sources.records import Utf8, lookup
from gristmill.pipelines.sources.spec import AUTO, Source
from gristmill.pipelines.sources.storage import FileRef
from gristmill.pipelines.start.place import FileGroup, Place, family_of, find_place, paths_of
from gristmill.pipelines.start.roles import FieldFacts, Roles, facts_of, roles_of

#: Files, records of a file, characters and seconds that a look takes at most.
FILES, RECORDS, CHARACTERS, SECONDS = 24, 400, 8_000_000, 6.0
#: Pages of a file, whose extraction takes long for their size.
PAGES = 60
_MOST_SOURCES = 4
_HEAD = 1 << 16  # bytes in which the header of a table is looked for


@dataclass(frozen=True)
class FoundSource:
    """A source as a recipe would have it, with a sample of its documents."""

    name: str
    paths: Sequence[str]  #: absolute, or URLs
    format: str
    roles: Roles
    facts: Sequence[FieldFacts]
    files: int
    size: int  #: bytes of its files as stored
    #: Documents of the sample as they would be read: id, text (or HTML), url, metadata.
    documents: Sequence[Mapping[str, Any]] = field(repr=False)

    @property
    def pages(self) -> bool:
        """Return whether its text is to be extracted from HTML."""
        return self.roles.html or (self.format in FORMATS and FORMATS[self.format].pages)


@dataclass(frozen=True)
class FirstLook:
    """The result of a first look."""

    place: Place
    sources: Sequence[FoundSource]
    looked: int  #: files
    seconds: float
    remarks: Sequence[str]  #: on what is left out, and what could not be read
    code: bool  #: whether most of the text is programs

    @property
    def pages(self) -> bool:
        """Return whether a source holds pages."""
        return any(source.pages for source in self.sources)

    @property
    def files(self) -> int:
        """Return the number of files of the kinds that were looked at."""
        return sum(len(group.files) for group in self.place.groups)

    @property
    def documents(self) -> int:
        """Return the number of documents in the sample."""
        return sum(len(source.documents) for source in self.sources)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, without the documents."""
        return {
            "place": self.place.path,
            "files": self.files,
            "bytes": sum(source.size for source in self.sources),
            "files_looked_at": self.looked,
            "documents_looked_at": self.documents,
            "seconds": round(self.seconds, 1),
            "sources": [_source_json(source) for source in self.sources],
            "remarks": list(self.remarks),
        }


def _source_json(source: FoundSource) -> dict[str, Any]:
    roles = source.roles
    taken = {roles.text: "html" if roles.html else "text"}
    taken |= {name: what for name, what in ((roles.id, "id"), (roles.url, "url")) if name is not None}
    taken |= {of: f"metadata {column}" for column, (of, _) in roles.metadata.items()}
    fields = [
        {"field": f.name, "share": f.share, "kind": f.kind, "characters": round(f.characters), "example": f.example}
        | {"taken_for": taken.get(f.name)}
        for f in source.facts
    ]
    return {
        "name": source.name,
        "paths": list(source.paths),
        "format": source.format,
        "files": source.files,
        "bytes": source.size,
        "documents_looked_at": len(source.documents),
        "reasons": dict(roles.reasons),
        "fields": fields,
    }


@dataclass
class _Family:
    """Files whose names differ in numbers alone, and what was read of some of them."""

    group: FileGroup
    files: list[FileRef]
    records: list[dict[str, Any]] = field(default_factory=list)


def first_look(path: str, base: str, folder: str, text: str | None = None, id: str | None = None) -> FirstLook:
    """Look at the files of a place.

    Args:
        path: A folder, file, glob or URL.
        base: The folder that a relative path starts from.
        folder: The folder of the recipe, where the store will be.
        text: The field of the text, where a person has chosen it.
        id: The field of the id.

    Raises:
        RecipeError: There is nothing, or nothing in which a text can be found.
    """
    began = time.monotonic()
    place = find_place(path, base)
    families = _families(place)
    remarks: list[str] = []
    looked = _read_samples(families, began, remarks)
    sources, without = _sources(place, families, folder, text, id)
    if not sources:
        raise RecipeError(_no_text(place, families, text, remarks))
    remarks += [f"left out, as no field in it looks like a text: {name}" for name in without]
    if place.others:
        kinds = ", ".join(f"{len(group.files):,} {group.suffix or group.format}" for group in place.others)
        remarks.append(f"left out beside them: {kinds}; a path that names them has them read")
    if place.unread:
        kinds = ", ".join(
            f"{n:,} {suffix}" for suffix, n in sorted(place.unread.items(), key=lambda item: -item[1])[:6]
        )
        remarks.append(f"left out, as gristmill does not read it: {kinds}")
    sizes = Counter({group.suffix: group.size for group in place.groups if group.is_code})
    code = 2 * sum(sizes.values()) > sum(group.size for group in place.groups)
    return FirstLook(place, sources, looked, time.monotonic() - began, remarks, code)


def _families(place: Place) -> list[_Family]:
    families: dict[tuple[str, str, str], _Family] = {}
    for group in place.groups:
        for file in group.files:
            folder, _, name = file.url.rpartition("/")
            varied = group.content == "records" and FORMATS[group.format].fields is None
            key = (group.format, group.suffix, f"{folder}/{family_of(name)}" if varied else "")
            families.setdefault(key, _Family(group, [])).files.append(file)
    return list(families.values())


def _read_samples(families: Sequence[_Family], began: float, remarks: list[str]) -> int:
    """Read the beginnings of some files of each family; return how many."""
    spread = families if len(families) <= FILES else [families[i * len(families) // FILES] for i in range(FILES)]
    each = max(1, FILES // len(spread))
    if any(family.group.format == "text" for family in spread):
        each = RECORDS // len(spread)  # a file is a document
    chosen = [(family, file) for family in spread for file in _evenly(family.files, each)]
    unreadable: list[str] = []
    looked = 0
    for family, file in chosen:
        if looked and time.monotonic() - began > SECONDS:
            break
        try:
            family.records += _records(family.group, file, CHARACTERS // len(chosen))
            looked += 1
        except GristmillError as error:
            unreadable.append(str(error))
    if unreadable:
        remarks.append(f"{plural(len(unreadable), 'file')} could not be read: {unreadable[0]}")
    return looked


def _evenly(files: Sequence[FileRef], count: int) -> list[FileRef]:
    if len(files) <= count:
        return list(files)
    return [files[i * (len(files) - 1) // max(1, count - 1)] for i in range(count)]


def _records(group: FileGroup, file: FileRef, characters: int) -> list[dict[str, Any]]:
    """Return records of the beginning of a file; damaged ones are left to the run."""
    format_ = FORMATS[group.format]
    options: dict[str, Any] = {"name": "look", "path": file.url, "format": group.format, "id": None}
    if format_.cells:  # a header is told from others by a name that stands in it
        options["text"] = next(
            (name for row in format_.preview(file, group.compression, _HEAD) for name in row), "text"
        )
    source = with_defaults(Source.model_validate(options))
    records: list[dict[str, Any]] = []
    read = 0
    most = PAGES if format_.pages else RECORDS
    with format_.open(Reading(file, group.compression, None, source, ())) as opened:
        for record in opened.records:
            if record.fault is None and isinstance(record.value, dict):
                records.append(record.value)
                read += sum(_length(value) for value in record.value.values())
            if len(records) == most or read > characters:
                break
    return records


def _length(value: Any) -> int:
    return len(value) if isinstance(value, str) else len(value.content) if isinstance(value, Utf8) else 0


def _sources(
    place: Place, families: Sequence[_Family], folder: str, text: str | None, id: str | None
) -> tuple[list[FoundSource], list[str]]:
    """Return the sources for files with the same roles of fields, and the names of families without a text."""
    by_reading: dict[Any, list[tuple[_Family, Roles]]] = {}
    without: list[str] = []
    unseen: list[_Family] = []
    for family in families:
        if not family.records:
            unseen.append(family)
            continue
        roles = _roles(family, text, id)
        if roles is None:
            without.append(family.files[0].name + (" and others" if len(family.files) > 1 else ""))
        else:
            page = FORMATS[family.group.format].pages
            key = (roles.reading, family.group.format if page or family.group.stated else AUTO)
            by_reading.setdefault(key, []).append((family, roles))
    if not by_reading:
        return [], without
    largest = max(by_reading, key=lambda key: sum(file.size for family, _ in by_reading[key] for file in family.files))
    if by_reading and unseen:  # families beyond the look are read as most of the others are
        by_reading[largest] += [(family, by_reading[largest][0][1]) for family in unseen]
    ordered = sorted(by_reading.values(), key=lambda of: (-len(of), of[0][0].files[0].url))[:_MOST_SOURCES]
    names: set[str] = set()
    return [_source(place, of, folder, id, names) for of in ordered], without


def _roles(family: _Family, text: str | None, id: str | None) -> Roles | None:
    format_ = FORMATS[family.group.format]
    if format_.fields is None:
        return roles_of(facts_of(family.records), text, id)
    url = "url" if "url" in format_.fields else None
    metadata = {name: (name, "string") for name in ("date", "language", "kind", "package") if name in format_.fields}
    if format_.pages:  # columns of its own
        metadata = {}
    what = {"text": f"the text of each {'page' if url else 'file'}", "id": "the record's, or the file's name"}
    return Roles("text", format_.pages, "id", url, metadata, what)  # type: ignore[arg-type]


def _source(
    place: Place, of: Sequence[tuple[_Family, Roles]], folder: str, id: str | None, names: set[str]
) -> FoundSource:
    families, first = [family for family, _ in of], of[0][1]
    records = [record for family in families for record in family.records]
    groups = list({id_: family.group for family in families for id_ in [family.group.suffix]}.values())
    files = sorted((file for family in families for file in family.files), key=lambda file: file.url)
    fixed = FORMATS[groups[0].format].fields is not None
    facts = facts_of(records)
    roles = first if fixed else roles_of(facts, first.text, id or first.id) or first
    if not fixed:
        unique = roles.id is None or next((f.distinct for f in facts if f.name == roles.id), 0) == 1.0
        kept = {name: of_ for name, of_ in roles.metadata.items() if all(name in r.metadata for _, r in of)}
        roles = Roles(
            first.text, first.html, roles.id if unique else None, first.url, kept, {**roles.reasons, **first.reasons}
        )
    stated = any(group.stated for group in groups) or FORMATS[groups[0].format].pages
    paths = paths_of(place, groups, files, _is_inside(folder, place))
    return FoundSource(
        _name(place, paths, names),
        paths,
        groups[0].format if stated else AUTO,
        roles,
        facts,
        len(files),
        sum(file.size for file in files),
        list(_documents(records, roles, FORMATS[groups[0].format].pages)),
    )


def _is_inside(folder: str, place: Place) -> bool:
    """Return whether the recipe's folder, and so the store, lies in the place or is it."""
    inner, outer = os.path.realpath(folder), os.path.realpath(place.root)
    return "://" not in place.root and "://" not in folder and f"{inner}/".startswith(f"{outer.rstrip('/')}/")


def _name(place: Place, paths: Sequence[str], names: set[str]) -> str:
    """Return a name for a source by the folder or file that it reads, different from those before it."""
    parts = [part for part in paths[0].split("/") if part and not any(sign in part for sign in "*?[")]
    stem = (parts[-1] if parts else "texts").partition(".")[0]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "texts"
    unique, n = name, 1
    while unique in names:
        n += 1
        unique = f"{name}-{n}"
    names.add(unique)
    return unique


def _documents(records: Sequence[Mapping[str, Any]], roles: Roles, page: bool) -> Iterator[dict[str, Any]]:
    for i, record in enumerate(records):
        content = lookup(dict(record), roles.text)
        if isinstance(content, Utf8):
            content = content.content.decode(errors="replace")
        if not isinstance(content, str):
            continue
        fields = {column: lookup(dict(record), of) for column, (of, _) in roles.metadata.items()}
        fields = {
            name: value if isinstance(value, str | int | float | bool) else None for name, value in fields.items()
        }
        url = None if roles.url is None else lookup(dict(record), roles.url)
        yield {"id": str(i), "html" if page or roles.html else "text": content, "url": url, **fields}


def _no_text(place: Place, families: Sequence[_Family], text: str | None, remarks: Sequence[str]) -> str:
    names = list(dict.fromkeys(f.name for family in families for f in facts_of(family.records)))
    if text is not None and names:
        return f"no record looked at in {place.path} has a field {text}{did_you_mean(text, names)}"
    if not names:
        return "; ".join([f"the files of {place.path} that were looked at hold no record", *remarks])
    fields = ", ".join(names[:12])
    return f"no field of the records in {place.path} looks like a text: there is {fields}. Name it with --text FIELD"
