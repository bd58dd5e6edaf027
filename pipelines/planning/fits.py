"""Fits: artefacts that a measure learns once, from a bounded seeded sample of the corpus, and keeps until a refit.

    fits/<fingerprint>/fit.json    the files it was drawn from, how much of each, the artefact's digest
    fits/<fingerprint>/fit.bin     the artefact, written after its record

A fit is valid while every file that it was drawn from is as it was: new shards do not change it (yesterday's measures
stay valid), a changed file has it made again. A lost or damaged artefact is made again from the same documents.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gristmill.operators import columns
from gristmill.operators.base import FittedMeasure, digest_of
from gristmill.operators.errors import FatalError, RecipeError, StoreDamaged, StoreFileGone
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.pipelines.config.tuning import sizes
from gristmill.pipelines.engine.base import Engine, check_reach
from gristmill.pipelines.recipe.recipe import LoadedRecipe
from gristmill.pipelines.shard_tasks.extract import read_batches
from gristmill.pipelines.sources.discover import ShardSpec, discover_files
from gristmill.pipelines.sources.read import Batch, read_documents
from gristmill.pipelines.sources.storage import UnreadableFiles
from gristmill.pipelines.storage import files, seal
from gristmill.pipelines.storage.file_kinds import way_back
from gristmill.pipelines.store.registry import Shard
from gristmill.pipelines.store.resources import ReadyOperator, Resource, resource

FOLDER = "fits"
#: The sample is spread over this many shards at most.
SAMPLED_SHARDS = 32


@dataclass(frozen=True)
class Fit:
    """Location and state of a fit."""

    url: str
    fitted: bool  #: False: it has to be made
    digest: str = ""  #: of the artefact, where it is there
    lost: Mapping[str, Any] | None = None  #: the record of an artefact that is lost: it is made again as it was

    @property
    def artefact(self) -> str:
        """Return the artefact's file."""
        return files.join(self.url, "fit.bin")

    @property
    def record(self) -> str:
        """Return the file with the record of the documents that the artefact was made from."""
        return files.join(self.url, "fit.json")


@dataclass(frozen=True)
class SampleShard:
    """Task to read the first documents of a shard, transformed, up to a number of bytes."""

    shard: Shard
    transforms: tuple[ReadyOperator, ...]
    allowance: int

    def __str__(self) -> str:
        return self.shard.spec.name

    def run(self) -> list[pa.RecordBatch]:
        """Return the documents that start within the allowance: the same ones for any batch size."""
        transforms = [t.open() for t in self.transforms]
        batches: list[pa.RecordBatch] = []
        start = 0
        size = max(1, min(sizes().batch_bytes, self.allowance))
        for batch in _readable(read_batches(self.shard, columns=(), batch_bytes=size)):
            text = batch.documents[columns.TEXT]
            _, offsets = text_buffers(text)
            n = int(np.searchsorted(offsets[:-1] - offsets[0], self.allowance - start))
            start += int(offsets[-1] - offsets[0])
            text = text.slice(0, n)
            for transform in transforms:
                text = transform(text)
            batches.append(pa.record_batch({columns.TEXT: text}))
            if start >= self.allowance:
                break
        return batches


