"""A stream of rows as an `IterableDataset` of PyTorch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from gristmill.pipelines.readers.row_stream import RowStream


class TorchRows(RowStream, IterableDataset):  # type: ignore[misc]  # to mypy all of torch is Any
    """A stream of rows that PyTorch's DataLoader and torchdata's StatefulDataLoader read, in any number of workers.

    Workers have copies of it. The epoch, and who went on from a state already, are in memory that they share: a worker
    that outlives an epoch learns of the next one, and the pass after the one that goes on from a state is a whole one.
    """

    def __init__(self, *of_stream: Any) -> None:
        super().__init__(*of_stream)
        self._epoch_of_all = torch.tensor([self.epoch]).share_memory_()
        self._went_on = torch.zeros(0)

    def set_epoch(self, epoch: int) -> None:
        """Give the next iterators the order of an epoch; a state of another epoch is not gone on from."""
        super().set_epoch(epoch)
        self._epoch_of_all[0] = epoch

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iterators go on from a state. Raises RecipeError where it is that of another stream."""
        super().load_state_dict(state)
        self._epoch_of_all[0] = self.epoch
        self._went_on = torch.zeros(int(state["workers"])).share_memory_()

    def __iter__(self) -> Iterator[Any]:
        """Return an iterator over the rows of the worker that asks; see `RowStream.iterate`."""
        worker = get_worker_info()
        if worker is None:
            return self.iterate()
        super().set_epoch(int(self._epoch_of_all[0]))
        if worker.id < len(self._went_on):
            if self._went_on[worker.id]:
                self._begin = None
            self._went_on[worker.id] = 1
        return self.iterate(worker.id, worker.num_workers)
