"""One chunk as bytes and back, straight with its compressor, without the steps that zarr takes for every chunk.

A chunk of numbers is its items in C order, compressed and, where asked for, followed by a checksum (Zarr v3 codecs
``bytes``, ``zstd``, ``gzip``, ``blosc``, ``crc32c``). Of everything else `chunk_codec` says that it is none of these, and
zarr's own pipeline does it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import google_crc32c
import numpy as np
from numcodecs import Blosc, GZip, Zstd

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aggrade.rechunking.grids import Shape

__all__ = ["ChunkCodec", "checked", "chunk_codec", "demand_whole_frame", "with_checksum"]

Buffer: TypeAlias = "bytes | bytearray | memoryview"

_PLAIN_KINDS = "biufcmM"
_CHECKSUM = struct.Struct("<I")
_FRAME = struct.Struct("<12xI")
_SHUFFLES = {"noshuffle": Blosc.NOSHUFFLE, "shuffle": Blosc.SHUFFLE, "bitshuffle": Blosc.BITSHUFFLE}


def _zstd(settings: Mapping[str, Any]) -> Any:
    return Zstd(settings.get("level", 0), settings.get("checksum", False))


def _gzip(settings: Mapping[str, Any]) -> Any:
    return GZip(settings.get("level", 5))


def demand_whole_frame(data: Buffer) -> None:
    """Raise if the bytes of a frame are fewer than its header says, ``cbytes`` at byte 12 ("Blosc chunk format").

    The decoder of numcodecs takes what lies behind them in memory for the rest.

    Raises
    ------
    ValueError
        If they are.
    """
    found = memoryview(data).nbytes
    told = _FRAME.unpack_from(data)[0] if found >= _FRAME.size else _FRAME.size
    if told > found:
        raise ValueError(f"a frame of Blosc with {found} of its {told} bytes")


def _blosc(settings: Mapping[str, Any]) -> Any:
    return Blosc(
        settings["cname"],
        settings["clevel"],
        _SHUFFLES[settings["shuffle"]],
        settings.get("blocksize", 0),
        typesize=settings.get("typesize"),
    )


_COMPRESSORS: dict[str, Callable[[Mapping[str, Any]], Any]] = {"zstd": _zstd, "gzip": _gzip, "blosc": _blosc}


@dataclass(frozen=True)
class ChunkCodec:
    """How the chunks of one array are encoded.

    Parameters
    ----------
    shape
        Of a chunk.
    stored
        Type of an item with the byte order in which it is stored.
    fill
        A single item, what a chunk that is absent holds.
    compressor
        Of numcodecs, or None.
    checksum
        Whether a checksum follows.
    """

    shape: Shape
    stored: np.dtype[Any]
    fill: np.ndarray[Any, Any]
    compressor: Any = None
    checksum: bool = False

    def decode(self, data: Buffer) -> np.ndarray[Any, Any]:
        """Return the items of a chunk, read-only, in the byte order in which they are stored.

        Raises
        ------
        ValueError, RuntimeError
            If the bytes are no such chunk.
        """
        body = checked(data) if self.checksum else data
        if isinstance(self.compressor, Blosc):
            demand_whole_frame(body)
        items = body if self.compressor is None else self.compressor.decode(body)
        return np.frombuffer(items, self.stored).reshape(self.shape)

    def encode(self, values: np.ndarray[Any, Any]) -> bytes:
        """Return the bytes of a chunk; `values` are of its shape."""
        return next(self.encode_each(values[np.newaxis]))

    def encode_each(self, values: np.ndarray[Any, Any]) -> Iterator[bytes]:
        """Yield the bytes of several chunks, which lie along a first dimension."""
        items = np.ascontiguousarray(values, self.stored)
        plain = items.view(np.uint8) if items.dtype.kind in "mM" else items
        for one in plain:
            body = one.tobytes() if self.compressor is None else bytes(self.compressor.encode(one))
            yield with_checksum(body) if self.checksum else body

    def absent(self) -> np.ndarray[Any, Any]:
        """Return what a chunk that is absent holds, read-only."""
        return np.broadcast_to(self.fill, self.shape)

    def is_fill(self, values: np.ndarray[Any, Any]) -> bool:
        """Tell whether each item of a chunk is, bit for bit, the fill value."""
        return bool(self.are_fill(values[np.newaxis])[0])

    def are_fill(self, values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Tell of several chunks, which lie along a first dimension, whether they hold nothing but the fill value."""
        flat = values.reshape(len(values), -1)
        bits = np.frombuffer(self.fill.tobytes(), np.uint8)
        some = (
            np.ascontiguousarray(flat[:, [0, flat.shape[1] // 2, -1]])
            .view(np.uint8)
            .reshape(len(flat), 3, -1)
        )
        found: np.ndarray[Any, np.dtype[np.bool_]] = (some == bits).all(axis=(1, 2))
        for place in np.flatnonzero(found):
            found[place] = flat[place].tobytes() == self.fill.tobytes() * flat.shape[1]
        return found


def checked(data: Buffer) -> memoryview:
    """Return what lies before a checksum.

    Raises
    ------
    ValueError
        If the checksum is another one.
    """
    body, found = memoryview(data)[: -_CHECKSUM.size], bytes(memoryview(data)[-_CHECKSUM.size :])
    if found != _CHECKSUM.pack(google_crc32c.value(bytes(body))):
        raise ValueError("the checksum of the bytes is another than the one that is stored")
    return body


def with_checksum(body: bytes) -> bytes:
    """Return bytes with their CRC32C behind them, 4 bytes in little endian order."""
    return body + _CHECKSUM.pack(google_crc32c.value(body))


def chunk_codec(
    codecs: list[dict[str, Any]], shape: Shape, dtype: np.dtype[Any], fill: Any
) -> ChunkCodec | None:
    """Return how chunks are encoded, None where only zarr's own pipeline can do it.

    Parameters
    ----------
    codecs
        Of a chunk, as its array's document lists them.
    shape
        Of a chunk.
    dtype, fill
        The array's type and fill value in memory.
    """
    names = [codec["name"] for codec in codecs]
    packers = [name for name in names[1:] if name in _COMPRESSORS]
    if names != ["bytes", *packers[:1], *(["crc32c"] if "crc32c" in names else [])]:
        return None
    if dtype.kind not in _PLAIN_KINDS or not dtype.itemsize:
        return None
    settings = {codec["name"]: codec.get("configuration") or {} for codec in codecs}
    compressor = _COMPRESSORS[packers[0]](settings[packers[0]]) if packers else None
    stored = dtype.newbyteorder(">" if settings["bytes"].get("endian") == "big" else "<")
    return ChunkCodec(shape, stored, np.array(fill, dtype), compressor, "crc32c" in names)
