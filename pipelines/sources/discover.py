"""From the sources of a recipe to shards: finding files, choosing their formats, cutting large ones, grouping small.

Shards come in path order, in whatever order a store lists its files.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from gristmill.operators.base import digest_of
from gristmill.operators.errors import RecipeError
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.sources import dated
from gristmill.pipelines.sources.beside import PACKED, divided
from gristmill.pipelines.sources.formats import FORMATS
from gristmill.pipelines.sources.lines import Part
from gristmill.pipelines.sources.listing import CONNECTIONS, FoundFiles, Listing, discover_files, distinct
from gristmill.pipelines.sources.partitions import shared_keys
from gristmill.pipelines.sources.spec import AUTO, Source
from gristmill.pipelines.sources.storage import FileRef
from gristmill.pipelines.sources.streams import COMPRESSIONS, Compression
from gristmill.pipelines.storage.files import is_local
from gristmill.pipelines.storage.locations import absolute

__all__ = [
    "Discovery",
    "FileRef",
    "ShardSpec",
    "SourceFiles",
    "discover",
    "discover_files",
    "format_by_name",
    "group_bytes",
    "grouped",
    "stated_format",
]

#: Small files of a source are read together, since a shard is one task: at most GROUP_FILES in one shard, and at most
#: GROUP_BYTES as stored. Text files, each of which is a document, count as small at any size.
GROUP_FILES = 4096
GROUP_BYTES = 16_000_000
#: Files of at most this size count as small, where a source has more than FEW_FILES such files of a kind.
SMALL_BYTES = 1_000_000
#: If a source has at most this many text files, those that consist of many short lines are reported.
FEW_TEXTS = 3
FEW_FILES = 64


class ShardSpec(BaseModel):
    """The input of one shard: a file, a part of one, or consecutive small files."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    files: tuple[FileRef, ...]
    format: str
    compression: Compression = "none"
    part: Part | None = None  #: bytes [start, stop) of JSON lines, row groups [start, stop) of Parquet

    @property
    def name(self) -> str:
        """Return the file's name for display, the same for all its parts; of several files the first and the last."""
        first, last = self.files[0].name, self.files[-1].name
        return first if len(self.files) == 1 else f"{first} ... {last}"

    def singly(self) -> list[ShardSpec]:
        """Return one spec for each of its files."""
        return [self.model_copy(update={"files": (file,)}) for file in self.files]

    def identity(self) -> dict[str, Any]:
        """Return all that distinguishes this shard from others, as JSON: its files, their states, the part of them."""
        exact = [[file.url, file.size, file.version] for file in self.files]
        identity = {"files": exact, "format": self.format, "compression": self.compression, "part": self.part}
        version = FORMATS[self.format].reading
        return {**identity, "reading": version} if version > 1 else identity

    def to_json(self) -> dict[str, Any]:
        """Return the shard as JSON; `ShardSpec.model_validate` reads it back."""
        return self.model_dump(mode="json")


class _FileKind(NamedTuple):
    file: FileRef
    format: str
    compression: Compression


@dataclass(frozen=True)
class SourceFiles:
    """The shards that a source reads, and the files that it names and does not read."""

    source: Source
    specs: Sequence[ShardSpec]
    again: Sequence[tuple[str, str]]  #: names of files that an earlier source reads the same way, with its name
    linked: Sequence[str]  #: names of links to files that it reads anyway
    lined: Sequence[str]  #: names of text files of many short lines, each of which is read as one document
    passed: Sequence[str]  #: names of files (folders with a slash at their end) hidden or beside its data
    lacking: Sequence[str] = ()  #: paths of nights that have no files


