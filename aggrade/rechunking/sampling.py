"""Comparing a sample of source and target by what the values are, before the target is published.

A sampled box is the part that one chunk of the source and one chunk of the target share, so it costs one read on
either side. First and last items are always among them; the others are drawn from the plan, so a second run compares
the same.
"""

from __future__ import annotations

import hashlib
import random
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit.documents import Bounds, shape_of
from aggrade.errors import Damaged, Problem, raise_all
from aggrade.rechunking.grids import inner_of, native_dtype
from aggrade.rechunking.source import open_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aggrade.rechunking.grids import Shape
    from aggrade.rechunking.plan import RechunkPlan
    from aggrade.rechunking.source import Source
    from aggrade.storage import Storage

__all__ = ["compare_samples", "content_digest", "sample_boxes"]

_SAMPLES = 8


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
    boxes = [(name, box) for name in plan.documents for box in _boxes(plan, name)]
    raise_all(
        (problem for name, box in boxes for problem in _difference(source, target, plan, name, box)), Damaged
    )
    return len(boxes)


def _boxes(plan: RechunkPlan, name: str) -> list[Bounds]:
    before, after = plan.sources[name], plan.documents[name]
    if 0 in shape_of(before):
        return []
    seed = f"{plan.source.write_id} {name}"
    return sample_boxes(shape_of(before), inner_of(before), inner_of(after), seed)


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
