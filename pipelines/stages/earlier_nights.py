"""Earlier nights of a dataset with an index: their files, of which a version is made together with what it adds.

They are written once and listed by all later versions. Of a night some of whose shards are decided again (they were
taken out of the index) the files that hold such a shard are written again without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gristmill.operators import columns
from gristmill.operators.base import digest_of
from gristmill.operators.errors import StoreDamaged
from gristmill.operators.rules.select import TOKENS
from gristmill.pipelines.shard_tasks.pack import FOLDER as TOKENS_FOLDER
from gristmill.pipelines.shard_tasks.pack import packed_documents, write_packed
from gristmill.pipelines.shard_tasks.reread import kept_rows
from gristmill.pipelines.sinks.parquet import write_dataset_file
from gristmill.pipelines.stages.pack import listed, packed
from gristmill.pipelines.storage import files
from gristmill.pipelines.store.datasets import Dataset, Version
from gristmill.pipelines.store.measures import ShardMeasures
from gristmill.pipelines.store.resources import ReadyOperator
from gristmill.pipelines.store.run_records import RunRecords
from gristmill.pipelines.store.runs import Run

_COUNTED = pa.schema([(TOKENS, pa.int64())])
#: A file of a dataset, as a manifest lists it.
_File = Mapping[str, Any]


@dataclass(frozen=True)
class NightFile:
    """A file with documents of an earlier night, and the shards whose documents are left out of it."""

    night: str  #: the version that added them
    held_by: Version  #: whose folder it lies in
    file: _File
    out: frozenset[int] = frozenset()

    def written_to(self, version: Version) -> dict[str, Any] | None:
        """Return the entry of the file in the manifest of a version; None where nothing is left.

        Without some shards it is written again, into the folder of the version.
        """
        if not self.out:
            plain = {name: value for name, value in self.file.items() if name != "shards"}
            return {**plain, "path": self.held_by.path_of(self.file), "night": self.night}
        shards = [(ordinal, rows) for ordinal, rows in self.file["shards"] if ordinal not in self.out]
        if not shards:
            return None
        stays = np.repeat([n not in self.out for n, _ in self.file["shards"]], [m for _, m in self.file["shards"]])
        name = f"data-{self.night}-{self.file['name'].removeprefix('data-').removeprefix(f'{self.night}-')}"
        with files.open_input(files.join(self.held_by.url, self.file["name"])) as source:
            parquet = pq.ParquetFile(source)
            seen: list[int] = []
            groups = _groups(parquet, stays, seen)
            written = write_dataset_file(files.join(version.url, name), parquet.schema_arrow, groups, 0)
        written = replace(written, text_bytes=sum(seen))
        return {**asdict(written), "path": f"{version.name}/{name}", "night": self.night, "shards": shards}


def _groups(parquet: pq.ParquetFile, stays: NDArray[np.bool_], seen: list[int]) -> Iterator[pa.Table]:
    """Yield the rows of a file that stay, a row group at a time; append the bytes of their texts to `seen`."""
    first = 0
    for group in range(parquet.num_row_groups):
        table = parquet.read_row_group(group)
        kept = table.filter(pa.array(stays[first : first + table.num_rows]))
        first += table.num_rows
        if columns.TEXT in table.column_names:
            seen.append(pc.sum(pc.binary_length(kept[columns.TEXT]), min_count=0).as_py())
        if kept.num_rows:
            yield kept.combine_chunks()


@dataclass(frozen=True)
class NightTokens:
    """A shard of packed tokens of an earlier night, and the shards whose documents are left out of it."""

    night: str
    held_by: Version
    shard: Mapping[str, Any]  #: as a manifest lists it
    out: frozenset[int]

    def written_to(self, version: Version, pack: ReadyOperator) -> dict[str, Any] | None:
        """Return its entry in the manifest of a version; None where nothing is left.

        Without some shards the rest is packed again, into the folder of the version.
        """
        if not self.out:
            paths = [{**file, "path": self.held_by.path_of(file)} for file in self.shard["files"]]
            return {**self.shard, "files": paths, "night": self.night}
        name = self.shard["name"].rsplit("/tokens-", 1)[-1].removeprefix(f"{self.night}-")
        again = files.join(TOKENS_FOLDER, f"tokens-{self.night}-{name}")
        source = files.join(self.held_by.url, f"{self.shard['name']}.parquet")
        documents = packed_documents(pack, source, self.out)
        if not documents.num_rows:
            return None
        written = write_packed(pack, version.url, again, documents)
        return {**listed(written, version, self.shard.get("stratum")), "night": self.night}


@dataclass(frozen=True)
class EarlierNights:
    """The earlier nights of a version, oldest first."""

    files: Sequence[NightFile]
    packed: Sequence[NightTokens]
    tokens: Mapping[str, int]  #: by night
    schemas: Sequence[Any]  #: columns of their files, as manifests tell them
    columns_changed: bool  #: whether they differ

    def identity(self) -> list[Any]:
        """Return what tells them from others, for the name of the version."""
        return [[night.held_by.path_of(night.file), sorted(night.out)] for night in self.files]

    def listed(self, version: Version) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the files and the totals of each night for the manifest of a version; see `NightFile.written_to`."""
        entries = [entry for file in self.files if (entry := file.written_to(version)) is not None]
        totals = []
        for night, tokens in self.tokens.items():
            own = [entry for entry in entries if entry["night"] == night]
            counts = {what: sum(entry[what] for entry in own) for what in ("rows", "bytes", "text_bytes")}
            if own:
                totals.append({"version": night, **counts, "tokens": tokens})
        return entries, totals

    def strata(self) -> set[str]:
        """Return the strata of packed tokens, as text."""
        return {str(tokens.shard["stratum"]) for tokens in self.packed if "stratum" in tokens.shard}

    def packed_listed(self, version: Version, pack: ReadyOperator) -> list[dict[str, Any]]:
        """Return the shards of packed tokens for the manifest of a version; see `NightTokens.written_to`."""
        return [entry for shard in self.packed if (entry := shard.written_to(version, pack)) is not None]


