"""The files at a place that a newcomer names, by kind, and paths that name just those with the texts.

A place is a folder, a file, a glob or a URL. Its files are sorted by format and extension; the kinds that hold most
bytes are taken for the texts, and the others are named.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gristmill.operators.errors import GristmillError, RecipeError
from gristmill.pipelines.config.quoting import in_glob
from gristmill.pipelines.sources.beside import OTHER_DATA, describes
from gristmill.pipelines.sources.discover import Discovery, format_by_name, stated_format
from gristmill.pipelines.sources.formats import FORMATS
from gristmill.pipelines.sources.listing import Listing, distinct
from gristmill.pipelines.sources.spec import AUTO, Source
from gristmill.pipelines.sources.storage import FileRef, open_stream
from gristmill.pipelines.sources.streams import Compression
from gristmill.pipelines.storage.files import is_local
from gristmill.pipelines.storage.locations import absolute

#: Extensions of programs: their texts are code, which rules for prose would drop.
# fmt: off
CODE = frozenset(
    {
        ".py", ".pyi", ".pyx", ".c", ".h", ".cc", ".cpp", ".hpp", ".cu", ".rs", ".go", ".java", ".kt", ".scala",
        ".js", ".ts", ".jsx", ".tsx", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".sh", ".sql", ".swift", ".cs",
        ".hs", ".ml", ".el", ".css", ".f90", ".m",
    }
)
# fmt: on
#: Bytes of an unknown file that are looked at to tell text from other data, and files of a kind that are.
_HEAD, _TRIED = 1 << 14, 3
#: Of kinds of text those with a smaller share of the bytes are left out, and no more than some are taken.
_LEAST_SHARE, _MOST_KINDS = 0.02, 8
#: Files that are named one by one where no glob means just them.
_FEW_FILES = 20
_TEXTS, _PAGES, _RECORDS = "texts", "pages", "records"


@dataclass
class FileGroup:
    """The files of one format and extension."""

    format: str
    suffix: str  #: as in names, `.jsonl.gz`
    compression: Compression
    files: list[FileRef] = field(default_factory=list)
    stated: bool = False  #: whether a recipe has to say the format, which the name does not tell

    @property
    def size(self) -> int:
        """Return the bytes of its files as stored."""
        return sum(file.size for file in self.files)

    @property
    def is_code(self) -> bool:
        """Return whether the files are programs."""
        return self.suffix in CODE

    @property
    def content(self) -> str:
        """Return what the files hold: texts, pages (HTML) or records."""
        if FORMATS[self.format].pages:
            return _PAGES
        return _TEXTS if self.format == "text" else _RECORDS


@dataclass(frozen=True)
class Place:
    """The files at a place, divided into texts and others."""

    path: str  #: as it was given
    base: str  #: folder that it starts from
    groups: Sequence[FileGroup]  #: the files that are taken for the texts
    others: Sequence[FileGroup]  #: files in forms that could be read, and are left out
    unread: dict[str, int]  #: number of other files, by extension

    @property
    def itself(self) -> str:
        """Return the absolute path or URL of the place, without a slash at its end."""
        return absolute(self.path, self.base).rstrip("/") or "/"

    @property
    def root(self) -> str:
        """Return the folder that all its files lie in: the place, or what stands before the first glob in it."""
        itself = self.itself
        if all(file.url.startswith(f"{itself}/") for group in self.groups for file in group.files):
            return itself
        names = itself.split("/")[:-1]
        literal = next((i for i, name in enumerate(names) if any(sign in name for sign in "*?[")), len(names))
        return "/".join(names[:literal])


def find_place(path: str, base: str) -> Place:
    """Return the files at a place, sorted. `base` is the folder or URL that a relative path starts from.

    Raises RecipeError where there is nothing, or nothing that can be read.
    """
    root = absolute(path, base)
    if is_local(root) and os.path.isdir(root) and any(name.endswith(".dist-info") for name in os.listdir(root)):
        find = FORMATS["python_env"].find
        assert find is not None
        return Place(path, base, [FileGroup("python_env", "", "none", find([root], base), stated=True)], [], {})
    listed = distinct(Listing(base).find([path]).files)
    files = [entry.file for entry in listed if not _in_a_store(entry.file.url, root)]
    groups, unknown = _grouped(files)
    unread: dict[str, int] = {}
    for group in unknown:
        if group.suffix in OTHER_DATA or not _is_text(group):
            unread[group.suffix or "without an extension"] = len(group.files)
        else:
            groups.append(group)
    groups = [group for group in groups if group.files]
    if not groups:
        raise RecipeError(_nothing_to_read(path, unread))
    taken = _taken(groups)
    return Place(path, base, taken, [group for group in groups if group not in taken], unread)


def _nothing_to_read(path: str, unread: dict[str, int]) -> str:
    kinds = ", ".join(f"{n:,} {suffix}" for suffix, n in sorted(unread.items(), key=lambda item: -item[1])[:5])
    names = ", ".join(name for name in FORMATS if name != "python_env")
    remedy = "unpack them first, or convert them to Parquet"
    if ".arrow" in unread:
        remedy = "a data set that `save_to_disk` wrote becomes Parquet by `load_from_disk(FOLDER).to_parquet(FILE)`"
    return f"{path} holds no file that can be read ({kinds or 'all its files are empty'}). There is {names}; {remedy}"


def _grouped(files: Iterable[FileRef]) -> tuple[list[FileGroup], list[FileGroup]]:
    """Return groups of known format and of unknown format; notes and settings beside data are left out of them."""
    files = list(files)
    known: dict[tuple[str, str], FileGroup] = {}
    unknown: dict[tuple[str, str], FileGroup] = {}
    plain = [file for file in files if not describes(file.url)] or files
    for file in plain:
        format_, compression, extension = format_by_name(file)
        stated = format_ is None
        format_ = format_ or stated_format(extension)
        kind = (format_ or "text", _suffix(file.url, extension))
        (unknown if format_ is None else known).setdefault(
            kind, FileGroup(*kind, compression, [], stated)
        ).files.append(file)
    for note in (file for file in files if len(plain) < len(files) and describes(file.url)):
        group = known.get(("text", _suffix(note.url, format_by_name(note)[2])))
        if group is not None:  # README.md among texts that end in .md
            group.files.append(note)
    return list(known.values()), list(unknown.values())


def _suffix(url: str, extension: str) -> str:
    """Return the end of a name from its extension on, compression included."""
    name = url.rsplit("/", 1)[-1]
    at = name.lower().rfind(extension) if extension else -1
    return name[at:] if at >= 0 else ""


def _is_text(group: FileGroup) -> bool:
    """Return whether the first files of a kind look like text in UTF-8."""
    if not group.suffix or group.compression != "none":
        return False
    heads = [head for file in group.files[:_TRIED] if (head := _head(file, group.compression)) is not None]
    return bool(heads) and all(map(_reads_as_text, heads))


def _head(file: FileRef, compression: Compression) -> bytes | None:
    try:
        with open_stream(file, compression) as stream:
            return bytes(stream.read(_HEAD))
    except GristmillError:
        return None


def _reads_as_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return len(head) == _HEAD and error.start > _HEAD - 4  # a character that is cut in two
    return True


def _taken(groups: Sequence[FileGroup]) -> list[FileGroup]:
    """Return the groups that hold the texts: those of the content that has most bytes."""
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group.content] = sizes.get(group.content, 0) + group.size + len(group.files)
    main = max(sizes, key=lambda content: sizes[content])
    of_main = sorted((group for group in groups if group.content == main), key=lambda group: -group.size)
    if main == _PAGES:  # WARC and HTML in one folder are seldom one crawl
        return [group for group in of_main if group.format == of_main[0].format]
    if main == _TEXTS:
        of_main = [group for group in of_main if group.size >= _LEAST_SHARE * sizes[main]]
    return of_main[:_MOST_KINDS]


def _in_a_store(url: str, root: str) -> bool:
    """Return whether a local file lies in a store of gristmill below the place."""
    if not is_local(url) or not url.startswith(f"{root.rstrip('/')}/"):
        return False
    folder = root.rstrip("/")
    for name in url.removeprefix(f"{folder}/").split("/")[:-1]:
        folder = f"{folder}/{name}"
        if os.path.isdir(f"{folder}/shards") and os.path.isdir(f"{folder}/runs"):
            return True
    return False


def paths_of(place: Place, groups: Sequence[FileGroup], files: Sequence[FileRef], inside: bool) -> list[str]:
    """Return paths, absolute or URLs, that stand for some files of some groups and for no other file of the place.

    `inside` says that the place is a folder that the store will lie in: then no path means all of it.
    """
    wanted = {file.url for file in files}
    root = place.root
    format_ = groups[0].format if any(group.stated for group in groups) else AUTO
    if (not inside or wanted == {place.itself}) and _means(place, format_, wanted):
        return [place.itself]
    names = {url: url.removeprefix(f"{root}/") for group in (*place.groups, *place.others) for url in _urls(group)}
    everything = {name: url for url, name in names.items()}
    relative = [names[url] for url in sorted(wanted)]
    suffixes = list(dict.fromkeys(group.suffix for group in groups))
    for globs in (
        [] if inside else [f"**/*{in_glob(suffix)}" for suffix in suffixes],
        list(dict.fromkeys(_by_folder(name, suffixes) for name in relative)),
        list(dict.fromkeys(_family_glob(name) for name in relative)),
    ):
        if globs and _matched(globs, everything) == wanted:
            return [f"{in_glob(root)}/{glob}" for glob in globs]
    if len(wanted) <= _FEW_FILES:
        return sorted(wanted)
    return [f"{in_glob(root)}/{glob}" for glob in dict.fromkeys(_family_glob(name) for name in relative)]


def _urls(group: FileGroup) -> list[str]:
    return [file.url for file in group.files]


def _means(place: Place, format_: str, wanted: set[str]) -> bool:
    """Return whether a source with the place as its path reads just these files."""
    try:
        found = Discovery(place.base).find(Source(name="place", path=place.path, format=format_, id=None))
    except GristmillError:
        return False
    return {file.url for spec in found.specs for file in spec.files} == wanted


def _by_folder(name: str, suffixes: Sequence[str]) -> str:
    """Return `data/**/*.jsonl.gz` for `data/a/b.jsonl.gz`, `*.jsonl.gz` for a file of the place itself."""
    suffix = next((suffix for suffix in suffixes if name.endswith(suffix)), "")
    top, _, below = name.partition("/")
    return f"{in_glob(top)}/**/*{in_glob(suffix)}" if below else f"*{in_glob(suffix)}"


def _family_glob(name: str) -> str:
    folder, _, file = name.rpartition("/")
    return "/".join(filter(None, (in_glob(folder), family_of(file))))


def family_of(name: str) -> str:
    """Return a glob for a file's name, its numbers and hashes replaced by `*`: `part-*-of-*.parquet`."""
    stem, dot, extension = name.partition(".")
    pattern = re.sub(r"\b[0-9a-f]{8,}\b|\d+", "*", in_glob(stem))
    return f"{re.sub(r'[*]+', '*', pattern)}{dot}{in_glob(extension)}"


def _matched(globs: Sequence[str], everything: dict[str, str]) -> set[str]:
    """Return the URLs of the files whose names below the place a glob matches."""
    pattern = re.compile("|".join(map(_as_expression, globs)))
    return {url for name, url in everything.items() if pattern.fullmatch(name)}


def _as_expression(glob: str) -> str:
    parts = re.split(r"(\*\*/|\*|\[[*?\[]\])", glob)
    signs = {"**/": "(?:.*/)?", "*": "[^/]*"}
    return "".join(signs.get(part) or re.escape(part[1] if re.fullmatch(r"\[.\]", part) else part) for part in parts)
