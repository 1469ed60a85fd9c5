"""Comparing all of a copy with its source: both are read again, piece by piece, and digested object by object.

It is work like the copying itself: within the same bound of memory, by any ``map``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit.documents import shape_of, unit_of, units_in
from aggrade.errors import Damaged
from aggrade.rechunking.boxes import Box, bounds_of
from aggrade.rechunking.engine import read_box
from aggrade.rechunking.grids import raw_bytes
from aggrade.rechunking.memory import return_freed_memory
from aggrade.rechunking.pricing import compared_boxes
from aggrade.rechunking.sampling import content_digest

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from aggrade.commit.documents import Bounds
    from aggrade.rechunking.plan import RechunkPlan
    from aggrade.rechunking.pricing import ArrayPlan
    from aggrade.rechunking.source import Source

__all__ = ["Compared", "Comparison", "compare_piece", "comparisons"]


class Comparison(BaseModel):
    """Whole target objects of one array that one task compares."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variable: str
    bounds: tuple[tuple[int, int], ...] = Field(description="Half-open box in items.")
    digest: str = Field(description="Names it; another one in every run, so that no result outlives its run.")
    size: int = Field(description="Bytes of its values.")
    verb: str = Field(default="compare", description="What is done to it.")


class Compared(BaseModel):
    """What came of one comparison."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    variable: str
    differing: tuple[tuple[tuple[int, int], ...], ...] = Field(
        description="Objects with other values than the source, each as a half-open box in items."
    )


def comparisons(plan: RechunkPlan, run: str) -> list[Comparison]:
    """Return the comparisons of everything that a plan makes or keeps, each no larger than a piece.

    Parameters
    ----------
    plan
        What was done.
    run
        A name that no other run has.
    """
    found: dict[str, list[Bounds]] = {name: [] for name in plan.arrays}
    for piece in (*plan.pieces, *plan.kept):
        found[piece.variable].append(piece.bounds)
    return [
        Comparison(
            variable=name,
            bounds=box,
            digest=hashlib.sha256(f"{run} {name} {box}".encode()).hexdigest(),
            size=raw_bytes(plan.sources[name], tuple(stop - start for start, stop in box)),
        )
        for name, array in plan.arrays.items()
        for box in compared_boxes(plan.documents[name], array, found[name])
    ]


def compare_piece(
    item: Comparison, *, source: Source, target: Source, arrays: Mapping[str, ArrayPlan]
) -> Compared:
    """Read a box of the source and of the copy, one after the other, and compare the content of each object.

    Parameters
    ----------
    item
        The box.
    source
        The state that was copied.
    target
        The copy, as its new documents show it.
    arrays
        The plan of each array: how much is read at once.

    Raises
    ------
    Damaged
        If a chunk of the source can't be decoded. One of the copy that can't be differs.
    """
    return_freed_memory()
    name, bounds, plan = item.variable, item.bounds, arrays[item.variable]
    document = target.documents[name]
    wanted = _digests(read_box(source, name, bounds, plan), bounds, document)
    back = plan.model_copy(update={"read_block": plan.write_block})
    try:
        found = _digests(read_box(target, name, bounds, back), bounds, document)
    except Damaged:
        found = {}
    other = [index for index, digest in wanted.items() if found.get(index) != digest]
    return Compared(variable=name, differing=tuple(_clipped(index, document) for index in other))


def _digests(
    values: np.ndarray[Any, Any], bounds: Bounds, document: dict[str, Any]
) -> dict[tuple[int, ...], str]:
    """Return the digest of each object that a box holds."""
    grid = Box("", bounds, values).grid(unit_of(document))
    regions: dict[tuple[int, ...], tuple[Any, ...]] = {
        index: (*grid.inside(index), ...) for index in units_in(document, bounds)
    }
    return {index: content_digest(values[region]) for index, region in regions.items()}


def _clipped(index: tuple[int, ...], document: dict[str, Any]) -> Bounds:
    whole = bounds_of(index, unit_of(document))
    return tuple(
        (start, min(stop, size)) for (start, stop), size in zip(whole, shape_of(document), strict=True)
    )
