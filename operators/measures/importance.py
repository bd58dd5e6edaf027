"""Importance weights by hashed n-grams (DSIR): how much more likely a document is under a target than in the corpus.

Xie, Santurkar, Ma and Liang 2023, "Data Selection for Language Models via Importance Resampling".
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import BaseModel, ByteSize, ConfigDict, Field, model_validator

from gristmill.operators import columns
from gristmill.operators.base import Documents, Files, FittedMeasure, MeasureFunction, field
from gristmill.operators.errors import RecipeError
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.ngrams import UNCACHED, Features, count_buckets, sum_over_buckets
from gristmill.operators.kernels.wordpunct import characters
from gristmill.operators.measures.importance_fit import Counts, FeatureSample, ImportanceFit, estimate, kl_reduction

#: Entries of the cache of SHA-256 buckets, 8 MB for each thread: a larger one saves few hashes more.
CACHE_ENTRIES = 1 << 20


class Target(BaseModel):
    """One of several targets: its documents, and its share of the mixture."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="a glob of documents")
    proportion: float = Field(gt=0, allow_inf_nan=False, description="share of the mixture")


class Importance(FittedMeasure):
    """The log importance weight log p_target(x) - log p_raw(x) of a document, over its hashed n-grams (DSIR).

    `importance: {target: "target/*.jsonl.gz"}`. A weight is the sum, over the document's n-grams of order 1 to `ngram`,
    of the log ratio of the two distributions' probabilities of the n-gram's bucket. They are fitted on the target's
    documents and on a sample of the corpus. A document without words has weight 0. `select: {by: importance}` draws
    documents by it. What the options do to a selection: docs/importance.md.

    Several targets, `target: {medicine: "med/*.jsonl", law: {path: "law/*.jsonl", proportion: 0.3}}` (all with a
    proportion or none), make a mixture of their distributions; a second column, `<column>_target`, then names the one
    that the document fits best. Proportions shift weights, they are no quotas: for exact shares give `select` quotas by
    that column.
    """

    shorthand: ClassVar[str | None] = "target"

    target: str | dict[str, str | Target] = Field(description="a glob of documents, or several by name")
    buckets: int = Field(default=262_144, ge=2, le=2**26, description="of hashed n-grams; any number")
    ngram: int = Field(default=2, ge=1, le=8, description="longest n-gram, in tokens")
    smoothing: Annotated[float, Field(gt=0, lt=1)] | Literal["reference"] = Field(
        default=0.2,
        description="share of the raw distribution in the target's; reference (with that hash): 1e-8 added to both",
    )
    length: Literal["sum", "mean", "sqrt"] = Field(
        default="sum", description="the sum, or divided by the number of n-grams or its square root"
    )
    hash: Literal["fast", "reference"] = Field(
        default="fast",
        description="fast: words of any script; reference: SHA-256 over tokens, bit for bit as data-selection 1.0.3",
    )
    sample: ByteSize = Field(default=ByteSize(16_000_000), gt=0, description="how much of the corpus the fit reads")
    seed: int = Field(default=0, ge=0, description="of that sample")
    column: str = Field(default="importance", description="name of the column")

    @model_validator(mode="before")
    @classmethod
    def _smooth_as_the_reference(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("hash") == "reference":
            return {"smoothing": "reference", **value}
        return value

    @model_validator(mode="after")
    def _check_target(self) -> Importance:
        if isinstance(self.target, dict):
            names = [name for name, target in self.target.items() if isinstance(target, Target)]
            if not self.target:
                raise ValueError("target names no documents; give a glob, or a mapping of names to globs")
            if names and len(names) < len(self.target):
                missing = ", ".join(name for name in self.target if name not in names)
                raise ValueError(f"some targets have a proportion, {missing} not; give all of them one, or none")
        return self

    def targets(self) -> dict[str, str]:
        """Return the globs of the targets, by name; a single one is called `target`."""
        named = self.target if isinstance(self.target, dict) else {"target": self.target}
        return {name: target.path if isinstance(target, Target) else target for name, target in named.items()}

    def proportions(self) -> dict[str, float]:
        """Return the share of each target in the mixture; equal where none are given."""
        named = self.target if isinstance(self.target, dict) else {"target": self.target}
        weights = {name: target.proportion if isinstance(target, Target) else 1.0 for name, target in named.items()}
        return {name: weight / sum(weights.values()) for name, weight in weights.items()}

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("buckets",) if self.hash == "fast" else ()

    def sample_bytes(self) -> int:
        """Return how much text of the corpus (UTF-8 bytes) the fit reads at most."""
        return int(self.sample)

    def sample_seed(self) -> int:
        """Return the seed of the sample of the corpus."""
        return self.seed

    def gives(self) -> pa.Schema:
        """Return the column of log weights (float64) and, for several targets, that of the best one's name."""
        weight = field(self.column, pa.float64(), "log importance weight, log p_target(x) - log p_raw(x)")
        if len(self.targets()) == 1:
            return pa.schema([weight])
        best = field(f"{self.column}_target", pa.string(), "the target under which the document is most likely")
        return pa.schema([weight, best])

    def fit(self, raw: Iterable[Documents], targets: Mapping[str, Iterable[Documents]]) -> bytes:
        """Return the distributions of raw and target documents, as `ImportanceFit.to_bytes`.

        Raises RecipeError where a target holds no words.
        """
        samples = {name: self._sample(targets[name]) for name in self.targets()}
        for name, glob in self.targets().items():
            if samples[name].tokens == 0:
                raise RecipeError(
                    f"importance target {name} ({glob}): {samples[name].documents} documents without a single word; "
                    "name documents like those to select"
                )
        return estimate(self._sample(raw), samples, self.proportions(), self.smoothing).to_bytes()

    def check(self, files: Files) -> None:
        """Raise RecipeError where the fit cannot be read or was made with other options."""
        if "fit" in files:
            self._read(files)

    def open(self, files: Files) -> MeasureFunction:
        """Read the fit; return a thread-safe function from documents (n rows) to weights (n rows)."""
        log_ratios = np.ascontiguousarray(self._read(files).log_ratios.T)
        names, schema = np.array(list(self.targets())), self.gives()

        def measure(documents: Documents) -> pa.RecordBatch:
            text = documents[columns.TEXT]
            sums, lengths = self._sums(text, log_ratios)
            weights = sums[:, 0]
            if self.length != "sum":
                grams = np.maximum(lengths, 1)
                weights = weights / (grams if self.length == "mean" else np.sqrt(grams))
            null = text.is_null().to_numpy(zero_copy_only=False)
            measured = [pa.array(weights, mask=null)]
            if len(names) > 1:
                measured.append(pa.array(names[sums[:, 1:].argmax(axis=1)], pa.string(), mask=null | (lengths == 0)))
            return pa.record_batch(measured, schema=schema)

        return measure

    def observe(self, documents: Documents) -> Counts:
        """Return how often each bucket occurs (int64[buckets])."""
        return self._sample([documents]).counts

    def describe(self, files: Files, counts: Counts) -> dict[str, Any]:
        """Return how far a selection moved the distribution of features (Xie et al. 2023, section 5)."""
        return {"kl_reduction": kl_reduction(self._read(files), counts)}

    def _read(self, files: Files) -> ImportanceFit:
        fit = ImportanceFit.read(files["fit"])
        if fit.buckets != self.buckets or list(fit.targets) != list(self.targets()):
            raise RecipeError(
                f"{files['fit']} was fitted with {fit.buckets} buckets on {', '.join(fit.targets)}, the recipe asks "
                f"for {self.buckets} on {', '.join(self.targets())}; remove it and it is fitted again"
            )
        return fit

    def _features(self) -> Features:
        reference = self.hash == "reference"
        cache = _sha256_cache(self.buckets).entries if reference else UNCACHED
        return Features(characters(like_re=reference), self.ngram, self.buckets, cache)

    def _sample(self, batches: Iterable[Documents]) -> FeatureSample:
        counts = np.zeros(self.buckets, np.int64)
        documents = tokens = 0
        for batch in batches:
            text = batch[columns.TEXT].drop_null()
            documents += len(text)
            tokens += count_buckets(*text_buffers(text), self._features(), counts)
        return FeatureSample(counts, documents, tokens)

    def _sums(self, text: pa.Array, log_ratios: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return sums of log ratios (buckets, k) as (n, k) and numbers of n-grams (n) of n texts."""
        sums, lengths = np.empty((len(text), log_ratios.shape[1])), np.empty(len(text), np.int64)
        sum_over_buckets(*text_buffers(text), self._features(), log_ratios, sums, lengths)
        return sums, lengths


class _Sha256Cache(threading.local):
    """Buckets of n-grams seen before, one cache for each thread: no other call writes what a call reads."""

    def __init__(self, buckets: int) -> None:
        self.entries = np.zeros(max(CACHE_ENTRIES, 1 << (buckets - 1).bit_length()), np.uint64)


@functools.lru_cache
def _sha256_cache(buckets: int) -> _Sha256Cache:
    return _Sha256Cache(buckets)
