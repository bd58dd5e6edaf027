"""Full-text search over a version of a dataset: an index of tantivy, to which each file of texts is added once.

Words are runs of letters and digits in lower case; in scripts that write none between spaces (Chinese, Japanese, Thai,
...) each character is one, and what is searched for is a phrase of them. Documents are ranked by BM25 (Robertson and
Zaragoza 2009, tantivy's k1 = 1.2 and b = 0.75). With a document the index keeps the beginning of its text, its id and
source, so that a page of hits reads no file of the dataset.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tantivy

from gristmill.operators import columns
from gristmill.pipelines.storage import files
from gristmill.pipelines.ui.cache import Advance

#: Characters of a text that are kept with it.
KEPT = 1000
#: Characters of scripts without spaces between words.
_UNSPACED = r"([\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])"
_LONGEST = 40  # bytes of a word; longer ones are no words of people
_BATCH = 2000
_MEMORY = 128_000_000  # bytes of each thread that indexes
_STATE, _INDEX = "state.json", "index"
_PIECE = re.compile(r'(-?)"([^"]*)"?|(\S+)')


@dataclass(frozen=True)
class Hit:
    """Document that has what was searched for."""

    path: str  #: of its file, from the dataset's folder
    row: int  #: in the file
    id: str | None
    source: str | None
    beginning: str  #: of its text


@dataclass(frozen=True)
class IndexedFile:
    """File of texts of a version, as the manifest lists it."""

    path: str  #: from the dataset's folder
    url: str
    digest: str
    rows: int


class TextIndex:
    """Index of the texts of one version of a dataset."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self.lock = folder / "lock"
        self._index: Any = None
        self._state: dict[str, dict[str, Any]] = {}  # by path: digest, number, rows
        self._load()

    def _load(self) -> None:
        place = self._folder / _INDEX
        try:
            self._state = json.loads((self._folder / _STATE).read_text())
        except (FileNotFoundError, ValueError):
            self._state = {}
            shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700, exist_ok=True)
        self._index = tantivy.Index(_schema(), path=str(place))
        self._index.register_tokenizer("words", _analyzer())
        self._index.config_reader("manual")
        self._index.reload()

    def lacks(self, listed: Sequence[IndexedFile]) -> bool:
        """Return whether it is of other files than those of a version."""
        return {path: known["digest"] for path, known in self._state.items()} != {f.path: f.digest for f in listed}

    def documents(self, listed: Sequence[IndexedFile]) -> int:
        """Return how many documents of a version it has."""
        return sum(file.rows for file in listed if self._state.get(file.path, {}).get("digest") == file.digest)

    def update(self, listed: Sequence[IndexedFile], advance: Advance) -> None:
        """Make it one of the files of a version: take in those that are missing, one by one, and leave out all others.

        What is searched meanwhile is what it has so far. Raises StoreDamaged where a file is not what was written.
        """
        if not (self._folder / _STATE).exists():
            self._save({})
        self._load()  # another process may have done it
        wanted = {file.path: file for file in listed}
        stays = {p: known for p, known in self._state.items() if p in wanted and wanted[p].digest == known["digest"]}
        writer = self._index.writer(_MEMORY * _threads(), _threads())
        total, done = sum(file.rows for file in listed), sum(known["rows"] for known in stays.values())
        number = max((known["number"] for known in self._state.values()), default=-1)
        for path in sorted(self._state.keys() - stays.keys()):
            writer.delete_documents_by_query(self._of_file(self._state[path]["number"]))
        for file in listed:
            if file.path in stays:
                continue
            number += 1
            writer.delete_documents_by_query(
                self._of_file(number)
            )  # of a process that was ended before it wrote the state
            advance(done, total)
            for rows in _documents(file, number):
                for document in rows:
                    writer.add_document(document)
                done += len(rows)
                advance(done, total)
            writer.commit()
            stays = {**stays, file.path: {"digest": file.digest, "number": number, "rows": file.rows}}
            self._save(stays)
        writer.commit()
        self._save(stays)
        writer.wait_merging_threads()
        self._index.reload()

    def _of_file(self, number: int) -> Any:
        """Return the query of the documents of a file."""
        return tantivy.Query.term_query(self._index.schema, "file", number)

    def _save(self, state: dict[str, dict[str, Any]]) -> None:
        files.write_bytes(str(self._folder / _STATE), json.dumps(state).encode())
        self._state = state
        if self._index is not None:
            self._index.reload()

    def search(self, asked: str, skip: int, most: int) -> list[Hit]:
        """Return up to so many documents that have all words and phrases, those that fit best first.

        `"..."` is a phrase, `-` before a word or a phrase leaves out what has it. None where nothing is asked for.
        """
        query = self._query(asked)
        if query is None:
            return []
        searcher = self._index.searcher()
        found = [place for _, place in searcher.search(query, most, False, offset=skip).hits]
        places = searcher.fast_field_values("place", found) if found else []
        paths = {known["number"]: path for path, known in self._state.items()}
        hits = []
        for at, place in zip(found, places, strict=True):
            number, row = divmod(int(place or 0), 1 << 32)
            if number in paths:
                hits.append(Hit(paths[number], row, *orjson.loads(bytes(searcher.doc(at).get_first("kept")))))
        return hits

    def _query(self, asked: str) -> Any:
        schema = self._index.schema
        clauses = []
        wanted = False
        for words, excluded in pieces(asked):
            query = (
                tantivy.Query.term_query(schema, "text", words[0])
                if len(words) == 1
                else tantivy.Query.phrase_query(schema, "text", list(words))
            )
            clauses.append((tantivy.Occur.MustNot if excluded else tantivy.Occur.Must, query))
            wanted |= not excluded
        return tantivy.Query.boolean_query(clauses) if wanted else None


