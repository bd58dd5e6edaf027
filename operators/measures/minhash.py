"""The measure `minhash`: the signatures that fuzzy deduplication compares."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.operators.base import Documents, Files, Measure, MeasureFunction, field
from gristmill.operators.columns import TEXT
from gristmill.operators.kernels.buffers import text_buffers
from gristmill.operators.kernels.minhash import fast_similarity, k_permutations, sign
from gristmill.operators.kernels.shingles import alphabet

SCHEMES = {"kperm": k_permutations, "fss": fast_similarity}


class MinHash(Measure):
    r"""A MinHash signature of the text's shingles: the share of lanes in which two agree estimates their Jaccard.

    Shingles are runs of `ngram` words of the lower-cased text, whatever stands between the words. A word is a run of
    letters, digits, underscores (`\w`) and combining marks; where a script has no spaces between words, every code
    point is one. A text of fewer words than `ngram` has one shingle, all its words; without any word it has no
    signature (null) and is a copy of nothing.

    A signature is `permutations` lanes of 16 bits, little-endian: b-bit minwise hashing (Li and Koenig 2010). The
    estimate's standard error at similarity J is sqrt(J * (1 - J) / permutations), less with `fss` for short texts.
    """

    ngram: int = Field(default=5, ge=1, le=100, description="words in a shingle")
    permutations: int = Field(default=112, ge=8, le=1024, description="lanes of a signature")
    scheme: Literal["kperm", "fss"] = Field(
        default="kperm",
        description="kperm: independent permutations; fss: Fast Similarity Sketching, more exact for short texts",
    )
    seed: int = Field(default=1, ge=0, description="of the permutations")
    column: str = Field(default="minhash", description="name of the column")

    def gives(self) -> pa.Schema:
        """Return the column of signatures (binary(2 * permutations))."""
        lanes = "lanes of 16 bits: the share that two texts agree in estimates the Jaccard similarity of their shingles"
        return pa.schema([field(self.column, pa.binary(2 * self.permutations), lanes)])

    def kernels(self) -> tuple[str, ...]:
        """Return the groups of kernels that it calls."""
        return (f"sign_{self.scheme}",)

    def open(self, files: Files) -> MeasureFunction:
        """Return a thread-safe function from documents (n rows) to the columns of `gives` (n rows)."""
        sketch, characters, schema = SCHEMES[self.scheme](self.permutations, self.seed), alphabet(), self.gives()

        def measure(documents: Documents) -> pa.RecordBatch:
            texts = documents.column(TEXT)
            signatures = np.empty((len(texts), self.permutations), np.uint16)
            shingles = np.empty(len(texts), np.int64)
            sign(*text_buffers(texts), self.ngram, characters, sketch, signatures, shingles)
            signed = pa.array(shingles > 0)  # a null text has no bytes, so no shingles
            content = pa.py_buffer(signatures.astype("<u2", copy=False))
            column = pa.FixedSizeBinaryArray.from_buffers(
                schema.types[0], len(texts), [None if signed.false_count == 0 else signed.buffers()[1], content]
            )
            return pa.record_batch([column], schema=schema)

        return measure