class Discovery:
    """A search for the files of sources, one source after the other.

    A file that several sources read the same way is read for the first of them. `base` is the folder or URL that
    relative paths start from, `nights` are the dates for paths that have one.
    """

    def __init__(self, base: str, nights: Sequence[date] = ()) -> None:
        self._base, self._nights = base, nights
        self._listing = Listing(base)
        self._readers: dict[tuple[str, str], str] = {}  # real path and way of reading -> name of the source
        self._ahead: dict[str, Future[FoundFiles]] = {}

    def list_ahead(self, sources: Sequence[Source]) -> None:
        """List remote sources concurrently; the failure of one is raised by `find`."""
        far = [source for source in sources if _finder(source) is None and self._is_far(source)]
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            self._ahead = {source.name: pool.submit(self._matches, source) for source in far}

    def _matches(self, source: Source) -> FoundFiles:
        """Return the files that the paths of a source stand for; nights without any are told, unless all are."""
        if not dated.is_dated(source.patterns()):
            return self._listing.find(source.patterns())
        nights = dated.expanded(source.patterns(), self._nights)
        return self._listing.find(nights, may_lack={path for path, night in nights.items() if night is not None})

    def _is_far(self, source: Source) -> bool:
        return any(not is_local(absolute(pattern, self._base)) for pattern in source.patterns())

    def find(self, source: Source) -> SourceFiles:
        """Return the shards of the next source, in the order of paths and parts.

        Raises RecipeError where a path matches nothing, a format is unknown or it lacks the fields that are asked for;
        RetryableError where a store does not answer.
        """
        if (find := _finder(source)) is not None:
            _check_fields(source, source.format, source.patterns()[0])
            kinds = [_FileKind(file, source.format, "none") for file in find(source.patterns(), self._base)]
            own, again = self._own(source, [(kind, os.path.realpath(kind.file.url)) for kind in kinds])
            return SourceFiles(source, list(_folder_shards(source, own)), again, (), (), ())
        ahead = self._ahead.pop(source.name, None)
        matches = self._matches(source) if ahead is None else ahead.result()
        among = divided(matches.files, source.format, lambda listed: format_by_name(listed.file)[0])
        files = distinct(among.data)
        file_kinds = [(_FileKind(listed.file, *_kind_of(source, listed.file)), listed.real) for listed in files]
        by_format: dict[str, list[FileRef]] = {}
        for kind, _ in file_kinds:
            by_format.setdefault(kind.format, []).append(kind.file)
        for format_, of_format in by_format.items():
            _check_fields(source, format_, of_format[-1].name, of_format)
        own, again = self._own(source, file_kinds)
        urls = {listed.file.url for listed in files}
        linked = [listed.file.name for listed in among.data if listed.file.url not in urls]
        real = {listed.real for listed in files}
        beside = [listed.file.name for listed in among.beside if listed.real not in real]
        passed = sorted([*matches.passed, *beside])
        return SourceFiles(source, _shards(source, own), again, linked, _lined(source, own), passed, matches.lacking)

    def _own(
        self, source: Source, files: Sequence[tuple[_FileKind, str]]
    ) -> tuple[list[_FileKind], list[tuple[str, str]]]:
        """Return the files that no earlier source reads the same way, and the others with that source's name."""
        own: list[_FileKind] = []
        again: list[tuple[str, str]] = []
        readings: dict[tuple[str, str], str] = {}
        for kind, real in files:
            way = (kind.format, kind.compression)
            if way not in readings:
                readings[way] = _reading(source, kind)
            first = self._readers.setdefault((real, readings[way]), source.name)
            if first == source.name:
                own.append(kind)
            else:
                again.append((kind.file.name, first))
        return own, again


def discover(sources: Sequence[Source], base: str) -> list[ShardSpec]:
    """Return the shards of the sources, in the order of sources, paths and parts; see `Discovery`."""
    discovery = Discovery(base)
    return [spec for source in sources for spec in discovery.find(source).specs]


def _lined(source: Source, files: Sequence[_FileKind]) -> list[str]:
    """Return the names of text files of many short lines, if the source has few and reads each as one document."""
    texts = [kind for kind in files if _is_document(kind.format, source)]
    if len(texts) > FEW_TEXTS:
        return []
    return [kind.file.name for kind in texts if FORMATS[kind.format].has_many_lines(kind.file, kind.compression)]


def _reading(source: Source, kind: _FileKind) -> str:
    """Return a digest of the way a source reads a file: sources with equal digests get equal documents from it."""
    variant = source.model_copy(update={"format": kind.format})
    return digest_of([variant.reading_fingerprint(), kind.compression])


def _shards(source: Source, files: Sequence[_FileKind]) -> list[ShardSpec]:
    small = [kind for kind in files if _is_small(kind, source)]
    counts = Counter((kind.format, kind.compression) for kind in small)
    group_kinds = [kind for kind, n in counts.items() if _is_document(kind[0], source) or n > FEW_FILES]
    grouping = [kind for kind in small if (kind.format, kind.compression) in group_kinds]
    urls = {kind.file.url for kind in grouping}
    alone = [kind for kind in files if kind.file.url not in urls]
    large = [kind for kind in alone if kind.file.size > source.part_bytes]
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        parts = dict(zip(large, pool.map(lambda kind: _parts(kind, source), large), strict=True))
    shards = [
        ShardSpec(source=source.name, files=(kind.file,), format=kind.format, compression=kind.compression, part=part)
        for kind in alone
        for part in parts.get(kind, [None])
    ]
    for format_, compression in group_kinds:
        of_kind = [kind.file for kind in grouping if (kind.format, kind.compression) == (format_, compression)]
        for group in grouped(of_kind, group_bytes(source, format_)):
            shards.append(ShardSpec(source=source.name, files=group, format=format_, compression=compression))
    return sorted(shards, key=lambda spec: (spec.files[0].url, spec.part or (0, 0)))


def _is_document(format_: str, source: Source) -> bool:
    """Return whether a file of a format is one document, so that it counts as small at any size."""
    return FORMATS[format_].is_document(source)


