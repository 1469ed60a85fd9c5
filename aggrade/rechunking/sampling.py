"""Comparing a sample of source and target by what the values are, before the target is published.

Which are compared is known from the plan (`aggrade.rechunking.drawing`). Both sides are read by zarr's own pipeline, so
that a flaw of our codecs shows too.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import Damaged
from aggrade.rechunking.box_reading import undecodable_chunks
from aggrade.rechunking.drawing import drawn_boxes

if TYPE_CHECKING:
    from aggrade.commit.documents import Bounds
    from aggrade.rechunking.plan import RechunkPlan
    from aggrade.rechunking.source import Source

__all__ = ["content_digest", "differing_samples", "sampled_boxes"]


def content_digest(values: np.ndarray[Any, Any]) -> str:
    """Return a digest of shape and values; equal for equal bits, so that NaN equals itself.

    Parameters
    ----------
    values
        Any array; text by its characters, everything else by its bytes in C order.
    """
    digest = hashlib.sha256(repr((values.shape, values.dtype.str)).encode())
    if values.dtype.hasobject:
        for item in values.ravel():
            encoded = item if isinstance(item, bytes) else str(item).encode()
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    else:
        digest.update(np.ascontiguousarray(values).reshape(-1).view("u1"))
    return digest.hexdigest()


def sampled_boxes(plan: RechunkPlan) -> list[tuple[str, Bounds]]:
    """Return what is compared of every array: its name and a box in items."""
    return [
        (name, box)
        for name, after in plan.documents.items()
        for box in drawn_boxes(plan.source.write_id, name, plan.sources[name], after)
    ]


def differing_samples(source: Source, target: Source, plan: RechunkPlan) -> list[tuple[str, Bounds]]:
    """Compare a sample of every array.

    Parameters
    ----------
    source
        The state that was copied.
    target
        The copy, as its new documents show it.
    plan
        What was done.

    Returns
    -------
    list of tuple
        Those of `sampled_boxes` that differ, or of which the copy can't be decoded.

    Raises
    ------
    Damaged
        If a chunk of the source can't be decoded.
    """
    return [(name, box) for name, box in sampled_boxes(plan) if not _agree(source, target, name, box)]


def _agree(source: Source, target: Source, name: str, box: Bounds) -> bool:
    wanted = _digest(source, name, box)
    try:
        return _digest(target, name, box) == wanted
    except Damaged:
        return False


def _digest(store: Source, name: str, box: Bounds) -> str:
    with undecodable_chunks(store.storage.url, name, box):
        return content_digest(store.values(name, box))
