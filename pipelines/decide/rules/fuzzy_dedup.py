"""Near duplicates: the columns that fuzzy_dedup needs, its verdict on each shard, and its details in the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.operators import columns
from gristmill.operators.errors import FatalError, RecipeError
from gristmill.operators.rules.banding import caught
from gristmill.operators.rules.fuzzy_dedup import FuzzyDedup
from gristmill.pipelines.decide.contract import Corpus, Executor, Resolved, Tally, Verdict
from gristmill.pipelines.decide.fuzzy.clusters import Clusters
from gristmill.pipelines.decide.fuzzy.parameters import Parameters
from gristmill.pipelines.decide.fuzzy.resolve import resolve
from gristmill.pipelines.decide.fuzzy.similarity import Evidence, SignatureEvidence
from gristmill.pipelines.decide.rules.checks import check_known, check_rank
from gristmill.pipelines.decide.shards import addresses_of, losses
from gristmill.pipelines.decide.text_similarity import TextEvidence
from gristmill.pipelines.storage import files


@dataclass(frozen=True)
class ResolvedFuzzyDedup:
    """Near duplicates, found."""

    rule: FuzzyDedup
    gives: pa.Schema
    clusters: Clusters
    texts_read: int
    reads: Sequence[str] = ()

    def judge(self, ordinal: int, documents: pa.Table) -> Verdict:
        """Return the verdict on a shard's documents: its losers, and the clusters of all."""
        members = self.clusters.members(ordinal)
        rows = np.searchsorted(addresses_of(documents), np.asarray(members[columns.ADDRESS]))
        lost = members.append_column("row", pa.array(rows))
        lost = lost.filter(pc.not_equal(lost[columns.ADDRESS], lost["survivor"])).combine_chunks()
        similarity = lost["similarity"].cast(pa.float64())
        limits = pa.repeat(pa.scalar(self._limit, pa.float64()), lost.num_rows)
        dropped = losses(np.asarray(lost["row"]), None, similarity, limits, lost["survivor"])
        return Verdict(dropped, columns=self._given(documents.num_rows, rows, members))

    @property
    def _limit(self) -> float | None:
        return None if self.rule.verify == "none" else self.rule.threshold

    def _given(self, n: int, rows: np.ndarray[Any, np.dtype[np.int64]], members: pa.Table) -> pa.Table:
        """Return the columns that the rule gives (n rows), null where a document is in no cluster."""
        at = np.full(n, -1)
        at[rows] = np.arange(len(rows))
        spread = members.take(pa.array(at, mask=at < 0))
        arrays = [spread[name] for name in ("cluster", "cluster_size", "survivor", "similarity")]
        return pa.table(arrays, schema=pa.schema([field.remove_metadata() for field in self.gives]))

    def details(self, tally: Tally) -> dict[str, Any]:
        """Return the parameters, the counts of candidates and clusters, and the `quality` of the bands."""
        clusters, (bands, rows) = self.clusters, self.rule.banding
        sizes = {size if size == 2 else f"{size // 2 + 1}-{size}": n for size, n in sorted(clusters.sizes.items())}
        details: dict[str, Any] = {
            "threshold": self.rule.threshold,
            "verify": self.rule.verify,
            "bands": bands,
            "rows": rows,
            "candidates": clusters.candidates,
            "edges": clusters.edges,
            "clusters": clusters.clusters,
            "largest_clusters": [{"cluster": cluster.root, "size": cluster.size} for cluster in clusters.largest],
            "sizes": {str(size): n for size, n in sizes.items()},
            "quality": quality(self.rule, clusters),
        }
        if self.rule.verify == "text":
            details["texts_read"] = self.texts_read
        return details


def quality(rule: FuzzyDedup, found: Clusters) -> dict[str, float]:
    """Return measures of how well the bands suit the threshold.

    `caught_at_threshold` and `caught_midway` are the probabilities that a pair shares a band whose similarity is the
    threshold, or midway from there to 1. Where candidates were compared: `precision`, the share of them that reach the
    threshold, and `recall`, the share of the corpus' pairs at or above the threshold that are candidates. Pairs of
    similarity s are candidates with probability `caught(s)`, so each in the sample stands for 1 / caught(s) of the
    corpus (Horvitz and Thompson 1952).
    """
    measures = {
        "caught_at_threshold": float(caught(rule.threshold, *rule.banding)),
        "caught_midway": float(caught((1 + rule.threshold) / 2, *rule.banding)),
    }
    if rule.verify != "none" and found.candidates:
        measures["precision"] = found.edges / found.candidates
        alike = found.sample.similarity[found.sample.similarity >= rule.threshold]
        if len(alike):
            measures["recall"] = float(len(alike) / np.sum(1 / caught(alike, *rule.banding)))
    return measures


def _check(rule: FuzzyDedup, schema: pa.Schema) -> None:
    check_known(sorted(rule.reads()), schema, " in fuzzy_dedup")
    signature = rule.signature.gives().field(0)
    if schema.field(signature.name).type != signature.type:
        raise RecipeError(
            f"fuzzy_dedup needs {signature.type} in {signature.name}, not {schema.field(signature.name).type}"
        )
    check_rank(rule.rank_column, schema, "fuzzy_dedup")


def _resolve(rule: FuzzyDedup, corpus: Corpus) -> Resolved:
    column = rule.signature.column
    parameters = Parameters(column, *rule.banding, rule.threshold, rule.verify, rule.keep)
    texts = _text_evidence(rule, corpus) if rule.verify == "text" else None
    evidence: Evidence = texts or SignatureEvidence(column, rule.permutations)
    history = None if rule.index is None else corpus.history
    clusters = resolve(parameters, evidence, corpus.survivors, corpus.engine, corpus.folder, history)
    return ResolvedFuzzyDedup(rule, rule.gives(corpus.name), clusters, texts.read() if texts else 0)


def _text_evidence(rule: FuzzyDedup, corpus: Corpus) -> TextEvidence:
    if corpus.texts is None:
        raise FatalError("fuzzy_dedup with verify: text was given no texts to read")
    return TextEvidence(corpus.texts, rule.ngram, files.join(corpus.folder, "texts"))


FUZZY_DEDUP = Executor(_check, _resolve)