def earlier_nights(
    records: RunRecords, dataset: Dataset, index: str, decided: Collection[int], before: Run | None = None
) -> EarlierNights:
    """Return the nights before a run that decides some shards, or before the run that it completes."""
    nights = records.nights(dataset.name, index, before)
    found, packed, tokens = list[NightFile](), list[NightTokens](), dict[str, int]()
    manifests: dict[str, dict[str, Any]] = {}

    def manifest(version: Version) -> dict[str, Any]:
        if version.name not in manifests:
            manifests[version.name] = version.manifest
        return manifests[version.name]

    def add(night: str, held: _Held, out: Collection[int], run: Run | None) -> None:
        left_out: set[int] = set()
        for file in held.files:
            place = dataset.named(file["path"].split("/")[0])
            if out:
                file = {**file, "shards": _shards(manifest(place), place, file, run)}
            gone = frozenset(ordinal for ordinal, _ in file.get("shards", ()) if ordinal in out)
            found.append(NightFile(night, place, file, gone))
            left_out |= gone
        for shard in held.packed:
            place = dataset.named(shard["files"][0]["path"].split("/")[0])
            packed.append(NightTokens(night, place, shard, frozenset(left_out)))

    newest = nights[-1].run.record["version"] if nights else _current(dataset)
    listed = {} if newest is None else _by_night(dataset.named(newest), manifest(dataset.named(newest)))
    standing = {night.run.record["version"] for night in nights}
    known = standing if standing >= {*listed} else {run.record["version"] for run in records.finished(dataset.name)}
    for version, held in listed.items():
        if version not in known:  # the records of its run are lost, its documents are not
            tokens[version] = held.tokens
            add(version, held, decided, None)
    for night in nights:
        version = night.run.record["version"]
        if version not in listed:
            held = _by_night(dataset.named(version), manifest(dataset.named(version)))[version]
            listed[version] = held._replace(tokens=held.tokens - kept_tokens(night.run, night.superseded))
        held = listed[version]
        again = [row for row in night.shards if row["ordinal"] in decided]
        tokens[version] = held.tokens - kept_tokens(night.run, again)
        add(version, held, {row["ordinal"] for row in [*again, *night.superseded]}, night.run)
    schemas = [told["schema"] for told in manifests.values()]
    changed = any(told.get("columns_changed") for told in manifests.values())
    return EarlierNights(found, packed, tokens, schemas, changed)


def _current(dataset: Dataset) -> str | None:
    """Return the version that readers take, where it lists nights; None where there is none."""
    with contextlib.suppress(StoreDamaged):
        if (current := dataset.current) is not None and "nights" in dataset.named(current).manifest:
            return current
    return None


