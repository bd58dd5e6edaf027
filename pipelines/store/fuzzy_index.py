"""The history of a fuzzy_dedup: documents that earlier runs kept, against which later runs are resolved.

    index/<name>/index.json                                 parameters and generations: replaced last, the commit
    index/<name>/generations/<generation>/shards.parquet                the shards that it holds (SHARDS)
    index/<name>/generations/<generation>/documents/<ordinal>.parquet   their survivors (`documents_schema`)
    index/<name>/generations/<generation>/keys/<i>-of-<n>.parquet       their band keys, sorted: key range i of n
    index/<name>/generations/<generation>/committed.json                written once index.json names it

A generation holds the documents that one run kept, or several runs after compaction. Its folder's name is a number that
is never reused and a digest of everything that decides its content, so an interrupted run writes the same folder again.
Readers ignore a folder that index.json does not name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import takewhile
from typing import Any

import pyarrow as pa

from gristmill.operators import columns
from gristmill.operators.base import digest_of
from gristmill.operators.errors import RecipeError, StoreFileGone
from gristmill.pipelines.config.wording import did_you_mean
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import way_back
from gristmill.pipelines.store.lock import check_held

FOLDER = "index"
RECORD = "index.json"
COMMITTED = "committed.json"
FORMAT = 1
_GENERATION = re.compile(r"\d{6,}-[0-9a-f]{12}")
SHARDS = pa.schema([("ordinal", pa.uint32()), ("source", pa.string()), ("documents", pa.uint64())])
#: Columns of a generation's documents, in addition to address and id.
CLUSTER, SIGNATURE = "cluster", "signature"


def documents_schema(permutations: int) -> pa.Schema:
    """Return the columns of the survivors of a shard; a survivor without words has no signature."""
    address, id = ((name, columns.TYPES[name]) for name in (columns.ADDRESS, columns.ID))
    return pa.schema([address, id, (CLUSTER, pa.uint64()), (SIGNATURE, pa.binary(2 * permutations))])


@dataclass(frozen=True)
class Generation:
    """One generation, as index.json has it."""

    name: str
    made_by: str  #: the run that kept its documents, or the operation that made it
    shards: int
    documents: int
    bytes: int  #: of its files
    key_files: int

    @property
    def number(self) -> int:
        """Return the number in its name."""
        return int(self.name.split("-")[0])


@dataclass(frozen=True)
class GenerationFiles:
    """Paths of the files of a generation. Picklable and small."""

    url: str
    key_files: int = 0

    @property
    def shards(self) -> str:
        """Return the file with the list of its shards."""
        return files.join(self.url, "shards.parquet")

    def documents(self, ordinal: int) -> str:
        """Return the file with the survivors of a shard."""
        return files.join(self.url, "documents", f"{ordinal:08d}.parquet")

    def keys(self, part: int) -> str:
        """Return the file with the keys of one key range."""
        return files.join(self.url, "keys", f"{part:05d}-of-{self.key_files:05d}.parquet")

    def keys_within(self, partition: int, partitions: int) -> list[str]:
        """Return the files that cover one of `partitions` key ranges (`partition_of`), and maybe more."""
        first = partition * self.key_files // partitions
        end = -(-(partition + 1) * self.key_files // partitions)
        return [self.keys(part) for part in range(first, end)]


@dataclass(frozen=True)
class HeldShard:
    """A shard that an index holds."""

    ordinal: int
    source: str
    documents: int  #: its survivors
    generation: str
    url: str  #: the file of its survivors


class Index:
    """One index of a store, as it was when it was opened."""

    def __init__(self, store: str, name: str) -> None:
        self.store, self.name = store, name
        self.url = files.join(store, FOLDER, name)
        try:
            record = files.read_record(files.join(self.url, RECORD))
        except FileNotFoundError:
            self._refuse_if_lost()
            record = {"parameters": {}, "last": 0, "generations": []}
        self.parameters: dict[str, Any] = record["parameters"]
        self.last: int = record["last"]  #: the highest number ever given to a generation
        self.generations = tuple(Generation(**generation) for generation in record["generations"])
        #: names of the runs whose documents it holds or held, and of other operations that made a generation
        self.runs = frozenset([*record.get("runs", ()), *(generation.made_by for generation in self.generations)])

    def _refuse_if_lost(self) -> None:
        """Raise StoreDamaged where index.json is gone although generations were committed."""
        folder = files.join(self.url, "generations")
        for name in files.names(folder):
            if files.exists(files.join(folder, name, COMMITTED)):
                url = files.join(self.url, RECORD)
                raise StoreFileGone(url, f"{url} is gone, and the generation {name} was committed. {way_back(url)}")

    @property
    def exists(self) -> bool:
        """Return whether it has ever been committed to."""
        return bool(self.parameters)

    @cached_property
    def held(self) -> Mapping[int, HeldShard]:
        """Return the shards that it holds, by ordinal."""
        return {shard.ordinal: shard for generation in self.generations for shard in self.shards_of(generation)}

    def shards_of(self, generation: Generation) -> list[HeldShard]:
        """Return the shards of one generation."""
        at = self.files_of(generation)
        rows = files.read_table(at.shards).to_pylist()
        return [HeldShard(**row, generation=generation.name, url=at.documents(row["ordinal"])) for row in rows]

    def files_of(self, generation: Generation) -> GenerationFiles:
        """Return the paths of a generation's files."""
        return GenerationFiles(self.folder(generation.name), generation.key_files)

    def folder(self, generation: str) -> str:
        """Return the folder of a generation, by its name."""
        return files.join(self.url, "generations", generation)

    def next_name(self, content: str, others: int = 0) -> str:
        """Return a generation's name, from the digest of all that decides its content; `others` are named before it."""
        return f"{self.last + 1 + others:06d}-{content[:12]}"

    def check(self, asked: Mapping[str, Any]) -> None:
        """Raise RecipeError where the index was made with other parameters; a new one takes any."""
        made_with = self.parameters or asked
        different = [name for name in asked if asked[name] != made_with.get(name)]
        if different:
            differences = ", ".join(
                f"{name} {_shown(asked[name])}, not {_shown(made_with.get(name))}" for name in different
            )
            raise RecipeError(
                f"the index {self.name} was made with other parameters than it is asked for: {differences}. "
                "Give them as they were, or give the rule another index"
            )

    def commit(self, parameters: Mapping[str, Any], generations: Sequence[Generation]) -> Index:
        """Make these the generations that readers see, then remove all other folders. Returns the new index."""
        check_held(self.store)
        last = max([self.last, *(generation.number for generation in generations)])
        record = {
            "format": FORMAT,
            "name": self.name,
            "fingerprint": digest_of(dict(parameters)),
            "parameters": dict(parameters),
            "last": last,
            "runs": sorted({*self.runs, *(generation.made_by for generation in generations)}),
            "generations": [asdict(generation) for generation in generations],
        }
        files.write_record(files.join(self.url, RECORD), record)
        committed = Index(self.store, self.name)
        committed.sweep()
        return committed

    def sweep(self) -> None:
        """Mark generations as committed and remove all other folders. Only the lock's holder may call this."""
        self._mark()
        named = {generation.name for generation in self.generations}
        folder = files.join(self.url, "generations")
        for name in filter(_GENERATION.fullmatch, files.names(folder)):
            if name not in named:
                files.remove(files.join(folder, name))

    def _mark(self) -> None:
        """Write the marks of the newest generations that have none, which completes an interrupted commit."""
        newest = sorted(self.generations, key=lambda generation: generation.number, reverse=True)
        marks = [(files.join(self.folder(generation.name), COMMITTED), asdict(generation)) for generation in newest]
        for url, record in reversed([*takewhile(lambda mark: not files.exists(mark[0]), marks)]):
            files.write_record(url, record)


def _shown(value: Any) -> str:
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def index_names(store: str) -> list[str]:
    """Return the names of a store's indexes."""
    return files.names(files.join(store, FOLDER))


def open_index(store: str, name: str) -> Index:
    """Open an existing index. Raises RecipeError where there is none."""
    index = Index(store, name)
    if not index.exists:
        names = [existing for existing in index_names(store) if Index(store, existing).exists]
        raise RecipeError(
            f"the store {store} has no index {name}{did_you_mean(name, names)}"
            if names
            else f"the store {store} has no index: a fuzzy_dedup with `index: {{name: {name}}}` makes one"
        )
    return index


def id_of(store: str, address: int) -> str:
    """Return the id of a document that an index of the store holds; its address as text if it was taken out of them."""
    for name in index_names(store):
        shard = Index(store, name).held.get(address >> columns.ROW_BITS)
        if shard is not None:
            only = [(columns.ADDRESS, "=", address)]
            ids: list[str] = files.read_table(shard.url, [columns.ADDRESS, columns.ID], only)[columns.ID].to_pylist()
            if ids:
                return ids[0]
    return f"document {address}"
