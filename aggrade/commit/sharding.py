"""Whole shards encoded at once, byte for byte as zarr does.

Zarr's own way through a shard of some hundred small chunks takes longer than compressing them. This one is for the form
that `append` gives to what each layer has of its own: inner chunks along one dimension, compressed by Zstandard, behind
them an index with its checksum (Zarr v3, "Sharding codec" version 1.0). Everything else is left to zarr.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd

from aggrade.commit.documents import Document, unit_of

if TYPE_CHECKING:
    from aggrade.commit.documents import Bounds

__all__ = ["LARGE", "ShardForm", "shard_form"]

_PLAIN = {"name": "bytes", "configuration": {"endian": "little"}}
_INDEX_CODECS = [_PLAIN, {"name": "crc32c"}]
_ABSENT = 2**64 - 1
_KINDS = "biufc"
LARGE = 4 << 20
"""Bytes of a shard from which threads cost less than they save."""


@dataclass(frozen=True)
class ShardForm:
    """How the shards of one array are made.

    Parameters
    ----------
    unit, inner
        Lengths of a shard and of an inner chunk.
    axis
        The one along which a shard has several.
    fill
        The array's fill value, in its dtype.
    level, checksum
        As `numcodecs.zstd.Zstd` takes them.
    """

    unit: tuple[int, ...]
    inner: tuple[int, ...]
    axis: int
    fill: np.generic
    level: int
    checksum: bool

    def encode(self, index: tuple[int, ...], box: Bounds, values: np.ndarray[Any, Any]) -> bytes:
        """Return one shard; inner chunks beyond the box are left out, and one that it ends in is filled up.

        Parameters
        ----------
        index
            Which shard.
        box
            What `values` covers: it begins with a shard along each dimension, and ends with one or the array.
        values
            In the array's dtype.
        """
        shard = values[_within(index, self.unit, box)]
        count, step = self.unit[self.axis] // self.inner[self.axis], self.inner[self.axis]
        parts = self._compressed(shard, -(-shard.shape[self.axis] // step))
        entries = np.full((count, 2), _ABSENT, "<u8")
        sizes = np.array([len(part) for part in parts], np.uint64)
        entries[: len(parts)] = np.stack([np.cumsum(sizes) - sizes, sizes], axis=1)
        coded = entries.tobytes()
        return b"".join([*parts, coded, google_crc32c.value(coded).to_bytes(4, "little")])

    def _compressed(self, shard: np.ndarray[Any, Any], count: int) -> list[bytes]:
        """Return the inner chunks of a shard, those of a large one by several threads."""
        codec, step = Zstd(level=self.level, checksum=self.checksum), self.inner[self.axis]
        ahead = (slice(None),) * self.axis

        def compress(place: int) -> bytes:
            chunk = self._whole(shard[(*ahead, slice(place * step, (place + 1) * step))])
            return bytes(codec.encode(chunk))

        if shard.nbytes < LARGE:
            return [compress(place) for place in range(count)]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return list(pool.map(compress, range(count)))

    def _whole(self, part: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return a whole inner chunk, little-endian and in C order."""
        dtype = part.dtype.newbyteorder("<")
        if part.shape == self.inner:
            return np.ascontiguousarray(part, dtype)
        whole = np.full(self.inner, self.fill, dtype)
        whole[tuple(map(slice, part.shape))] = part
        return whole


def _within(index: tuple[int, ...], unit: tuple[int, ...], box: Bounds) -> tuple[slice, ...]:
    """Return where in a box a shard lies."""
    return tuple(
        slice(i * length - start, min((i + 1) * length, stop) - start)
        for i, length, (start, stop) in zip(index, unit, box, strict=True)
    )


def shard_form(document: Document, dtype: np.dtype[Any], fill: Any) -> ShardForm | None:
    """Return how to make the shards of an array here, None if zarr has to.

    Parameters
    ----------
    document
        Its array document of Zarr v3.
    dtype, fill
        Of its values.
    """
    codecs = document["codecs"]
    if [codec["name"] for codec in codecs] != ["sharding_indexed"] or dtype.kind not in _KINDS:
        return None
    how = codecs[0]["configuration"]
    unit, inner = unit_of(document), tuple(how["chunk_shape"])
    several = [axis for axis, pair in enumerate(zip(unit, inner, strict=True)) if pair[0] != pair[1]]
    plain = how["codecs"][0] if dtype.itemsize > 1 else _PLAIN
    compressed = how["codecs"][1:]
    is_ours = plain == _PLAIN and [codec["name"] for codec in compressed] == ["zstd"]
    placed = how["index_codecs"] == _INDEX_CODECS and how.get("index_location", "end") == "end"
    if not (is_ours and placed and len(several) == 1):
        return None
    zstd = compressed[0]["configuration"]
    return ShardForm(
        unit, inner, several[0], dtype.type(fill), int(zstd.get("level", 0)), bool(zstd.get("checksum"))
    )
