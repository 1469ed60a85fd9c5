"""One object of an array: a chunk, or a shard with many and an index (Zarr v3 ``sharding_indexed``).

The index holds offset and length of every inner chunk in C order, 64 bits each in little endian order, all bits set where
a chunk is absent, and its own checksum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import MemoryStore, StorePath

from aggrade.commit.documents import unit_of
from aggrade.rechunking.chunk_codec import ChunkCodec, checked, chunk_codec, with_checksum
from aggrade.rechunking.grids import inner_of, is_sharded, native_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aggrade.commit.documents import Document
    from aggrade.rechunking.chunk_codec import Buffer
    from aggrade.rechunking.grids import Shape

__all__ = ["ABSENT", "ObjectCodec", "ShardIndex", "object_codec"]

ABSENT = np.uint64(2**64 - 1)
_INDEX_CODECS = (["bytes", "crc32c"], ["bytes"])
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class ShardIndex:
    """How the index of a shard is stored.

    Parameters
    ----------
    checksum
        Whether a checksum follows it.
    at_end
        Whether it lies behind the chunks, and not before them.
    """

    checksum: bool
    at_end: bool


@dataclass(frozen=True)
class ObjectCodec:
    """How the objects of one array are put together.

    Parameters
    ----------
    unit
        Shape of what one object holds.
    chunk
        How its chunks are encoded.
    index
        How the index is stored; None where the object is one chunk.
    """

    unit: Shape
    chunk: ChunkCodec
    index: ShardIndex | None = None

    @property
    def grid(self) -> Shape:
        """How many chunks an object has along each dimension."""
        return tuple(size // step for size, step in zip(self.unit, self.chunk.shape, strict=True))

    @property
    def index_bytes(self) -> int:
        """Size of the index."""
        if self.index is None:
            return 0
        return math.prod(self.grid) * 16 + (_CHECKSUM_BYTES if self.index.checksum else 0)

    def spans(self, index: Buffer) -> np.ndarray[Any, Any]:
        """Return offset and length of every chunk, uint64 of the grid's shape and 2, from the bytes of an index.

        Raises
        ------
        ValueError
            If these are no such index.
        """
        assert self.index is not None
        body = checked(index) if self.index.checksum else index
        return np.frombuffer(body, "<u8").reshape(*self.grid, 2)

    def pack(self, chunks: Iterable[tuple[int, bytes | None]]) -> bytes:
        """Return the object that holds encoded chunks, each given with its place in C order.

        Those that are None or not given are absent.
        """
        if self.index is None:
            return b"".join(chunk or b"" for _, chunk in chunks)
        packed = BytesIO()
        start = packed.seek(0 if self.index.at_end else self.index_bytes)
        places, lengths = [], []
        for place, chunk in chunks:
            if chunk is not None:
                places.append(place)
                lengths.append(packed.write(chunk))
        spans = np.full((math.prod(self.grid), 2), ABSENT, "<u8")
        if places:
            spans[places, 0] = start + np.cumsum([0, *lengths[:-1]])
            spans[places, 1] = lengths
        if not self.index.at_end:
            packed.seek(0)
        packed.write(with_checksum(spans.tobytes()) if self.index.checksum else spans.tobytes())
        return packed.getvalue()


def object_codec(document: Document) -> ObjectCodec | None:
    """Return how an array's objects are put together, None where only zarr's own pipeline can do it."""
    if not unit_of(document):
        return None
    dtype, fill = native_dtype(document), _fill_of(document)
    unit, inner = unit_of(document), inner_of(document)
    if not is_sharded(document):
        chunk = chunk_codec(document["codecs"], unit, dtype, fill)
        return None if chunk is None else ObjectCodec(unit, chunk)
    if len(document["codecs"]) > 1:
        return None
    sharding: Mapping[str, Any] = document["codecs"][0]["configuration"]
    chunk = chunk_codec(sharding["codecs"], inner, dtype, fill)
    index = _index(sharding)
    return None if chunk is None or index is None else ObjectCodec(unit, chunk, index)


def _index(sharding: Mapping[str, Any]) -> ShardIndex | None:
    codecs = sharding["index_codecs"]
    names = [codec["name"] for codec in codecs]
    endian = (codecs[0].get("configuration") or {}).get("endian") if codecs else None
    if names not in _INDEX_CODECS or endian != "little":
        return None
    return ShardIndex("crc32c" in names, sharding.get("index_location", "end") == "end")


def _fill_of(document: Document) -> Any:
    path = StorePath(MemoryStore(), "array")
    return zarr.Array(zarr.AsyncArray.from_dict(path, document)).fill_value