def _is_small(kind: _FileKind, source: Source) -> bool:
    if _is_document(kind.format, source):
        return True
    unknown = kind.file.size == 0 and "://" in kind.file.url
    return kind.file.size <= min(SMALL_BYTES, int(source.part_bytes)) and not unknown


def group_bytes(source: Source, format_: str) -> int:
    """Return the size in bytes up to which files are read together as one shard."""
    part_bytes = int(source.part_bytes)
    return part_bytes if _is_document(format_, source) else min(GROUP_BYTES, part_bytes)


def _finder(source: Source) -> Callable[[Sequence[str], str], list[FileRef]] | None:
    """Return the function by which a source's format finds its own files; None where they are listed."""
    return None if source.format == AUTO else FORMATS[source.format].find


def _folder_shards(source: Source, found: Sequence[_FileKind]) -> Iterator[ShardSpec]:
    """Yield shards of files that a format found itself, folder by folder."""
    size = min(int(source.part_bytes), FORMATS[source.format].group_bytes or GROUP_BYTES)
    for _, folder in groupby((kind.file for kind in found), lambda file: os.path.dirname(file.url)):
        for group in grouped(list(folder), size):
            yield ShardSpec(source=source.name, files=group, format=source.format)


def grouped(files: Sequence[FileRef], size: int) -> Iterator[tuple[FileRef, ...]]:
    """Yield runs of files to read as one shard: at most `size` bytes, or one larger file, and at most GROUP_FILES."""
    start = total = 0
    for i, file in enumerate(files):
        if i > start and (total + file.size > size or i - start == GROUP_FILES):
            yield tuple(files[start:i])
            start, total = i, 0
        total += file.size
    if files:
        yield tuple(files[start:])


def _kind_of(source: Source, file: FileRef) -> tuple[str, Compression]:
    """Return format and compression of a file, by its name where the recipe does not say."""
    format_, compression, extension = format_by_name(file)
    if extension in PACKED:
        raise RecipeError(f"{file.name}: {extension} files are not read; unpack it, or pack it as .gz, .zst or .bz2")
    if source.format != AUTO:
        format_ = source.format
    elif format_ is None and (stated := stated_format(extension)) is not None:
        raise RecipeError(
            f"{file.name} holds pages: write `format: {stated}` in the source, and `extract: trafilatura` in the recipe"
        )
    elif format_ is None:
        names = ", ".join(format_.name for format_ in FORMATS.values() if format_.suffixes)
        raise RecipeError(
            f"the format of {file.name} cannot be told from its name; set `format` to one of {names}, or make `path` "
            "match the files that hold documents"
        )
    if FORMATS[format_].compressed_inside and compression != "none":
        packed = os.path.splitext(_lower_name(file))[1]
        raise RecipeError(
            f"{file.name}: a {format_.capitalize()} file is compressed inside; unpack the {packed} file around it"
        )
    return format_, compression


def format_by_name(file: FileRef) -> tuple[str | None, Compression, str]:
    """Return format (None: unknown) and compression of a file by its name, and the extension that gives the format."""
    stem, extension = os.path.splitext(_lower_name(file))
    compression: Compression = COMPRESSIONS.get(extension, "none")
    if compression != "none":
        extension = os.path.splitext(stem)[1]
    format_ = next((format_.name for format_ in FORMATS.values() if extension in format_.suffixes), None)
    return format_, compression, extension


def stated_format(extension: str) -> str | None:
    """Return the format that a recipe would have to state for files with an extension, if there is one."""
    return next((format_.name for format_ in FORMATS.values() if extension in format_.stated_suffixes), None)


def _lower_name(file: FileRef) -> str:
    return file.name.lower().partition("?")[0] if "://" in file.url else file.name.lower()


def _check_fields(source: Source, format_: str, example: str, files: Sequence[FileRef] = ()) -> None:
    if source.unit != "file" and not FORMATS[format_].units:
        raise RecipeError(
            f"`unit: {source.unit}` says what a document of a text file is, and {example} is read as {format_}; "
            "leave `unit` out, or set `format: text`"
        )
    fields = FORMATS[format_].fields
    if fields is None:
        return
    source_fields = [source.content, source.id, source.url, *(field for _, field, _ in source.metadata_types())]
    keys = shared_keys(files)
    for field in source_fields:
        if field is not None and field not in fields and field not in keys:
            raise RecipeError(
                f"{example} is read as {format_}, whose records have the fields {', '.join(fields)}; "
                f"there is no {field}{did_you_mean(field, fields)}"
            )


def _parts(kind: _FileKind, source: Source) -> list[Part | None]:
    """Return the parts that a large file is cut into; [None] where it is read whole."""
    size, part_bytes = kind.file.size, int(source.part_bytes)
    n = -(-size // part_bytes)
    if n < 2 or kind.compression != "none":
        return [None]
    return FORMATS[kind.format].parts(kind.file, source)
