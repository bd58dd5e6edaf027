"""Questions about two texts: pairs of the documents of a sample, as documents of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gristmill.operators import columns
from gristmill.operators.kernels.buffers import id_words
from gristmill.operators.label.pairs import drawn_pairs, joined
from gristmill.operators.label.task import Sample
from gristmill.operators.measures.content_id import content_ids
from gristmill.pipelines.label.documents import DOCUMENT, Documents

COMPARISONS = 10  #: pairs that a text is in, where a task's sample does not say
#: Bytes that delimiters between the texts of a pair take in a prompt, at most.
_BETWEEN = 64
_BATCH = 256


@dataclass(frozen=True)
class PairTexts:
    """The texts of pairs (m). Picklable, with all the texts that it joins."""

    shards: Mapping[int, str]
    texts: tuple[str, ...]  #: (n)
    pairs: tuple[tuple[int, int], ...]  #: (m), places of the texts

    def of_shard(self, ordinal: int) -> PairTexts:
        """Return itself: there is one shard."""
        return self

    def name_of(self, ordinal: int) -> str:
        """Return what messages call the pairs."""
        return self.shards[ordinal]

    def read(self, ordinal: int, known: pa.Table) -> Iterator[pa.LargeStringArray]:
        """Yield the joined texts of some pairs, batch by batch."""
        rows = known[columns.ROW].to_pylist()
        for start in range(0, len(rows), _BATCH):
            pairs = (self.pairs[row] for row in rows[start : start + _BATCH])
            yield pa.array([joined(self.texts[a], self.texts[b]) for a, b in pairs], pa.large_string())


def paired(texts: Documents, sample: Sample | None) -> Documents:
    """Return pairs of different texts (n) as documents, whose id is `<content id>:<content id>` of both.

    Their key is the content id of both as one text. All texts are held in memory.
    """
    parts = [part for _, part in texts.by_shard()]
    contents = [text for part in parts for batch in part.read() for text in batch.to_pylist()]
    keys = [key for part in parts for key in part.keys]
    comparisons, seed = (None, 0) if sample is None else (sample.comparisons, sample.seed)
    ids = pa.array(keys, columns.TYPES[columns.CONTENT_ID])
    pairs = drawn_pairs(id_words(ids), comparisons or COMPARISONS, seed)
    joint = PairTexts({0: "pairs of texts"}, tuple(contents), tuple(map(tuple, pairs.tolist())))
    rows = pa.array(np.arange(len(pairs)), columns.TYPES[columns.ROW])
    batches = list(joint.read(0, pa.table({columns.ROW: rows})))
    own = pa.concat_arrays([content_ids(batch) for batch in batches]) if batches else pa.array([], ids.type)
    sizes = np.array([len(text.encode()) for text in contents], np.uint64)
    table = pa.table(
        [
            pa.repeat(pa.scalar(0, pa.uint32()), len(pairs)),
            rows,
            own,
            own,
            pa.array([f"{keys[a].hex()}:{keys[b].hex()}" for a, b in pairs.tolist()], pa.string()),
            pa.repeat(pa.scalar("pairs", pa.string()), len(pairs)),
            pa.array(sizes[pairs].sum(axis=1) + np.uint64(_BETWEEN), pa.uint64()),
        ],
        schema=DOCUMENT,
    )
    return Documents(table, joint)
