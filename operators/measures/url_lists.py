"""The measure `url_lists`: which of some lists the URL of a document is in.

The lists and their order are those of RefinedWeb (Penedo et al. 2023, arXiv:2306.01116, appendix G.1) as datatrove's
URLFilter and FineWeb use them. They differ in that words are compared in lower case here, and that letters and digits
are those of all scripts.
"""

from __future__ import annotations

import codecs
import re
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

from gristmill.operators import columns
from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, Operator, field
from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.characters import character_classes, lower_case
from gristmill.operators.kernels.urls import Lists, hash_entries, hash_words, host_bounds, match_urls

#: Options to the values of `url_listed`, in the order of the kernel's numbers.
LISTS = {"domains": "domain", "urls": "url", "words": "word", "soft_words": "soft_words", "subwords": "subword"}
LISTED, MATCH = "url_listed", "url_match"
_MARK = codecs.BOM_UTF8
#: Bytes that end a host or begin another kind of one: no name has them.
_NO_NAME = re.compile(rb"[\0- /?#@:\[\]]")
_PIECE = 1 << 20  # bytes of a list that are checked at a time


class UrlOptions(Operator):
    """The lists, by their paths, and the number of soft words: options of the measure and of the rule."""

    domains: str | None = Field(default=None, description="path of a list of hosts: they and all below them")
    urls: str | None = Field(default=None, description="path of a list of URLs")
    words: str | None = Field(default=None, description="path of a list of words, one of which is enough")
    soft_words: str | None = Field(default=None, description="path of a list of words, `soft_limit` of which are")
    subwords: str | None = Field(default=None, description="path of a list of parts of words, one of which is enough")
    soft_limit: int = Field(default=2, ge=1, description="how many different soft words a URL must not have")

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        if not self.resources():
            raise ValueError(f"name at least one list: {', '.join(LISTS)}")
        return self

    def resources(self) -> dict[str, str]:
        """Return the files of the lists."""
        return {name: path for name in LISTS if (path := getattr(self, name)) is not None}


class UrlLists(UrlOptions, Measure):
    """The list that a document's URL is in and the entry that it bears; null in both columns where it is in none.

    A list is a text file in UTF-8 with an entry in each line; blank lines and lines that begin with # are passed over.
    The lists are asked in this order, and the first that takes the URL is named:

    - `domains`: the host is an entry or lies below one (www.a.example below a.example), in whatever case.
    - `urls`: the URL is an entry, both without scheme, user, `www.`, one slash at the end and the case of the host. All
      else (port, path, query, fragment) must be the same.
    - `words`: a word of the URL is an entry. Words are in lower case; white space, punctuation, symbols and control
      characters part them, so that letters and digits are left.
    - `soft_words`: `soft_limit` different words are entries.
    - `subwords`: an entry occurs anywhere in the letters and digits of the URL.

    A domain with letters beyond ASCII may be spelt in either way (`xn--...`). Escapes such as `%20` are not decoded. Of
    the entries of the three lists of words, too, only letters and digits count.
    """

    def reads(self) -> set[str]:
        """Return the column of URLs."""
        return {columns.URL}

    def check(self, files: Files) -> None:
        """Raise RecipeError where a list is not UTF-8 or has no entries, or most of its domains can be none."""
        for name, path in files.items():
            _check_text(path)
            if name in ("domains", "urls"):
                entries = _hashes(path, name == "domains")
                count = len(entries.hashes)
                if entries.wrong > count:
                    raise RecipeError(f"{path} is no list of domains, one a line: {entries.example}")
            else:
                count = len(_words(path)[0])
            if count == 0:
                raise RecipeError(f"{path} has no entries; leave {name} out, or name the file that has them")

    def gives(self) -> pa.Schema:
        """Return the columns of the list and of the entry."""
        return pa.schema(
            [
                field(LISTED, pa.string(), f"the list that the URL is in: {', '.join(LISTS.values())}"),
                field(MATCH, pa.string(), "the entry of that list, or its soft words"),
            ]
        )

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("urls",)

    def open(self, files: Files) -> MeasureFunction:
        """Read the lists; return a thread-safe function from documents (n rows) to the columns of `gives` (n rows)."""
        classes, lower, lists, schema = character_classes(), lower_case(), _read_lists(files), self.gives()
        names = pa.array([None, *LISTS.values()], pa.string())

        def measure(documents: Documents) -> pa.RecordBatch:
            if columns.URL not in documents.schema.names:  # a source without URLs beside others that have them
                return pa.record_batch([pa.nulls(documents.num_rows, pa.string())] * 2, schema=schema)
            texts, urls = documents.column(columns.TEXT), documents.column(columns.URL).cast(pa.large_string())
            urls = pc.if_else(texts.is_null(), pa.scalar(None, urls.type), urls)
            buffers, spelt = text_buffers(urls), text_buffers(_in_ascii(urls))
            kinds, data, offsets = match_urls(*buffers, *spelt, lists, self.soft_limit, classes, lower)
            validity = pa.array(kinds > 0).buffers()[1]
            match = pa.LargeStringArray.from_buffers(len(kinds), pa.py_buffer(offsets), pa.py_buffer(data), validity)
            return pa.record_batch([names.take(pa.array(kinds)), match.cast(pa.string())], schema=schema)

        return measure


