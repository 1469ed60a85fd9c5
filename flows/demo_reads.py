"""What one random read costs in the layout that was written, and in the one that was made for reading.

The last lines of the demonstration: one window, one light curve, each read once from both stores, with requests and bytes as
they were sent. The metadata are read before; nothing else is remembered.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aggrade.opening import open_dataset
from aggrade.placing import reading_copies
from aggrade.price import human_bytes
from aggrade.storage import open_storage
from aggrade.storage.counting import counted

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping

    import xarray as xr

    from flows.demo_terminal import Terminal

__all__ = ["Read", "random_reads", "show_reads"]

_KINDS = {
    "one random window": ({"session", "window"}, ("eeg", "fnirs")),
    "one random light curve": ({"object"}, ("lightcurves", "status")),
}
"""What is read → the dimensions that say which one, and the arrays that hold it."""


@dataclass(frozen=True)
class Read:
    """What one read of a store took.

    Parameters
    ----------
    what
        What was read.
    store
        URL of the store.
    requests, bytes_read
        As they were sent.
    seconds
        How long it took.
    """

    what: str
    store: str
    requests: int
    bytes_read: int
    seconds: float

    def __str__(self) -> str:
        requests = f"{self.requests} request{'s' * (self.requests != 1)}"
        return f"{requests}, {human_bytes(self.bytes_read)}, {1000 * self.seconds:.1f} ms"


def show_reads(terminal: Terminal, store: str) -> None:
    """Print what a random window and a random light curve cost, as they were written and rechunked.

    Parameters
    ----------
    terminal
        Where to print.
    store
        The dataset root.
    """
    for read in random_reads(store, np.random.default_rng()):
        terminal.say(f"{f'{read.what}:':24} {read}, from {read.store}")


def random_reads(store: str, rng: np.random.Generator) -> Iterator[Read]:
    """Yield what it takes to read the same random item from a store and from its copy for reading.

    Parameters
    ----------
    store
        The dataset root.
    rng
        Chooses the items.
    """
    for urls in reading_copies(store).items():
        opened = [(url, *_open(url)) for url in urls]
        for what, (dims, names) in _KINDS.items():
            held = [(url, _held(shown, names), counts) for url, shown, counts in opened if shown]
            if len(held) == len(opened) and all(dims <= set(dataset.dims) for _, dataset, _ in held):
                sizes = held[0][1].sizes
                position = {dim: int(rng.integers(sizes[dim])) for dim in sorted(dims)}
                for url, dataset, counts in held:
                    yield _read(what, url, dataset, position, counts)


def _held(dataset: xr.Dataset, names: tuple[str, ...]) -> xr.Dataset:
    """Return the arrays that hold an item, without what else is known of it."""
    return dataset[[name for name in names if name in dataset]].reset_coords(drop=True)


def _open(url: str) -> tuple[xr.Dataset | None, Counter[str]]:
    storage, counts = counted(open_storage(url))
    return open_dataset(storage), counts


def _read(
    what: str, url: str, dataset: xr.Dataset, position: Mapping[str, int], counts: Counter[str]
) -> Read:
    dataset.isel(dict.fromkeys(position, 0)).load()
    counts.clear()
    began = time.perf_counter()
    dataset.isel(position).load()
    seconds = time.perf_counter() - began
    requests = sum(count for kind, count in counts.items() if kind.isupper())
    return Read(what, url, requests, counts["bytes_read"], seconds)
