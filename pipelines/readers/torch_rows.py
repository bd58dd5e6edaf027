"""A stream of rows as an `IterableDataset` of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch.utils.data import IterableDataset, get_worker_info

from gristmill.pipelines.readers.row_stream import RowStream


class TorchRows(RowStream, IterableDataset):  # type: ignore[misc]  # to mypy all of torch is Any
    """A stream of rows that PyTorch's DataLoader and torchdata's StatefulDataLoader read, in any number of workers."""

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the rows of the worker that asks; see `RowStream.iterate`."""
        worker = get_worker_info()
        return self.iterate() if worker is None else self.iterate(worker.id, worker.num_workers)
