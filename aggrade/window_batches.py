"""A window reader as a dataset of torch. Importing this module imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import IterableDataset, get_worker_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.window_reader import WindowReader

__all__ = ["WindowBatches"]


class WindowBatches(IterableDataset):  # type: ignore[misc, type-arg, unused-ignore]
    """The batches of a reader, for a `torch.utils.data.DataLoader` with ``batch_size=None``.

    Parameters
    ----------
    reader
        Whose batches. Each worker of the data loader reads a share of the reader's own, as if it was one of so many
        more ranks; without workers the reader's own batches come in their order.
    """

    def __init__(self, reader: WindowReader) -> None:
        super().__init__()
        self.reader = reader

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        if info is None:
            yield from self.reader
            return
        yield from self.reader.split(info.id, info.num_workers)
        self.reader.set_epoch(self.reader.epoch + 1)
