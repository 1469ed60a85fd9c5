"""In which order one rank reads windows in one epoch: a pure function of seed, epoch and what there is.

Windows are read unit by unit (the windows of one object). Units are put in random order and cut into as many equal
parts as there are ranks; a rank's part is cut into groups that fit into memory, within which windows are in random
order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["EpochOrder", "Piece", "Sharing", "order_epoch", "taken_in_turn"]

Piece = tuple[int, int]
"""The first of the windows of one unit that are read, and the first behind them."""


@dataclass(frozen=True)
class Sharing:
    """How an epoch is shared and cut.

    Parameters
    ----------
    batch_size
        Windows of a batch.
    shuffle
        Whether windows are in random order.
    seed
        Of the random order.
    drop_last
        Whether what doesn't fill a batch on every rank is left out.
    rank, world_size
        Which of how many readers.
    group
        Windows in memory at once, unless one unit has more.
    """

    batch_size: int
    shuffle: bool
    seed: int
    drop_last: bool
    rank: int
    world_size: int
    group: int

    def share(self, windows: int) -> tuple[int, int]:
        """Return the first of so many windows that is this rank's, and the first behind its last."""
        first, stop = (windows * rank // self.world_size for rank in (self.rank, self.rank + 1))
        if self.drop_last:
            stop = first + windows // self.world_size // self.batch_size * self.batch_size
        return first, stop

    def batches(self, windows: int) -> int:
        """Return how many batches this rank gets of so many windows."""
        first, stop = self.share(windows)
        return -(-(stop - first) // self.batch_size)


@dataclass(frozen=True, eq=False)
class EpochOrder:
    """What one rank reads in one epoch.

    Parameters
    ----------
    sharing
        How it is shared.
    epoch
        Which epoch.
    groups
        What is in memory at once.
    """

    sharing: Sharing
    epoch: int
    groups: tuple[tuple[Piece, ...], ...]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """(group + 1,) how many windows come before each group."""
        return np.cumsum([0, *(sum(stop - first for first, stop in group) for group in self.groups)])

    def rows(self, group: int) -> NDArray[np.int64]:
        """Return the windows of one group, (n,) indices into the table, as they are read."""
        return np.concatenate([np.arange(first, stop) for first, stop in self.groups[group]])

    def within(self, group: int) -> NDArray[np.int64]:
        """Return the order of one group's windows, (n,) indices into its pieces one behind the other."""
        count = int(self.starts[group + 1] - self.starts[group])
        if not self.sharing.shuffle:
            return np.arange(count)
        return _random(self.sharing.seed, self.epoch, 1, self.sharing.rank, group).permutation(count)


def order_epoch(units: NDArray[np.int64], sharing: Sharing, epoch: int) -> EpochOrder:
    """Return what a rank reads in an epoch.

    Parameters
    ----------
    units
        (unit + 1,) where each unit begins.
    sharing
        How the epoch is shared.
    epoch
        Which epoch, from 0.
    """
    count = len(units) - 1
    order = _random(sharing.seed, epoch, 0).permutation(count) if sharing.shuffle else np.arange(count)
    stops = np.cumsum(np.diff(units)[order])
    first, stop = sharing.share(int(units[-1]))
    groups: list[list[Piece]] = []
    held = sharing.group
    last = int(np.searchsorted(stops, stop, side="left"))
    for at in range(int(np.searchsorted(stops, first, side="right")), min(last + 1, count)):
        unit, before = int(order[at]), int(stops[at - 1]) if at else 0
        low, high = max(first - before, 0), min(stop, int(stops[at])) - before
        if high <= low:
            continue
        if held + high - low > sharing.group:
            groups.append([])
            held = 0
        groups[-1].append((int(units[unit]) + low, int(units[unit]) + high))
        held += high - low
    return EpochOrder(sharing, epoch, tuple(map(tuple, groups)))


def taken_in_turn(lengths: Sequence[int], count: int) -> tuple[list[int], int]:
    """Return how many of so many items come from each of several queues in turn, and whose turn is next.

    Parameters
    ----------
    lengths
        Items of each queue; empty ones are passed over.
    count
        Items that were taken.
    """
    taken, turn = [0] * len(lengths), 0
    for _ in range(min(count, sum(lengths))):
        while taken[turn] == lengths[turn]:
            turn = (turn + 1) % len(lengths)
        taken[turn] += 1
        turn = (turn + 1) % len(lengths)
    return taken, turn


def _random(*key: Any) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence(key))