def _readable(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield the batches of a shard, even if some of its files cannot be read: the measure pass reports them."""
    with contextlib.suppress(UnreadableFiles):
        yield from batches


def sample_shard(task: SampleShard) -> list[pa.RecordBatch]:
    """Call `SampleShard.run`: a plain function, as engines take it."""
    return task.run()


def find_fit(
    loaded: LoadedRecipe,
    measure: FittedMeasure,
    where: str,
    transforms: Sequence[ReadyOperator],
    specs: Sequence[ShardSpec],
    refit: bool = False,
) -> Fit:
    """Return the fit of a measure for this recipe's sources and targets; one yet to be made if `refit` is set.

    Raises StoreDamaged where the record of a fit is lost: its artefact cannot be checked without it.
    """
    sources = [[s.path, s.reading_fingerprint()] for s in loaded.recipe.sources]
    digests = target_digests(loaded, measure, where)
    chain = [t.fingerprint for t in transforms]
    key = digest_of([loaded.document.redact_value(sources), measure.fingerprint(digests), chain])
    url = files.join(loaded.store, FOLDER, key)
    fit = Fit(url, fitted=False)
    if refit:
        return fit
    try:
        record = files.read_record(fit.record)
    except FileNotFoundError:
        if not files.exists(fit.artefact):
            return fit
        raise StoreFileGone(fit.record, f"{fit.record} is gone. {way_back(fit.record)}") from None
    now = {name: version for spec in specs for name, version in file_versions(loaded, spec).items()}
    if any(now.get(name, version) != version for name, version in record["sampled"].items()):
        return fit
    digest = _digest(fit.artefact)
    if digest is None or digest != record.get("digest", digest):
        return Fit(url, fitted=False, lost=record if "digest" in record else None)  # else of an earlier version
    return Fit(url, fitted=True, digest=digest)


def _digest(url: str) -> str | None:
    """Return the digest of a file's content; None where there is no such file."""
    try:
        return files.digest(url)
    except FileNotFoundError:
        return None


def make_fit(
    loaded: LoadedRecipe,
    measure: FittedMeasure,
    fit: Fit,
    transforms: tuple[ReadyOperator, ...],
    shards: Sequence[Shard],
    engine: Engine,
) -> None:
    """Draw the sample, fit, and store the artefact and its record.

    For a fit whose artefact is lost, the sample is that of its record. Raises StoreDamaged where the new artefact
    differs from the lost one.
    """
    check_reach(engine, [loaded.store, *(file.url for shard in shards for file in shard.spec.files)])
    sample = sampled_shards(measure, shards)
    if fit.lost is not None:
        sample = sorted((s for s in shards if s.ordinal in fit.lost["ordinals"]), key=lambda shard: shard.ordinal)
    allowance = measure.sample_bytes() // max(1, len(sample) if fit.lost is None else fit.lost["chosen"])
    tasks = [SampleShard(shard, transforms, allowance) for shard in sample]
    outcomes = sorted(engine.map(sample_shard, tasks), key=lambda outcome: outcome.index)
    for outcome in outcomes:
        if isinstance(outcome.error, FatalError):
            raise outcome.error
    # A shard that cannot be read is reported by the measure pass, which reads it whole; the fit is made without it.
    successes = [outcome for outcome in outcomes if outcome.error is None]
    batches = [batch for outcome in successes for batch in outcome.unwrap()]
    targets = {
        name: transformed(target_documents(loaded, glob), transforms) for name, glob in measure.targets().items()
    }
    artefact = measure.fit(batches, targets)
    sampled = {n: v for outcome in successes for n, v in file_versions(loaded, sample[outcome.index].spec).items()}
    digest = seal.digest(artefact).hex()
    if fit.lost is None:
        record = {
            "documents": sum(b.num_rows for b in batches),
            "shards": len(successes),
            "of_shards": len(shards),
            "chosen": len(sample),
            "ordinals": [sample[outcome.index].ordinal for outcome in successes],
            "sampled": sampled,
            "digest": digest,
        }
        files.write_record(fit.record, record)
    elif digest != fit.lost["digest"]:
        raise StoreDamaged(
            fit.artefact,
            f"{fit.artefact} is damaged or gone, and what is made again of the sources is not what it was. Restore it "
            "from a backup, or let `gristmill run RECIPE --refit` fit again",
        )
    files.write_bytes(fit.artefact, artefact)


def sampled_shards(measure: FittedMeasure, shards: Sequence[Shard]) -> list[Shard]:
    """Return a seeded choice of shards, in ordinal order.

    It depends on ordinals, not on names or times of files: the same corpus gives the same sample wherever it lies.
    """
    seed = measure.sample_seed()

    def draw(shard: Shard) -> str:
        return digest_of([seed, shard.ordinal])

    return sorted(sorted(shards, key=draw)[:SAMPLED_SHARDS], key=lambda shard: shard.ordinal)


def file_versions(loaded: LoadedRecipe, spec: ShardSpec) -> dict[str, str]:
    """Return size and version of each file of a shard, by its URL (secrets unresolved)."""
    return {loaded.document.redact(f.url): f"{f.size} {f.version}" for f in spec.files}


def target_digests(loaded: LoadedRecipe, measure: FittedMeasure, where: str) -> dict[str, str]:
    """Return a digest of the files of each target, by its name."""
    digests = {}
    for name, glob in measure.targets().items():
        try:
            refs = discover_files(glob, loaded.base)
        except RecipeError as error:
            raise RecipeError(f"{where}: target {name}: {error}") from None
        digests[name] = digest_of([resource(f.url, where).digest for f in refs])
    return digests


def target_documents(loaded: LoadedRecipe, glob: str) -> Iterator[pa.RecordBatch]:
    """Yield the documents of a target."""
    yield from read_documents(glob, id=None, base=loaded.base)


def transformed(batches: Iterator[pa.RecordBatch], transforms: Sequence[ReadyOperator]) -> Iterator[pa.RecordBatch]:
    """Yield the batches with the recipe's transforms applied to their text."""
    opened = [t.open() for t in transforms]
    for batch in batches:
        text = batch[columns.TEXT]
        for transform in opened:
            text = transform(text)
        yield pa.record_batch({columns.TEXT: text})


def fit_resource(fit: Fit) -> Resource:
    """Return the artefact as a resource of its measure."""
    return Resource(fit.artefact, fit.digest or files.digest(fit.artefact))
