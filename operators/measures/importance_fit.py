"""The parts of importance weights: bucket counts of corpus and targets, log ratios of their distributions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gristmill.operators.errors import RecipeError

Counts = NDArray[np.int64]

#: Added to every probability by the reference library (data-selection 1.0.3, fit_importance_estimator).
REFERENCE_EPSILON = 1e-8
#: The KL divergence is taken over as many buckets as in the paper: over many more it measures how small a selection is.
KL_BUCKETS = 10_000

_RAW, _TARGET, _LOG_RATIO = "raw", "target/", "log_ratio/"


@dataclass(frozen=True)
class FeatureSample:
    """Documents seen in a fit."""

    counts: Counts  #: n-grams in each bucket
    documents: int
    tokens: int


@dataclass(frozen=True)
class ImportanceFit:
    """A fitted pair of distributions: raw and target over the same buckets.

    The log ratios are kept, not computed again from the counts, so that no weight depends on a machine's logarithm.
    """

    raw: FeatureSample
    targets: Mapping[str, FeatureSample]
    proportions: Mapping[str, float]  #: of each target in the mixture; they add up to 1
    #: float64[k, buckets], log(p_target / p_raw): of the mixture and, where there are several targets, then of each.
    log_ratios: NDArray[np.float64]

    @property
    def buckets(self) -> int:
        """Return the number of buckets."""
        return len(self.raw.counts)

    def to_bytes(self) -> bytes:
        """Return the fit as an Arrow IPC file: columns of counts and of log ratios, JSON metadata on what was seen."""
        columns = {_RAW: self.raw.counts}
        columns |= {_TARGET + name: sample.counts for name, sample in self.targets.items()}
        columns |= {f"{_LOG_RATIO}{i}": row for i, row in enumerate(self.log_ratios)}
        metadata = {
            "raw": {"documents": self.raw.documents, "tokens": self.raw.tokens},
            "targets": {name: {"documents": s.documents, "tokens": s.tokens} for name, s in self.targets.items()},
            "proportions": dict(self.proportions),
        }
        table = pa.table(columns).replace_schema_metadata({"importance": json.dumps(metadata)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def read(cls, path: Path) -> ImportanceFit:
        """Read the fit from a file that `to_bytes` gave; raise RecipeError where the file is something else."""
        try:
            table = pa.ipc.open_file(path.read_bytes()).read_all()
            metadata = json.loads(table.schema.metadata[b"importance"])
            columns = {name: table[name].combine_chunks().to_numpy() for name in table.column_names}
            return cls(
                raw=FeatureSample(columns[_RAW], **metadata["raw"]),
                targets={name: FeatureSample(columns[_TARGET + name], **s) for name, s in metadata["targets"].items()},
                proportions=metadata["proportions"],
                log_ratios=np.stack([column for name, column in columns.items() if name.startswith(_LOG_RATIO)]),
            )
        except (OSError, pa.ArrowInvalid, KeyError, TypeError, ValueError) as error:
            problem = f"{path} is not a fit of importance weights ({error})"
            raise RecipeError(f"{problem}; remove it and it is fitted again") from None


def estimate(
    raw: FeatureSample,
    targets: Mapping[str, FeatureSample],
    proportions: Mapping[str, float],
    smoothing: float | Literal["reference"],
) -> ImportanceFit:
    """Fit the log ratios of the mixture sum_k proportion_k p_k, and of each target where there are several.

    smoothing: the share of the raw distribution mixed into the target (Jelinek-Mercer smoothing), so that
    log_ratio = log((1 - s) p_target / p_raw + s), with one occurrence added to each bucket of the raw counts. An n-gram
    that the target does not hold costs a document log(s) at most, whatever is known of it. "reference": no mixing, and
    1e-8 added to both probabilities.
    """
    each = {name: _shares(sample.counts) for name, sample in targets.items()}
    mixture = sum((proportions[name] * p for name, p in each.items()), np.zeros(len(raw.counts)))
    distributions = [mixture, *each.values()] if len(each) > 1 else [mixture]
    if smoothing == "reference":
        p_raw = _shares(raw.counts)
        rows = [np.log(p + REFERENCE_EPSILON) - np.log(p_raw + REFERENCE_EPSILON) for p in distributions]
    else:
        p_raw = _shares(raw.counts + 1)
        rows = [np.log((1 - smoothing) * (p / p_raw) + smoothing) for p in distributions]
    return ImportanceFit(raw, targets, proportions, np.stack(rows))


def kl_reductions(fit: ImportanceFit, selected: Counts) -> dict[str, float]:
    """Return KL(target || raw) - KL(target || selected) for each target, in nats per n-gram.

    selected: bucket counts (int64[buckets]) of the selected documents. The number says how much closer to the target
    the selection is than the corpus (Xie et al. 2023, section 5). It is taken over KL_BUCKETS buckets at most; one
    occurrence is added to each bucket of corpus and selection.
    """
    p_raw, p_selected = _shares(_folded(fit.raw.counts) + 1), _shares(_folded(selected) + 1)
    gain = np.log(p_selected) - np.log(p_raw)
    return {name: float(_shares(_folded(target.counts)) @ gain) for name, target in fit.targets.items()}


def kl_reduction(fit: ImportanceFit, selected: Counts) -> float:
    """Return the mean of `kl_reductions` over the targets."""
    reductions = kl_reductions(fit, selected)
    return sum(reductions.values()) / len(reductions)


def _shares(counts: Counts) -> NDArray[np.float64]:
    """Return counts divided by their sum; zeros where there are none."""
    shares: NDArray[np.float64] = counts / max(1, counts.sum())
    return shares


def _folded(counts: Counts) -> Counts:
    """Return counts over at most KL_BUCKETS buckets: neighbours together, as good as any other way for hashes."""
    if len(counts) <= KL_BUCKETS:
        return counts
    starts = -(-np.arange(KL_BUCKETS) * len(counts) // KL_BUCKETS)
    return np.add.reduceat(counts, starts)
