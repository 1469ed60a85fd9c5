"""Which parts of an array are compared before it is published. Pure arithmetic.

A sampled box is the part that one chunk of the source and one chunk of the target share, so it costs one read on
either side. First and last items are always among them; the others are drawn from the plan, so a second run compares
the same.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from aggrade.commit.documents import Bounds, Document, shape_of
from aggrade.rechunking.grids import inner_of

if TYPE_CHECKING:
    from aggrade.rechunking.grids import Shape

__all__ = ["drawn_boxes", "sample_boxes"]

_SAMPLES = 8


def drawn_boxes(write_id: str, name: str, before: Document, after: Document) -> list[Bounds]:
    """Return what of an array is compared, in items.

    Parameters
    ----------
    write_id
        Of the source's state.
    name
        The array.
    before, after
        Its documents in the source and in the target.
    """
    if 0 in shape_of(before):
        return []
    return sample_boxes(shape_of(before), inner_of(before), inner_of(after), f"{write_id} {name}")


def sample_boxes(shape: Shape, one: Shape, other: Shape, seed: str) -> list[Bounds]:
    """Return boxes that lie in one chunk of both grids each.

    Parameters
    ----------
    shape
        Of the array, without a zero.
    one, other
        Chunks of source and target.
    seed
        Decides which are drawn.
    """
    draw = random.Random(seed)  # noqa: S311 - a sample, not a secret
    drawn = [tuple(draw.randrange(size) for size in shape) for _ in range(_SAMPLES - 2)]
    items = [tuple(0 for _ in shape), *drawn, tuple(size - 1 for size in shape)]
    return sorted({tuple(map(_shared, item, shape, one, other)) for item in items})


def _shared(item: int, size: int, one: int, other: int) -> tuple[int, int]:
    start = max(item // one * one, item // other * other)
    return start, min((item // one + 1) * one, (item // other + 1) * other, size)
