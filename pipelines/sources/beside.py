"""What a folder holds beside its data: notes on it, licences, checksums, settings.

A folder that a path names stands for its data. A glob says itself what it means: only what `*` happens to match and
what by its name is a description is left out of it.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gristmill.operators.errors import RecipeError
from gristmill.pipelines.sources.listing import Listed

#: Texts on a data set, by their names without an extension.
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
#: Files that others are packed in, by programs whose output is not read.
PACKED = frozenset({".lzma", ".zip", ".7z", ".rar", ".tar", ".tgz", ".br", ".sz", ".snappy", ".lzo"})
#: Data that is not read in this form: it may be what was meant, so that nobody passes over it in silence.
_OTHER_DATA = frozenset(PACKED | {".arrow", ".feather", ".orc", ".avro", ".warc", ".xlsx", ".xls", ".tfrecord"})
#: Formats in which people write notes and settings as well as data.
_EITHER = ("text", "json")


class Divided(NamedTuple):
    """The files of a source: its data, and what lies beside it."""

    data: list[Listed]
    beside: list[Listed]


def divided(listed: Sequence[Listed], format_: str, format_of: Callable[[Listed], str | None]) -> Divided:
    """Tell data from what lies beside it, for each folder that paths name.

    `format_` is the source's format, `format_of` that of a file by its name, None where it cannot be told. A folder
    that holds nothing else than what could lie beside data holds data. Raises RecipeError where there may be data in a
    form that is not read.
    """
    data = [found for found in listed if found.folder is None]
    beside: list[Listed] = []
    folders: dict[str, list[Listed]] = {}
    for found in listed:
        if found.folder is not None:
            folders.setdefault(found.folder, []).append(found)
    for folder, files in folders.items():
        chosen = _matched(files, format_, format_of) if folder.endswith("*") else _chosen(files, format_, format_of)
        data += [found for found in files if found.file.url in chosen]
        beside += [found for found in files if found.file.url not in chosen]
    return Divided(sorted(data, key=lambda found: found.file.url), beside)


def _matched(files: Sequence[Listed], format_: str, format_of: Callable[[Listed], str | None]) -> set[str]:
    """The URLs of files of a stated format, or of all files that a glob matches, but for descriptions of them."""
    plain = [found for found in files if not _describes(found.file.url)]
    if format_ == "text" or not plain:
        return {found.file.url for found in files}
    if format_ == "auto" and all(format_of(found) == "text" for found in plain):
        plain = _of_a_kind(files, plain)
    return {found.file.url for found in plain}


def _of_a_kind(files: Sequence[Listed], texts: Sequence[Listed]) -> list[Listed]:
    """Files whose extension one of the texts has: README.md is a text among others in .md, a note beside .txt."""
    extensions = {_extension(found) for found in texts}
    return [found for found in files if _extension(found) in extensions]


def _chosen(files: Sequence[Listed], format_: str, format_of: Callable[[Listed], str | None]) -> set[str]:
    """The URLs of a folder's data."""
    if format_ != "auto":
        return _matched(files, format_, format_of)
    plain = [found for found in files if not _describes(found.file.url)]
    formats = {found.file.url: format_of(found) for found in files}
    known = [found for found in plain if formats[found.file.url]] or [f for f in files if formats[f.file.url]]
    if not known:
        return {found.file.url for found in files}  # each is told to have no format
    for found in plain:
        if formats[found.file.url] is None and _extension(found) in _OTHER_DATA:
            raise RecipeError(
                f"{found.file.name}: {_extension(found)} files are not read; unpack or convert it, or make `path` "
                "match the files beside it alone"
            )
    sizes: Counter[str] = Counter()
    for found in known:
        sizes[str(formats[found.file.url])] += found.file.size + 1
    main = max(sorted(sizes), key=sizes.__getitem__)
    if main == "text":
        known = [found for found in _of_a_kind(files, known) if formats[found.file.url]]
    wanted = {main, *(form for form in sizes if form not in _EITHER)}
    return {found.file.url for found in known if formats[found.file.url] in wanted}


def _extension(found: Listed) -> str:
    return os.path.splitext(found.file.url)[1].lower()


def _describes(url: str) -> bool:
    """Return whether a file's name says that it is on a data set, not of it."""
    name = url.rsplit("/", 1)[-1].lower()
    stem, extension = os.path.splitext(name)
    if name in _DESCRIPTIONS or name.endswith(_CHECKSUMS):
        return True
    return extension in _NOTE_EXTENSIONS and _NOTES.fullmatch(stem) is not None
