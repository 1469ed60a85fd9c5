"""Comparing a sample of source and target by what the values are, before the target is published.

Which are compared is known from the plan (`aggrade.rechunking.drawing`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import Damaged, Problem, raise_all
from aggrade.rechunking.drawing import drawn_boxes
from aggrade.rechunking.grids import native_dtype
from aggrade.rechunking.source import open_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.commit.documents import Bounds
    from aggrade.rechunking.plan import RechunkPlan
    from aggrade.rechunking.source import Source
    from aggrade.storage import Storage

__all__ = ["compare_samples", "content_digest"]


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
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def compare_samples(source: Source, target: Storage, plan: RechunkPlan) -> int:
    """Compare a sample of every array, as the target's new documents show it.

    Returns
    -------
    int
        How many boxes were compared.

    Raises
    ------
    Damaged
        If any differs; the error names each.
    """
    state, sources = plan.source.write_id, plan.sources
    boxes = [
        (name, box)
        for name, after in plan.documents.items()
        for box in drawn_boxes(state, name, sources[name], after)
    ]
    raise_all(
        (problem for name, box in boxes for problem in _difference(source, target, plan, name, box)), Damaged
    )
    return len(boxes)


def _difference(
    source: Source, target: Storage, plan: RechunkPlan, name: str, box: Bounds
) -> Iterator[Problem]:
    region = tuple(slice(*pair) for pair in box)
    dtype = native_dtype(plan.documents[name])
    wanted = np.asarray(source.open(name)[region], dtype=dtype)
    found = np.asarray(open_array(target, name, plan.documents[name])[region], dtype=dtype)
    if content_digest(wanted) != content_digest(found):
        where = f"{target.url}/{name}[{', '.join(f'{start}:{stop}' for start, stop in box)}]"
        fix = "run it again; if it happens again, verify the source"
        yield Problem(where, "other values than in the source", "equal values", fix, "rechunk-differs")
