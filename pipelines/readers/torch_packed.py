"""Packed batches for PyTorch's DataLoader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

if TYPE_CHECKING:
    from gristmill.pipelines.readers.packed_feed import PackedFeed


class TorchBatches(IterableDataset):  # type: ignore[misc]  # to mypy all of torch is Any
    """Batches of a feed as tensors, the same ones in the same order for any number of workers."""

    def __init__(self, feed: PackedFeed, size: int) -> None:
        self._feed, self._size = feed, size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield dictionaries of `tokens` (int64, size x length), `pieces` (int32), `lengths`, `parts` (int64), `state`.

        They are those of `PackedBatch`.
        """
        worker = get_worker_info()
        share = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for batch in self._feed.batches(self._size, *share):
            arrays = {name: getattr(batch, name) for name in ("tokens", "pieces", "lengths", "parts")}
            arrays["tokens"] = arrays["tokens"].astype("int64")
            yield {**{name: torch.from_numpy(array) for name, array in arrays.items()}, "state": batch.state}