class _Hashes(NamedTuple):
    """The hashes (n) of a list of domains or URLs, the number of entries that are none, and the first of them."""

    hashes: NDArray[np.uint64]
    wrong: int
    example: str


def _read_lists(files: Files) -> Lists:
    """Return the lists; those that are not named are empty."""
    hashes = {name: np.empty(0, np.uint64) for name in ("domains", "urls", "words", "soft_words")}
    for name in hashes:
        if name in files:
            of_words = name.endswith("words")
            hashes[name] = _words(files[name])[0] if of_words else _hashes(files[name], name == "domains").hashes
        hashes[name].sort()
        hashes[name].flags.writeable = False
    subwords = _words(files["subwords"])[1] if "subwords" in files else []
    data = np.frombuffer(b"".join(subwords) or b"\0", np.uint8)
    ends = np.cumsum([0, *map(len, subwords)])
    firsts = np.searchsorted(np.array([word[0] for word in subwords], np.int64), np.arange(257))
    begins = np.zeros((256, 256), np.bool_)
    for word in subwords:
        begins[word[0], word[1] if len(word) > 1 else slice(None)] = True
    return Lists(**hashes, subwords=data, ends=ends, firsts=firsts, begins=begins.ravel())


def _hashes(path: Path, of_hosts: bool) -> _Hashes:
    data = _content(path)
    hashes, foreign, wrong, first = hash_entries(data, of_hosts, False)
    if len(foreign):
        spelt = b"\n".join(_with_ascii_host(data, *bounds) for bounds in foreign.tolist())
        more, *_ = hash_entries(np.frombuffer(spelt, np.uint8), of_hosts, True)
        hashes = np.concatenate([hashes, more])
    if first < 0:
        return _Hashes(hashes, 0, "")
    line = bytes(data[first : first + 100]).split(b"\n")[0].decode(errors="replace").strip()
    return _Hashes(hashes, wrong, f"line {int(np.count_nonzero(data[:first] == 10)) + 1:,} is {line!r}")


def _words(path: Path) -> tuple[NDArray[np.uint64], list[bytes]]:
    """Return the hashes of a list's words, and the words, sorted and each once."""
    lines = (line.strip() for line in bytes(_content(path)).split(b"\n"))
    entries = pa.array([line for line in lines if line and not line.startswith(b"#")], pa.large_binary())
    hashes, data, ends = hash_words(*text_buffers(entries.cast(pa.large_string())), character_classes(), lower_case())
    words = [bytes(data[start:end]) for start, end in pairwise(ends)]
    return hashes[np.diff(ends) > 0], sorted({word for word in words if word})


def _content(path: Path) -> NDArray[np.uint8]:
    """Return the bytes of a file, mapped, without the mark that some editors put at the start."""
    if path.stat().st_size == 0:
        return np.frombuffer(b"", np.uint8)
    data: NDArray[Any] = np.asarray(np.memmap(path, np.uint8, "r"))
    return data[len(_MARK) :] if bytes(data[: len(_MARK)]) == _MARK else data


def _check_text(path: Path) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        with open(path, "rb") as file:
            for piece in iter(partial(file.read, _PIECE), b""):
                decoder.decode(piece)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not text in UTF-8 ({error.reason}); unpack it, or convert it") from None


def _in_ascii(urls: pa.LargeStringArray) -> pa.LargeStringArray:
    """Return URLs (n) with their hosts in ASCII: an IDN by its labels `xn--...` (RFC 3490)."""
    rows = np.flatnonzero(~np.asarray(pc.fill_null(pc.string_is_ascii(urls), True)))
    if not len(rows):
        return urls
    foreign = urls.take(pa.array(rows))
    data, offsets = text_buffers(foreign)
    bounds = np.column_stack([offsets[:-1], offsets[1:], host_bounds(data, offsets)])
    spelt = pa.array([_with_ascii_host(data, *row) for row in bounds.tolist()], pa.large_binary())
    mask = np.zeros(len(urls), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(urls.cast(pa.large_binary()), pa.array(mask), spelt).view(pa.large_string())


def _with_ascii_host(data: NDArray[np.uint8], start: int, end: int, host_start: int, host_end: int) -> bytes:
    """Return an entry or URL data[start:end] with its host in ASCII; as it is where the host has no such form.

    `//` marks a host that would be taken for a scheme once it is in ASCII: `bücher.example://x`.
    """
    host = bytes(data[host_start:host_end])
    try:
        spelt = host if host.isascii() else host.decode().encode("idna")
    except UnicodeError:  # not UTF-8, or no name: labels that are empty or too long
        spelt = host
    if not host.isascii() and _NO_NAME.search(spelt):  # of wide characters or after those that vanish
        spelt = host
    before, after = bytes(data[start:host_start]), bytes(data[host_end:end])
    if spelt != host and after.startswith(b"://") and b"//" not in before:
        before = b"//" + before.lstrip()
    return before + spelt + after
