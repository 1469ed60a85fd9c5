"""Making every replacement of an object differ in its bytes, though not in its values.

On most servers an ETag is a hash of the content. Write the same bytes again, and an old mark is back: a writer
that slept through its lease, with that mark in hand, would overwrite what its successor published. So whatever
replaces an object carries its commit's generation, which never repeats, where every decoder passes over it:
behind a Zstandard frame as a skippable frame (RFC 8878, section 3.1.2), or in a shard behind the last inner
chunk, where nothing points (Zarr v3 ``sharding_indexed``). Other codecs leave no room.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aggrade.commit.documents import Document

__all__ = ["salted"]

_SKIPPABLE = 0x184D2A5A
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
    frame = struct.pack("<IIQ", _SKIPPABLE, 8, generation)
    last = document["codecs"][-1]
    if last["name"] == "zstd":
        return data + frame
    if last["name"] != "sharding_indexed":
        return data
    if last["configuration"].get("index_location", "end") == "start":
        return data + frame
    place = len(data) - _index_size(document, last["configuration"])
    return data[:place] + frame + data[place:]


def _index_size(document: Document, sharding: dict[str, Any]) -> int:
    shard = document["chunk_grid"]["configuration"]["chunk_shape"]
    chunks = math.prod(size // inner for size, inner in zip(shard, sharding["chunk_shape"], strict=True))
    checked = any(codec["name"] == "crc32c" for codec in sharding["index_codecs"])
    return int(chunks) * _INDEX_ENTRY + (_CHECKSUM if checked else 0)
