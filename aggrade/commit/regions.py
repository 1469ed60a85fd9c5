"""Boxes of places in an array, as regions that keys can be compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.commit.documents import dims_of, shape_of, unit_of
from aggrade.commit.plan import Target

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggrade.commit.documents import Document

__all__ = ["beyond", "box_around", "everything"]

_ENDLESS = 1 << 48


def beyond(name: str, document: Document, dim: str | None, *, edges: bool = True) -> tuple[Target, ...]:
    """Return all the places that an array doesn't show.

    Parameters
    ----------
    name, document
        The array.
    dim
        The dimension along which the store grows.
    edges
        Whether its last rows count, too: later commits write in their objects.
    """
    dims, shape, unit = dims_of(document), shape_of(document), unit_of(document)
    whole = everything(name, document)
    found = []
    for axis, (size, n) in enumerate(zip(shape, unit, strict=True)):
        with_edge = edges and (dims[axis] == dim or dim not in dims)
        first = size // n * n if with_edge else -(-size // n) * n
        bounds = [(first, _ENDLESS) if at == axis else pair for at, pair in enumerate(whole[0].bounds)]
        found.append(whole[0].model_copy(update={"bounds": tuple(bounds)}))
    return tuple(found)


def everything(name: str, document: Document) -> tuple[Target, ...]:
    """Return all the places that the key encoding of an array has."""
    unit, encoding = unit_of(document), document["chunk_key_encoding"]
    return (Target(variable=name, bounds=((0, _ENDLESS),) * len(unit), unit=unit, key_encoding=encoding),)


def box_around(name: str, document: Document, indices: Iterable[tuple[int, ...]]) -> tuple[Target, ...]:
    """Return the smallest region that holds some objects; none if there are none."""
    found = list(indices)
    if not found:
        return ()
    unit = unit_of(document)
    corners = np.array(found, dtype=int).reshape(len(found), len(unit))
    low, high = corners.min(axis=0), corners.max(axis=0) + 1
    bounds = tuple((int(a) * n, int(b) * n) for a, b, n in zip(low, high, unit, strict=True))
    encoding: dict[str, Any] = document["chunk_key_encoding"]
    return (Target(variable=name, bounds=bounds, unit=unit, key_encoding=encoding),)
