"""The shard registry: an append-only list that gives each shard, as it was when first seen, a permanent ordinal.

A shard is its files (URL, size, version), its part of them and the way it is read. A changed file is a new shard.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from gristmill.operators.base import digest_of
from gristmill.operators.errors import FatalError, StoreFileGone
from gristmill.operators.extract.extract import Extract
from gristmill.pipelines.config.located_yaml import LocatedYaml
from gristmill.pipelines.sources.discover import ShardSpec
from gristmill.pipelines.sources.formats import holds_pages
from gristmill.pipelines.sources.partitions import uses_keys
from gristmill.pipelines.sources.spec import Source
from gristmill.pipelines.storage import files
from gristmill.pipelines.storage.file_kinds import way_back
from gristmill.pipelines.store.extracts import Extraction, document_columns

FOLDER = "shards"
SCHEMA = pa.schema([("ordinal", pa.uint32()), ("key", pa.string()), ("spec", pa.string())])


_FILE = re.compile(r"\d{8}\.parquet")


@dataclass(frozen=True)
class Shard:
    """Registered shard: its ordinal, and the files to read and their source."""

    ordinal: int
    spec: ShardSpec
    source: Source
    extraction: Extraction | None = None  #: the way its pages become text; None where its documents are text

    def schema(self) -> pa.Schema:
        """Return the columns of its documents without `row`: those of its source, of the extraction, text."""
        return document_columns(self.source, self.extraction)


class Registry:
    """Registered shards of a store. `extract` says how pages become text."""

    def __init__(self, store: str, extract: Extract | None = None) -> None:
        self.folder = files.join(store, FOLDER)
        self._extraction = None if extract is None else Extraction.of(store, extract)
        self.ordinals: dict[str, int] = {}
        self.specs: list[str] = []
        for name in filter(_FILE.fullmatch, files.names(self.folder)):
            url = files.join(self.folder, name)
            if name != f"{len(self.specs):08d}.parquet":
                raise StoreFileGone(url, f"{self.folder}/{len(self.specs):08d}.parquet is gone. {way_back(url)}")
            table = files.read_table(url)
            for ordinal, key, spec in zip(*(table[c].to_pylist() for c in SCHEMA.names), strict=True):
                self.ordinals[key] = ordinal
                self.specs.append(spec)

    def check_knows(self, ordinals: Iterable[int]) -> None:
        """Raise StoreFileGone where other parts of the store have documents of a shard that is not registered."""
        if (highest := max(ordinals, default=-1)) >= len(self.specs):
            url = files.join(self.folder, f"{len(self.specs):08d}.parquet")
            reason = f"the store has documents of shard {highest}, which nothing registers"
            raise StoreFileGone(url, f"{url} is gone: {reason}. {way_back(url)}")

    def shard(self, ordinal: int, spec: ShardSpec, source: Source) -> Shard:
        """Return a registered shard."""
        return Shard(ordinal, spec, source, self._extraction if holds_pages(source) else None)

    def known(self, spec: ShardSpec, source: Source, document: LocatedYaml) -> int | None:
        """Return the shard's ordinal, or None where it is new."""
        return self.ordinals.get(self._key(spec, source, document))

    def register(self, specs: Sequence[tuple[ShardSpec, Source]], document: LocatedYaml) -> list[Shard]:
        """Return the shards with their ordinals, in ordinal order; add new ones in the order given, in one file.

        URLs are kept with secrets (`${NAME}` in the recipe) unresolved.
        """
        added: list[dict[str, object]] = []
        shards = []
        first = len(self.specs)
        for spec, source in specs:
            key = self._key(spec, source, document)
            if key not in self.ordinals:
                self.ordinals[key] = len(self.specs)
                self.specs.append(document.redact(json.dumps(spec.to_json())))
                added.append({"ordinal": self.ordinals[key], "key": key, "spec": self.specs[-1]})
            shards.append(self.shard(self.ordinals[key], spec, source))
        if added:
            table = pa.Table.from_pylist(added, schema=SCHEMA)
            files.write_table(files.join(self.folder, f"{first:08d}.parquet"), table)
        return sorted(shards, key=lambda shard: shard.ordinal)

    def _key(self, spec: ShardSpec, source: Source, document: LocatedYaml) -> str:
        decisive: list[object] = [document.redact(json.dumps(spec.identity())), source.reading_fingerprint()]
        if self._extraction is not None and holds_pages(source):  # another text is another document
            decisive.append(self._extraction.fingerprint)
        return digest_of([*decisive, "keys of folders"] if uses_keys(source, spec.files) else decisive)


def check_addresses(shards: Iterable[Shard]) -> None:
    """Raise FatalError where two shards of a run are the same: documents would be there twice, at one address."""
    shards_by_ordinal: dict[int, Shard] = {}
    for shard in shards:
        if (other := shards_by_ordinal.setdefault(shard.ordinal, shard)) is not shard:
            raise FatalError(
                f"sources {other.source.name} and {shard.source.name} read {shard.spec.name} as the same documents, "
                "which would be there twice; nothing is committed. Let one source name that file"
            )
