"""`gristmill.open_packed`: packed tokens for training, read where they lie."""

from __future__ import annotations

import copy
import hashlib
import mmap
import os
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators.base import digest_of
from gristmill.operators.errors import RecipeError, StoreDamaged, StoreFileGone
from gristmill.pipelines.readers.packed_feed import PackedFeed
from gristmill.pipelines.readers.packed_order import Ints, PackedOrder
from gristmill.pipelines.readers.packed_strata import Where, only_where, where_text
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import way_back
from gristmill.pipelines.store.datasets import Dataset

Tokens = NDArray[np.uint16] | NDArray[np.uint32]
#: Shards that are kept open beyond those of a window.
_SPARE = 1
_BLOCK = 1 << 22


class PackedSequence:
    """A sequence of tokens, and the pieces of documents that it is made of: views, not to be written to."""

    __slots__ = ("_first", "_last", "_shard", "_start", "_stop", "part")

    def __init__(self, shard: _Shard, start: int, stop: int, first: int, last: int) -> None:
        self._shard, self._start, self._stop, self._first, self._last = shard, start, stop, first, last
        #: the number of its part in the mixture that gave it; 0 where there is no mixture
        self.part = 0

    @property
    def tokens(self) -> Tokens:
        """Return its tokens (m), without padding."""
        return self._shard.tokens[self._start : self._stop]

    @property
    def starts(self) -> NDArray[np.int32]:
        """Return where each piece (k) begins among the tokens."""
        return self._shard.start[self._first : self._last]

    @property
    def addresses(self) -> NDArray[np.uint64]:
        """Return the address of the document of each piece (k)."""
        return self._shard.address[self._first : self._last]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Return the position in its document of the first token of each piece (k): 0 where its beginning is here."""
        return self._shard.offset[self._first : self._last]

    @property
    def document_tokens(self) -> NDArray[np.int64]:
        """Return the tokens of the whole document of each piece (k)."""
        return self._shard.document_tokens[self._first : self._last]


class _Shard:
    """An open shard: the tokens mapped into memory, the pieces read."""

    __slots__ = ("address", "document_tokens", "offset", "places", "start", "tokens")

    def __init__(self, tokens: Tokens, parquet: Any, length: int, padded: bool) -> None:
        column, sizes = _documents(parquet)
        pieces = column.flatten()
        self.start: NDArray[np.int32] = pieces.field("start").to_numpy()
        self.address: NDArray[np.uint64] = pieces.field("address").to_numpy()
        self.offset: NDArray[np.int64] = pieces.field("offset").to_numpy()
        self.document_tokens: NDArray[np.int64] = pieces.field("document_tokens").to_numpy()
        bounds = column.offsets.to_numpy() - column.offsets[0].as_py()
        starts = np.arange(len(column)) * length if padded else np.cumsum(sizes) - sizes
        self.tokens = tokens
        self.places = np.stack([starts, starts + sizes, bounds[:-1], bounds[1:]], axis=1)  #: of each sequence


def _documents(parquet: Any) -> tuple[Any, Ints]:
    """Return the column of pieces of a shard's Parquet file, and the tokens of each sequence (n)."""
    column = pq.read_table(parquet, columns=["documents"], use_threads=False)["documents"].combine_chunks()
    bounds = column.offsets.to_numpy() - column.offsets[0].as_py()
    tokens = column.flatten().field("tokens").to_numpy()
    return column, np.diff(np.append(0, np.cumsum(tokens, dtype=np.int64))[bounds])


