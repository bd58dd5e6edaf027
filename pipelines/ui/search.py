"""Search: documents whose texts have some words, and documents by the beginning of their ids; a document as written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gristmill.operators import columns
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset
from gristmill.pipelines.store.shown import in_order
from gristmill.pipelines.ui.indexes import VersionTexts
from gristmill.pipelines.ui.site import Site, SiteSection, text, whole
from gristmill.pipelines.ui.text_index import Hit, pieces

#: Hits on a page, and the last page: whoever looks further asks more precisely.
SHOWN, LAST_PAGE = 20, 50
#: Ids that are shown.
IDS = 10
#: Characters of a text that are shown around the first word found.
EXCERPT = 300
#: Characters of a document that are shown whole.
LONGEST = 500_000


def section(site: Site) -> SiteSection:
    """Return the section of the search."""
    indexes = site.indexes

    def search(request: Request) -> Response:
        asked, page = text(request, "q"), whole(request, "page", 1, 1, LAST_PAGE)
        shown = site.shown()
        of = site.shown_of(request)
        found = _in_texts(indexes.texts(of), asked, page)
        ids, job = indexes.keys(columns.ID, shown)
        ordinals = {row["ordinal"] for stands in in_order(shown) for row in stands.shards}
        by_id = ids.begin_with(asked, IDS, ordinals) if asked and page == 1 else []
        return site.page(
            request, "search.html", asked=asked, page=page, shown=shown, of=of, found=found, by_id=by_id, job=job
        )

    def written(request: Request) -> Response:
        of = site.shown_of(request)
        path, row = text(request, "file"), whole(request, "row", 0, 0, 2**32)
        version = Dataset(site.store, of.dataset).named(of.version)
        manifest = version.manifest
        listed = zip(manifest["files"], version.urls(manifest), strict=True)
        url = next((url for file, url in listed if version.path_of(file) == path and row < file["rows"]), None)
        if url is None:
            raise HTTPException(404, f"{of.dataset} {of.version} has no such document: another version is there now")
        return site.page(request, "written.html", of=of, path=path, row=row, document=_row(url, row), longest=LONGEST)

    return SiteSection("Search", "/search", [Route("/search", search), Route("/written", written)])


def _in_texts(texts: VersionTexts | None, asked: str, page: int) -> dict[str, Any]:
    """Return what the page shows of a search in texts."""
    if texts is None:
        return {"texts": None, "hits": [], "more": False}
    hits = texts.index.search(asked, (page - 1) * SHOWN, SHOWN + 1) if asked else []
    wanted = [words for words, excluded in pieces(asked) if not excluded]
    return {
        "texts": texts,
        "documents": sum(file.rows for file in texts.listed),
        "indexed": texts.index.documents(texts.listed),
        "hits": [(hit, *marked(hit, wanted)) for hit in hits[:SHOWN]],
        "more": len(hits) > SHOWN and page < LAST_PAGE,
    }


def marked(hit: Hit, wanted: Sequence[Sequence[str]]) -> tuple[list[tuple[str, bool]], bool]:
    """Return the part of a hit's beginning where the longest phrase is, in pieces, those that are wanted marked.

    The second value says whether any of the words and phrases is there; they may be further on in the text.
    """
    beginning = " ".join(hit.beginning.split())
    patterns = [_pattern(words) for words in sorted(wanted, key=len, reverse=True)]
    first = next((match for match in (pattern.search(beginning) for pattern in patterns) if match), None)
    start = max(0, first.start() - EXCERPT // 3) if first else 0
    start = beginning.find(" ", start, first.start()) + 1 or start if start and first else start  # at a word
    part = beginning[start : start + EXCERPT]
    found = sorted(match.span() for pattern in patterns for match in pattern.finditer(part))
    shown: list[tuple[str, bool]] = [("… ", False)] if start else []
    at = 0
    for begin, end in found:
        if begin >= at:
            shown += [(part[at:begin], False), (part[begin:end], True)]
            at = end
    more = " …" if start + EXCERPT < len(beginning) else ""
    return [*shown, (part[at:] + more, False)], first is not None


def _pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern of a word or phrase; what is no letter and no digit may stand between its words."""
    phrase = r"[\W_]*".join(map(re.escape, words))
    # characters of scripts without spaces are words wherever they stand
    bounded = rf"(?<![^\W_]){phrase}(?![^\W_])" if all(len(word) > 1 or word.isascii() for word in words) else phrase
    return re.compile(bounded, re.IGNORECASE)


def _row(url: str, row: int) -> dict[str, Any]:
    """Return a row of a file of a dataset."""
    with files.open_table(url) as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            n = parquet.metadata.row_group(group).num_rows
            if row < n:
                document: dict[str, Any] = parquet.read_row_group(group, use_threads=False).slice(row, 1).to_pylist()[0]
                return document
            row -= n
    raise HTTPException(404, "there is no such row")
