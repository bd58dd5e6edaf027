"""The rule that keeps one document of those that are nearly equal: whose shingles have a large Jaccard similarity."""

from __future__ import annotations

from typing import ClassVar, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from gristmill.operators.base import Memory, Rule, field
from gristmill.operators.measures.minhash import MinHash
from gristmill.operators.rules.banding import optimal_banding
from gristmill.operators.rules.keep import Keep, rank_column

#: Weight of a pair that the bands miss, against one that they bring up for nothing. Where candidates are compared,
#: pairs brought up for nothing are thrown out and pairs that were missed are lost. With 0.98 the bands for 112
#: permutations catch at least 0.947 of the pairs at any threshold from 0.6 to 0.95, and 0.998 of those 0.1 beyond it.
FALSE_NEGATIVE_WEIGHTS = {"none": 0.5, "signature": 0.98, "text": 0.98}


class NamedIndex(BaseModel):
    """An index in the store: what earlier runs kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="its folder under index/")


class FuzzyDedup(Rule):
    """Keeps one document of each set of near copies: documents whose shingles have a large Jaccard similarity.

    `fuzzy_dedup: {threshold: 0.8, keep: "best: quality"}`. Shingles are runs of `ngram` words of the lower-cased text.
    Documents that share a band of their MinHash signatures are candidates (Broder 1997; Indyk and Motwani 1998);
    candidates of at least `threshold` similarity belong to one cluster, and so do all that such pairs join.

    A cluster is settled in the order of `keep`: each document is compared with those that survive so far and goes where
    one of them is similar by at least `threshold`. So a document that goes is itself that similar to the one kept in
    its place: a chain of look-alikes loses none of its links by the chain alone.

    `verify: signature` compares candidates by their signatures, which estimates the similarity with a standard error of
    sqrt(s * (1 - s) / permutations). `verify: text` reads the candidates' texts again and compares all shingles.
    `verify: none` takes every candidate for a copy and keeps one document of each cluster.

    `index: {name: web}` remembers in the store what a run keeps, and decides each shard once: a later run leaves out
    the shards that the index holds, and drops a new document that is a near-duplicate of one that was kept.
    """

    shorthand: ClassVar[str | None] = "threshold"

    threshold: float = Field(default=0.75, gt=0, le=1, description="Jaccard similarity from which documents are copies")
    ngram: int = Field(default=5, ge=1, le=100, description="words in a shingle")
    permutations: int = Field(default=112, ge=8, le=1024, description="lanes of a signature")
    scheme: Literal["kperm", "fss"] = Field(
        default="kperm", description="kperm, or fss: more exact for short texts, slower (see minhash)"
    )
    keep: Keep = "first"
    verify: Literal["signature", "none", "text"] = Field(
        default="signature", description="what decides of candidates: their signatures, their texts, or nothing more"
    )
    seed: int = Field(default=1, ge=0, lt=2**64, description="of the permutations")
    bands: int | None = Field(
        default=None, ge=1, description="bands of a signature; by default what suits the threshold"
    )
    rows: int | None = Field(default=None, ge=1, description="lanes in a band; given where bands are")
    index: NamedIndex | None = Field(
        default=None, description="{name: ...}: the history that runs are resolved against"
    )

    @model_validator(mode="after")
    def _check_banding(self) -> FuzzyDedup:
        if (self.bands is None) != (self.rows is None):
            option, missing = ("rows", "bands") if self.bands is None else ("bands", "rows")
            raise ValueError(f"{option} without {missing}: give both, or neither for those that suit the threshold")
        if self.bands is not None and self.rows is not None and self.bands * self.rows > self.permutations:
            raise ValueError(
                f"{self.bands} bands of {self.rows} rows take {self.bands * self.rows} permutations; "
                f"there are {self.permutations}"
            )
        return self

    @model_validator(mode="after")
    def _check_index(self) -> FuzzyDedup:
        if self.index is not None and self.verify == "text":
            raise ValueError(
                "verify: text with an index: what earlier runs kept is compared by its signature; use verify: signature"
            )
        return self

    @property
    def signature(self) -> MinHash:
        """Return the measure of the signatures. Rules with the same options share its column."""
        scheme = "" if self.scheme == "kperm" else f"_{self.scheme}"
        column = f"minhash_{self.ngram}_{self.permutations}_{self.seed}{scheme}"
        options = {"ngram": self.ngram, "permutations": self.permutations, "scheme": self.scheme, "seed": self.seed}
        return MinHash(**options, column=column)  # type: ignore[arg-type]

    @property
    def banding(self) -> tuple[int, int]:
        """Return bands and rows: those given, or those that suit the threshold."""
        if self.bands is not None and self.rows is not None:
            return self.bands, self.rows
        return optimal_banding(self.threshold, self.permutations, FALSE_NEGATIVE_WEIGHTS[self.verify])

    @property
    def rank_column(self) -> str | None:
        """Return the column whose highest value survives; None where the first document does."""
        return rank_column(self.keep)

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return ("near_duplicates", *(("shingle_sets",) if self.verify == "text" else ()))

    def reads(self) -> set[str]:
        """Return the columns that it reads."""
        return {self.signature.column, *filter(None, [self.rank_column])}

    def needs(self) -> tuple[MinHash, ...]:
        """Return the measure of the signatures."""
        return (self.signature,)

    def remembers(self) -> Memory | None:
        """Return the index that it names: two runs may share one where they agree in all that decides signatures."""
        if self.index is None:
            return None
        minhash, (bands, rows) = self.signature, self.banding
        parameters = {
            "ngram": minhash.ngram,
            "permutations": minhash.permutations,
            "scheme": minhash.scheme,
            "seed": minhash.seed,
            "minhash": minhash.fingerprint({})[:16],
            "bands": bands,
            "rows": rows,
            "threshold": self.threshold,
            "verify": self.verify,
        }
        return Memory(self.index.name, parameters, minhash, self.permutations, bands, rows)

    def counts_for(self, name: str) -> dict[str, float]:
        """Return 1 for the size of a cluster: a document in no cluster stands alone."""
        return {f"{name}_size": 1}

    def gives(self, name: str) -> pa.Schema:
        """Return the columns on the cluster and the survivor of a document; null for documents in no cluster."""
        return pa.schema(
            [
                field(f"{name}_cluster", pa.uint64(), "smallest address in the document's cluster"),
                field(f"{name}_size", pa.uint32(), "documents in the cluster"),
                field(
                    f"{name}_survivor", pa.uint64(), "address of the document kept in its place, its own where it is"
                ),
                field(f"{name}_similarity", pa.float32(), "Jaccard similarity to that document"),
            ]
        )