def pieces(asked: str) -> list[tuple[list[str], bool]]:
    """Return the words and phrases of what is searched for, each as its words, and whether it is to be left out."""
    found = []
    for match in _PIECE.finditer(asked):
        sign, phrase, word = match[1], match[2], match[3]
        excluded = sign == "-" or (word is not None and len(word) > 1 and word.startswith("-"))
        words = _analyzer().analyze(_spaced(pa.array([word or phrase or ""], pa.large_string()))[0].as_py())
        if words:
            found.append((words, excluded))
    return found


def _documents(file: IndexedFile, number: int) -> Any:
    """Yield the documents of a file for the index, some at a time."""
    with files.open_table(file.url) as opened:
        parquet = pq.ParquetFile(opened)
        names = [name for name in (columns.TEXT, columns.ID, columns.SOURCE) if name in parquet.schema_arrow.names]
        row = 0
        for batch in parquet.iter_batches(_BATCH, columns=names, use_threads=False):
            texts = batch.column(names.index(columns.TEXT)).cast(pa.large_string())
            kept = pc.utf8_slice_codeunits(texts, 0, KEPT).to_pylist()
            spaced = _spaced(texts).to_pylist()
            known = {name: batch.column(i).to_pylist() for i, name in enumerate(names)}
            ids, sources = (known.get(name, [None] * len(spaced)) for name in (columns.ID, columns.SOURCE))
            made = []
            for i, text in enumerate(spaced):
                document = tantivy.Document()
                document.add_text("text", text or "")
                document.add_bytes("kept", orjson.dumps([ids[i], sources[i], kept[i] or ""], default=str))
                document.add_unsigned("file", number)
                document.add_unsigned("place", number << 32 | row)
                made.append(document)
                row += 1
            yield made


def _spaced(texts: pa.Array) -> pa.Array:
    """Return texts with spaces around each character of scripts that have none."""
    return pc.replace_substring_regex(texts, _UNSPACED, r" \1 ")


@cache
def _analyzer() -> Any:
    words = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    return words.filter(tantivy.Filter.remove_long(_LONGEST)).filter(tantivy.Filter.lowercase()).build()


def _schema() -> Any:
    builder = tantivy.SchemaBuilder()
    builder.add_text_field("text", tokenizer_name="words")
    builder.add_bytes_field("kept", stored=True)  # JSON: id, source, beginning of the text
    builder.add_unsigned_field("file", indexed=True)
    builder.add_unsigned_field("place", fast=True)
    return builder.build()


def _threads() -> int:
    """Return how many threads index: half of the cores, as pages are to be answered meanwhile."""
    return max(1, (os.cpu_count() or 1) // 2)
