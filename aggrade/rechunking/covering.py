"""Cutting an array into pieces: whole target objects each, every object in one piece, as few reads as fit.

A source chunk that lies in two pieces is read and decoded twice. How often that happens is arithmetic, one dimension
at a time: cutting a length at the multiples of both a piece and a source chunk leaves as many parts as there are
reads. The piece with the fewest reads is sought among all that fit into memory.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aggrade.commit.documents import Bounds, Document, grid_of, shape_of, unit_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from aggrade.rechunking.grids import Shape

    Length = Callable[[int], int]

__all__ = ["Candidate", "choose_piece", "coverage_gaps", "parts", "parts_within"]

_SLACK = 1.02
_PARTS = 17


class Candidate(NamedTuple):
    """The leading dimensions of a piece: its shape, its items, those in memory with it, the reads that all pieces cost."""

    shape: Shape
    own: int
    items: int
    reads: int


def parts(size: int, *steps: int) -> int:
    """Return how many parts a length is cut into by the multiples of all steps together.

    >>> parts(10, 4, 5)  # cut at 4, 5 and 8
    4
    """
    count = 0
    for chosen in range(1, len(steps) + 1):
        for combination in itertools.combinations(steps, chosen):
            count -= (-1) ** chosen * -(-size // math.lcm(*combination))
    return count


def parts_within(start: int, stop: int, *steps: int) -> int:
    """Return how many parts the half-open interval from `start` to `stop` is cut into by the multiples of all steps.

    >>> parts_within(3, 10, 4, 5)  # cut at 4, 5 and 8
    4
    """
    before = parts(start, *steps) if start else 0
    shared = any(start % step == 0 for step in steps)
    return parts(stop, *steps) - before + (not shared) if stop > start else 0


def choose_piece(
    shape: Shape,
    target: Shape,
    source: Shape,
    most: int,
    enough: int,
    rolled: Mapping[int, tuple[Length, Length]] | None = None,
) -> Candidate | None:
    """Return the pieces that read the source least often.

    Parameters
    ----------
    shape
        Of the array.
    target
        Shape of what one target object holds; a piece is whole objects of it.
    source
        Shape of what is decoded alone in the source.
    most
        Items that may be in memory.
    enough
        Items at which a larger piece no longer pays, unless it saves reads.
    rolled
        Dimension along which pieces keep what the next one needs → for the length of a piece, how many items are in
        memory along it, and how many the pieces have together that do so.

    Returns
    -------
    Candidate or None
        None if not even one target object fits.
    """
    if 0 in shape:
        return Candidate(target, 0, 0, 0)
    front = [Candidate((), 1, 1, 1)]
    for axis, size in enumerate(shape):
        extent, together = (rolled or {}).get(axis, (_itself, _itself))
        lengths = [
            (length, min(extent(length), size), parts(size, together(length), source[axis]))
            for length in _lengths(size, target[axis], source[axis])
        ]
        front = _best(
            Candidate((*one.shape, length), one.own * min(length, size), one.items * held, one.reads * reads)
            for one in front
            for length, held, reads in lengths
            if one.items * held <= most
        )
    return _preferred(front, enough)


def _itself(length: int) -> int:
    return length


def _preferred(front: list[Candidate], enough: int) -> Candidate | None:
    """Return the smallest piece that is large enough among those with the fewest reads, else the largest."""
    if not front:
        return None
    limit = min(one.reads for one in front) * _SLACK
    good = sorted((one for one in front if one.reads <= limit), key=lambda one: (one.items, one.own))
    return next((one for one in good if one.own >= enough), good[-1])


def _lengths(size: int, target: int, source: int) -> list[int]:
    """Return lengths worth trying: whole objects next to parts and multiples of a source chunk and of the array."""
    whole = max(1, -(-size // target)) * target
    found = {target, whole, math.lcm(target, source)}
    found |= {-(-length // count) for length in (source, size) for count in range(1, _PARTS)}
    for step in (target, source):
        found |= {step << power for power in range((size // step).bit_length())}
    return sorted({min(whole, max(1, -(-length // target)) * target) for length in found})


def _best(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Drop candidates that cost more reads than a smaller one; of those as cheap as each other keep every size."""
    kept: dict[tuple[int, int, int], Candidate] = {}
    smallest = math.inf
    for _, group in itertools.groupby(sorted(candidates, key=lambda one: one.reads), lambda one: one.reads):
        good = {(one.own, one.items, one.reads): one for one in group if one.items < smallest}
        kept.update(good)
        smallest = min([smallest, *(one.items for one in good.values())])
    return list(kept.values())


def coverage_gaps(document: Document, boxes: Iterable[Bounds]) -> Iterator[str]:
    """Yield in words what keeps boxes from holding every object of an array exactly once, whole.

    Parameters
    ----------
    document
        The target array's document.
    boxes
        The pieces.
    """
    shape, unit = shape_of(document), unit_of(document)
    counts = np.zeros(grid_of(document), dtype=np.uint8)
    for box in boxes:
        if not _is_whole(box, shape, unit):
            yield f"a piece {box} that is not made of whole objects {unit}"
            return
        cells = tuple(
            slice(start // step, -(-stop // step)) for (start, stop), step in zip(box, unit, strict=True)
        )
        counts[cells] = np.minimum(counts[cells], 1) + 1
    if (missing := int((counts == 0).sum())) > 0:
        yield f"{missing} objects that no piece writes"
    if (twice := int((counts > 1).sum())) > 0:
        yield f"{twice} objects that two pieces write"


def _is_whole(box: Bounds, shape: Shape, unit: Shape) -> bool:
    return len(box) == len(shape) and all(
        0 <= start < stop <= size and start % step == 0 and (stop % step == 0 or stop == size)
        for (start, stop), size, step in zip(box, shape, unit, strict=True)
    )
