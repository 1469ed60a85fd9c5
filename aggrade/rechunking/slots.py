"""Versions of a store beside each other in one folder (docs/decisions/0002-versions-in-one-store.md).

Each version of a rechunked store writes its chunks under another chunk key encoding of Zarr v3, so that the keys of
successive versions never meet and the root document alone decides which one is seen::

    version 0, 3 …   c/1/0   default encoding, separator "/"
    version 1, 4 …   c.1.0   default encoding, separator "."
    version 2, 5 …   1.0     v2 encoding, separator "."

An array without dimensions has a single chunk and only two possible keys, ``c`` and ``0``, which take turns.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from aggrade.commit.documents import Document, in_grid, index_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["belongs", "key_encoding", "strangers", "with_version"]

_SLOTS = (("default", "/"), ("default", "."), ("v2", "."))


def key_encoding(version: int, dimensions: int) -> dict[str, Any]:
    """Return the chunk key encoding of an array in that version of its store.

    Parameters
    ----------
    version
        0 for a new store; each rechunk into it adds 1.
    dimensions
        The array's number of dimensions.

    >>> key_encoding(1, 2)
    {'name': 'default', 'configuration': {'separator': '.'}}
    """
    name, separator = _SLOTS[version % 3] if dimensions else _SLOTS[(version % 2) * 2]
    return {"name": name, "configuration": {"separator": separator}}


def with_version(document: Document, version: int) -> Document:
    """Return the same document with the keys of that version."""
    changed = copy.deepcopy(document)
    changed["chunk_key_encoding"] = key_encoding(version, len(shape_of(document)))
    return changed


def belongs(name: str, document: Document, key: str) -> bool:
    """Tell whether a key is a chunk of the array as its document describes it."""
    index = index_of(name, document, key)
    return index is not None and in_grid(document, index)


def strangers(
    name: str, documents: Iterable[Document], keys: Iterable[str], kept: Iterable[str] = ()
) -> Iterator[str]:
    """Yield the keys in an array's folder that belong to none of the versions in `documents`.

    Parameters
    ----------
    name
        The array.
    documents
        The versions to spare.
    keys
        What lies in the array's folder.
    kept
        Further keys to spare.
    """
    versions = list(documents)
    spared = {f"{name}/zarr.json", *kept}
    for key in keys:
        if key not in spared and not any(belongs(name, document, key) for document in versions):
            yield key
