"""Making every replacement of an object differ in its bytes, though not in its values.

On most servers an ETag is a hash of the content. Write the same bytes again, and an old mark is back: a writer
that slept through its lease, with that mark in hand, would overwrite what its successor published. So whatever
replaces an object carries its commit's generation, which never repeats, where every decoder passes over it:
behind a Zstandard frame as a skippable frame (RFC 8878, section 3.1.2), or in a shard behind the last inner
chunk, where nothing points (Zarr v3 ``sharding_indexed``). Other codecs leave no room.
"""

from __future__ import annotations

import hashlib
import math
import struct
from operator import itemgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aggrade.commit.documents import Document
    from aggrade.storage import Storage

__all__ = ["object_digest", "objects_digest", "salted", "unsalted"]

_SKIPPABLE = 0x184D2A5A
_HEAD = struct.pack("<II", _SKIPPABLE, 8)
_FRAME = 16
_INDEX_ENTRY = 16
_CHECKSUM = 4


def salted(document: Document, data: bytes, generation: int) -> bytes:
    """Return the bytes of a chunk or shard with a generation in them that no decoder sees.

    Parameters
    ----------
    document
        The array's document; its codecs say where there is room.
    data
        The encoded chunk or shard.
    generation
        The generation of the commit that writes it.

    Returns
    -------
    bytes
        16 bytes more; unchanged if the codecs leave no room.
    """
    frame = _HEAD + struct.pack("<Q", generation)
    last = document["codecs"][-1]
    if last["name"] == "zstd":
        return data + frame
    if last["name"] != "sharding_indexed":
        return data
    if last["configuration"].get("index_location", "end") == "start":
        return data + frame
    place = len(data) - _index_size(document, last["configuration"])
    return data[:place] + frame + data[place:]


def unsalted(document: Document, data: bytes) -> bytes:
    """Return the bytes of a chunk or shard without the generations that `salted` put in.

    What can't be a chunk comes back as it is. Parameters as for `salted`.
    """
    last = document["codecs"][-1]
    if last["name"] == "zstd":
        return _stripped(data)
    if last["name"] != "sharding_indexed":
        return data
    if last["configuration"].get("index_location", "end") == "start":
        return _stripped(data)
    place = len(data) - _index_size(document, last["configuration"])
    return _stripped(data[:place]) + data[place:] if place > 0 else data


def object_digest(storage: Storage, key: str, document: Document) -> str | None:
    """Return the SHA-256 of an object's bytes without a salt, None if there is no object.

    Parameters
    ----------
    storage, key
        Where it lies.
    document
        Of the array whose object it is.
    """
    stored = storage.read(key)
    return None if stored is None else hashlib.sha256(unsalted(document, stored.data)).hexdigest()


def objects_digest(digests: Iterable[tuple[str, str | None]]) -> str:
    """Return one digest of many objects' keys and digests, whatever their order."""
    lines = "".join(f"{key} {digest}\n" for key, digest in sorted(digests, key=itemgetter(0)))
    return hashlib.sha256(lines.encode()).hexdigest()


def _stripped(data: bytes) -> bytes:
    while len(data) >= _FRAME and data[-_FRAME:].startswith(_HEAD):
        data = data[:-_FRAME]
    return data


def _index_size(document: Document, sharding: dict[str, Any]) -> int:
    shard = document["chunk_grid"]["configuration"]["chunk_shape"]
    chunks = math.prod(size // inner for size, inner in zip(shard, sharding["chunk_shape"], strict=True))
    checked = any(codec["name"] == "crc32c" for codec in sharding["index_codecs"])
    return int(chunks) * _INDEX_ENTRY + (_CHECKSUM if checked else 0)