class PackedTokens:
    """The packed tokens of a version of a dataset: sequences of `length` tokens at most.

    Files on this machine are mapped into memory. Of an object store each shard is fetched whole when it is first
    wanted, compared with its digest, and let go of when as many others as a window has have been wanted since.
    """

    def __init__(self, url: str, version: str | None = None, window: int = 16, where: Where | None = None) -> None:
        """Open a version by its name, or the one that readers take; see `PackedOrder` for `window`.

        With `where` only strata with these values: `{"source": "web", "quality": ["50% to 90%", "above 90%"]}`.

        Raises RecipeError where there is no such dataset, version or stratum, or its tokens are not packed,
        StoreDamaged where its manifest is not what was written.
        """
        if window < 1:
            raise RecipeError(f"window is the number of shards that are read mixed, 1 at least, not {window}")
        dataset = Dataset.at(url)
        found = dataset.find(version)
        #: the folder of the dataset
        self.url = dataset.url
        #: the name of the version
        self.version = found.name
        packed: dict[str, Any] | None = found.manifest.get("packed")
        if packed is None:
            raise RecipeError(
                f"{self.version} of {self.url} has no packed tokens; `write: {{pack: {{tokenizer: FILE}}}}` in its "
                "recipe packs them"
            )
        #: tokens of a sequence, at most
        self.length: int = packed["length"]
        #: uint16 or uint32
        self.dtype = np.dtype(packed["dtype"])
        #: the id that fills sequences up where they are shorter than others of a batch
        self.fill: int = next((packed[name] for name in ("fill", "eos") if packed[name] is not None), 0)
        #: the values of strata that were chosen; None for all
        self.where: Where | None = None
        self._window = window
        self._take(packed)
        if where is not None:
            self._choose(where)

    def only(self, where: Where | None) -> PackedTokens:
        """Return some strata of the same version alone, None for all that are here; raises as `__init__` does."""
        chosen = copy.copy(self)
        if where is not None:
            chosen._choose(where)
        return chosen

    def _choose(self, where: Where) -> None:
        self.where = {**(self.where or {}), **where}
        self._take(only_where(self.described, where, f"{self.version} of {self.url}"))

    def _take(self, packed: Mapping[str, Any]) -> None:
        #: what its manifest tells of them: tokenizer, vocabulary, eos, documents, tokens, sequences, padding, ...
        self.described = packed
        self._sizes = np.array([shard["sequences"] for shard in packed["shards"]], np.int64)
        self._ends = np.cumsum(self._sizes)
        self._open: OrderedDict[int, _Shard] = OrderedDict()

    def __repr__(self) -> str:
        tokens = self.described["tokens"]
        of = "" if self.where is None else f", {where_text(self.where)}"
        return f"<packed tokens {self.url}, version {self.version}{of}: {tokens:,} tokens in {len(self):,} sequences>"

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedTokens, (self.url, self.version, self._window, self.where)

    def __len__(self) -> int:
        return int(self._sizes.sum())

    def sequence(self, number: int) -> PackedSequence:
        """Return a sequence by its number, as they lie: 0 to len - 1. Raises IndexError for others."""
        if not 0 <= number < len(self):
            raise IndexError(f"there are {len(self):,} sequences, and none has the number {number:,}")
        shard = np.searchsorted(self._ends, [number], "right")
        return self.at(shard, number - (self._ends - self._sizes)[shard])[0]

    def at(self, shards: Ints, rows: Ints) -> list[PackedSequence]:
        """Return sequences (n) by their shards and their numbers there. Raises StoreDamaged where one is not whole."""
        places = np.empty((len(rows), 4), np.int64)
        held: dict[int, _Shard] = {}
        for number in np.unique(shards).tolist():
            shard = held[number] = self._open.get(number) or self._opened(number)
            of_shard = shards == number
            places[of_shard] = shard.places[rows[of_shard]]
        of = zip(shards.tolist(), places.tolist(), strict=True)
        return [PackedSequence(held[number], *place) for number, place in of]

    def feed(
        self,
        *,
        seed: int | None = 0,
        rank: int = 0,
        world: int = 1,
        epochs: int | None = 1,
        state: Mapping[str, Any] | None = None,
    ) -> PackedFeed:
        """Return the sequences for one of `world` ranks, in an order that the seed decides; with None as they lie.

        With `epochs=None` they never end. `state` is one that a feed of the same seed gave, of whatever rank and number
        of ranks: the feed goes on from there. Raises RecipeError where it is of another feed.
        """
        dataset = self.url.rsplit("/", 1)[-1]
        same: dict[str, Any] = {"dataset": dataset, "version": self.version, "seed": seed, "window": self._window}
        if self.where is not None:
            same["strata"] = self.strata_digest
        return PackedFeed(self, self.order(seed), same, rank, world, epochs, state)

    @property
    def strata_digest(self) -> str:
        """Return a digest of the strata that were chosen: 32 hexadecimal digits."""
        return digest_of([told["stratum"] for told in self.described["strata"]])

    def order(self, seed: int | None) -> PackedOrder:
        """Return the order in which a feed of this seed reads. Raises RecipeError for a seed that is out of range."""
        return PackedOrder(self._sizes, seed, self._window)

    def lengths(self, shard: int) -> Ints:
        """Return the tokens of each sequence of a shard, read without the tokens themselves."""
        with files.open_input(self._file(shard, "parquet")[0]) as parquet:
            return _documents(parquet)[1]

    def _file(self, shard: int, suffix: str) -> tuple[str, dict[str, Any]]:
        """Return the URL of a file of a shard, and what the manifest tells of it."""
        listed = self.described["shards"][shard]["files"]
        file: dict[str, Any] = next(file for file in listed if file["name"].endswith(f".{suffix}"))
        return files.join(self.url, file["path"]), file

    def _opened(self, number: int) -> _Shard:
        tokens = _mapped(*self._file(number, "bin"), self.dtype)
        with files.open_input(self._file(number, "parquet")[0]) as parquet:
            opened = _Shard(tokens, parquet, self.length, self.described["fill"] is not None)
        self._open[number] = opened
        while len(self._open) > self._window + _SPARE:
            self._open.popitem(last=False)
        return opened


def _mapped(url: str, file: Mapping[str, Any], dtype: np.dtype[Any]) -> Tokens:
    """Return the content of a .bin file, mapped into memory; of an object store from a local copy without a name."""
    if not file["bytes"]:
        return np.zeros(0, dtype)
    try:
        if files.is_local(url):
            with open(files.local_path(url), "rb") as opened:
                size = os.fstat(opened.fileno()).st_size
                if size != file["bytes"]:
                    raise StoreDamaged(url, f"{url} has {size:,} bytes, not {file['bytes']:,}. {way_back(url)}")
                return np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), dtype)
        with tempfile.TemporaryFile(prefix="gristmill-") as copy, files.open_input(url) as source:
            digest = hashlib.blake2b(digest_size=16)
            while block := source.read(_BLOCK):
                digest.update(block)
                copy.write(block)
            copy.flush()
            if digest.hexdigest() != file["digest"]:
                raise StoreDamaged(url, f"{url} is damaged: its content is not what was written. {way_back(url)}")
            return np.frombuffer(mmap.mmap(copy.fileno(), 0, access=mmap.ACCESS_READ), dtype)
    except FileNotFoundError:
        raise StoreFileGone(url, f"{url} is gone. {way_back(url)}") from None