class _Held(NamedTuple):
    """Files, tokens and shards of packed tokens of one night, as a manifest lists them."""

    files: list[_File]
    tokens: int
    packed: list[Mapping[str, Any]]  #: shards of packed tokens


def _by_night(version: Version, manifest: Mapping[str, Any]) -> dict[str, _Held]:
    """Return what a manifest lists of each night, by the version that added it."""
    counts = {night["version"]: night["tokens"] for night in manifest.get("nights", ())}
    counts[version.name] = manifest.get("new", manifest)["tokens"]
    held = {name: _Held([], tokens, []) for name, tokens in counts.items()}
    for file in manifest["files"]:
        held[file.get("night", version.name)].files.append({**file, "path": version.path_of(file)})
    for shard in manifest.get("packed", {"shards": ()})["shards"]:
        held[shard.get("night", version.name)].packed.append(shard)
    return held


def relisted(
    records: RunRecords, dataset: Dataset, index: str, newest: Version, pack: ReadyOperator | None, publish: bool = True
) -> Version:
    """Return the version for readers where no shard is new: that of the newest run, if it lists all nights as they are.

    Where it does not (labels of an earlier night came since, or it was written when a version listed its own files
    alone) the version is one that holds a manifest.
    """
    manifest = newest.manifest
    nights = earlier_nights(records, dataset, index, ())
    if "nights" in manifest and [newest.path_of(file) for file in manifest["files"]] == [
        night.held_by.path_of(night.file) for night in nights.files if not night.out
    ]:
        return newest
    version = dataset.version(digest_of(["nights", nights.identity()]))
    if not version.committed:
        entries, totals = nights.listed(version)
        *earlier, new = totals
        listing = {
            **{what: sum(night[what] for night in totals) for what in new if what != "version"},
            "new": {what: new[what] for what in new if what != "version"},
            "nights": earlier,
            "columns_changed": nights.columns_changed or any(schema != manifest["schema"] for schema in nights.schemas),
            "files": [_of_night(entry, newest) for entry in entries],
        }
        relisting = {**manifest, **listing, "completes": newest.name}
        relisting.pop("packed", None)
        if pack is not None:
            shards = nights.packed_listed(version, pack)
            relisting["packed"] = packed(pack, [_of_night(shard, newest) for shard in shards])
        version = dataset.commit(version, relisting, publish=publish)
    return replace(version, committed=True)


def _of_night(entry: Mapping[str, Any], newest: Version) -> dict[str, Any]:
    """Return an entry of a manifest without its night, where that is the newest."""
    return {name: value for name, value in entry.items() if name != "night" or value != newest.name}


def _shards(manifest: Mapping[str, Any], place: Version, file: _File, run: Run | None) -> list[tuple[int, int]]:
    """Return the shards of a file, and the rows of each, as the manifest of the version that wrote it tells them.

    Manifests once told no shards: they are those of the run that wrote the files, in its order.
    """
    first = 0
    for other in place.written(manifest):
        if other["name"] == file["name"] and "shards" in other:
            return [(ordinal, rows) for ordinal, rows in other["shards"]]
        if other["name"] == file["name"]:
            break
        first += other["rows"]
    if run is None:
        return []
    kept = [(row["ordinal"], int(_kept(run, row["ordinal"]).sum())) for row in run.shards()]
    of_row = np.repeat([ordinal for ordinal, _ in kept], [rows for _, rows in kept])[first : first + file["rows"]]
    ordinals, rows = np.unique(of_row, return_counts=True)
    return list(zip(ordinals.tolist(), rows.tolist(), strict=True))


def _kept(run: Run, ordinal: int) -> NDArray[np.bool_]:
    return kept_rows(run.decisions(ordinal)).to_numpy()  # type: ignore[no-any-return]


def kept_tokens(run: Run, shards: Iterable[Mapping[str, Any]]) -> int:
    """Return the tokens of what a run kept of some of its shards (rows of shards.parquet)."""
    total = 0
    for row in shards:
        measures = ShardMeasures(row["ordinal"], row["documents"], row["source"], tuple(row["parts"]), _COUNTED)
        counts = measures.read([TOKENS]).filter(pa.array(_kept(run, row["ordinal"])))
        total += pc.sum(counts[TOKENS], min_count=0).as_py()
    return total
