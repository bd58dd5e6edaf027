"""Files that lie beside the data of a folder and are no data: notes on it, licences, checksums, settings.

A folder that a path names stands for its data. A glob is taken as it is written, except that files whose names mark
them as descriptions are left out of what a `*` matches.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.sources.listing import Listed

#: Texts about a data set, by their names without an extension.
_NOTES = re.compile(
    r"(?i)(readme|licen[cs]es?|copying|copyright|notice|authors|contributors|contributing|changelog|changes|citation"
    r"|code_of_conduct|security|data_?card|dataset_?card|datasheet)([._-].*)?"
)
_NOTE_EXTENSIONS = frozenset({"", ".md", ".txt", ".text", ".rst", ".html", ".cff", ".pdf"})
#: Descriptions of a data set in JSON, as `datasets`, Croissant, Data Package and other tools write them.
_DESCRIPTIONS = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "croissant.json", "metadata.json"}
    | {"datapackage.json", "manifest.json", "package.json", "config.json"}
)
_CHECKSUMS = (".crc", ".md5", ".sha1", ".sha256", ".sha512", ".asc", ".sig")
#: Extensions of archives and compressed files that are not read.
PACKED = frozenset({".lzma", ".zip", ".7z", ".rar", ".tar", ".tgz", ".br", ".sz", ".snappy", ".lzo"})
#: Data in a form that is not read: it may be the data that was meant, so it is never passed over silently.
OTHER_DATA = frozenset(PACKED | {".arrow", ".feather", ".orc", ".avro", ".warc", ".xlsx", ".xls", ".tfrecord"})
#: Formats of notes and settings as well as of data.
_EITHER = ("text", "json")


class Divided(NamedTuple):
    """The files of a source: its data, and the other files beside it."""

    data: list[Listed]
    beside: list[Listed]


def divided(listed: Sequence[Listed], format_: str, format_of: Callable[[Listed], str | None]) -> Divided:
    """Return the data and the files beside it, divided folder by folder.

    `format_` is the source's format, `format_of` gives that of a file by its name, None where it is unknown. Where a
    folder holds only files that could lie beside data, they are the data. Raises RecipeError where there may be data in
    a form that is not read.
    """
    data = [entry for entry in listed if entry.folder is None]
    beside: list[Listed] = []
    folders: dict[str, list[Listed]] = {}
    for entry in listed:
        if entry.folder is not None:
            folders.setdefault(entry.folder, []).append(entry)
    for folder, files in folders.items():
        urls = _matched(files, format_, format_of) if folder.endswith("*") else _chosen(files, format_, format_of)
        data += [entry for entry in files if entry.file.url in urls]
        beside += [entry for entry in files if entry.file.url not in urls]
    return Divided(sorted(data, key=lambda found: found.file.url), beside)


def _matched(files: Sequence[Listed], format_: str, format_of: Callable[[Listed], str | None]) -> set[str]:
    """Return the URLs of files of a stated format, or of all files that a glob matches, without descriptions."""
    plain = [entry for entry in files if not describes(entry.file.url)]
    if format_ == "text" or not plain:
        return {entry.file.url for entry in files}
    if format_ == "auto" and all(format_of(entry) == "text" for entry in plain):
        plain = _of_a_kind(files, plain)
    return {entry.file.url for entry in plain}


def _of_a_kind(files: Sequence[Listed], texts: Sequence[Listed]) -> list[Listed]:
    """Return the files with an extension of the texts: README.md is a text among .md files, a note beside .txt."""
    extensions = {_extension(entry) for entry in texts}
    return [entry for entry in files if _extension(entry) in extensions]


def _chosen(files: Sequence[Listed], format_: str, format_of: Callable[[Listed], str | None]) -> set[str]:
    """Return the URLs of a folder's data."""
    if format_ != "auto":
        return _matched(files, format_, format_of)
    plain = [entry for entry in files if not describes(entry.file.url)]
    formats = {entry.file.url: format_of(entry) for entry in files}
    candidates = [entry for entry in plain if formats[entry.file.url]] or [f for f in files if formats[f.file.url]]
    if not candidates:
        return {entry.file.url for entry in files}  # each is reported as a file of unknown format
    for entry in plain:
        if formats[entry.file.url] is None and _extension(entry) in OTHER_DATA:
            raise RecipeError(
                f"{entry.file.name}: {_extension(entry)} files are not read; unpack or convert it, or make `path` "
                "match the other files alone"
            )
    sizes: Counter[str] = Counter()
    for entry in candidates:
        sizes[str(formats[entry.file.url])] += entry.file.size + 1
    main = max(sorted(sizes), key=sizes.__getitem__)
    if main == "text":
        candidates = [entry for entry in _of_a_kind(files, candidates) if formats[entry.file.url]]
    data_formats = {main, *(form for form in sizes if form not in _EITHER)}
    return {entry.file.url for entry in candidates if formats[entry.file.url] in data_formats}


def _extension(found: Listed) -> str:
    return os.path.splitext(found.file.url)[1].lower()


def describes(url: str) -> bool:
    """Return whether a file's name says that it is about a data set and no part of it."""
    name = url.rsplit("/", 1)[-1].lower()
    stem, extension = os.path.splitext(name)
    if name in _DESCRIPTIONS or name.endswith(_CHECKSUMS):
        return True
    return extension in _NOTE_EXTENSIONS and _NOTES.fullmatch(stem) is not None
