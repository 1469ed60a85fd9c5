"""Whole shards of windows decoded straight into the place where they are wanted.

Zarr's own way through a shard of a few hundred small chunks takes several times as long as decompressing them. This
one is for the form that `append` gives to windows; everything else is left to Zarr.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
from numcodecs.zstd import Zstd

from aggrade.commit.documents import Document, key_of
from aggrade.errors import Damaged, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from aggrade.storage import Storage

__all__ = ["WindowShards", "shards_of"]

_ABSENT = np.uint64(2**64 - 1)
_CHECKSUM = 4
_PLAIN = {"name": "bytes", "configuration": {"endian": "little"}}
_INDEX_CODECS = [_PLAIN, {"name": "crc32c"}]
_MARK = np.uint32(0x7FA5A5A5)
"""Bits of a float32 that no sample has: a NaN that no arithmetic makes."""


@dataclass(frozen=True)
class WindowShards:
    """How the shards of one variable (session, window, channel, sample) float32 are read.

    Parameters
    ----------
    name
        The variable.
    document
        Its array document.
    length
        Windows of a shard, each a chunk.
    """

    name: str
    document: Document
    length: int

    def read(self, storage: Storage, row: int, windows: NDArray[np.intp], out: NDArray[np.float32]) -> None:
        """Read windows of one session, shard by shard: a whole one by one request, of others index and span.

        Parameters
        ----------
        storage
            The Zarr store.
        row
            The session.
        windows
            (n,) sorted.
        out
            (n, channel, sample) C-contiguous.

        Raises
        ------
        Damaged
            If a shard isn't what it should be.
        """
        shards = windows // self.length
        for shard in np.unique(shards):
            at = np.flatnonzero(shards == shard)
            key = key_of(self.name, self.document, (row, int(shard), 0, 0))
            try:
                self._read_shard(storage, key, windows[at] % self.length, out[at[0] : at[-1] + 1])
            except (ValueError, RuntimeError) as error:
                raise Damaged(_broken(f"{storage.url}/{key}", error)) from error

    def _read_shard(
        self, storage: Storage, key: str, places: NDArray[np.intp], out: NDArray[np.float32]
    ) -> None:
        size = 16 * self.length + _CHECKSUM
        is_whole = len(places) == self.length
        stored = storage.read(key, start=0 if is_whole else -size)
        if stored is None:
            out[...] = self._fill
            return
        index = self._index(stored.data[-size:])[places]
        there = index[:, 0] != _ABSENT
        out[~there] = self._fill
        if not there.any():
            return
        begin, stop = int(index[there, 0].min()), int(index[there].sum(axis=1).max())
        if not is_whole:
            stored = storage.read(key, start=begin, stop=stop)
        if stored is None:
            raise ValueError("no object any more")
        index[:, 0] -= np.uint64(0 if is_whole else begin)
        self._decode(memoryview(stored.data), index, np.flatnonzero(there), out)

    @property
    def _fill(self) -> np.float32:
        return np.float32(self.document["fill_value"])

    def _decode(
        self, data: memoryview, index: NDArray[np.uint64], at: NDArray[np.intp], out: NDArray[np.float32]
    ) -> None:
        codec = Zstd()
        for which in at:
            start, size = map(int, index[which])
            window = out[which]
            last = window.reshape(-1)[-1:].view(np.uint32)
            last[0] = _MARK
            codec.decode(data[start : start + size], window)
            if last[0] == _MARK:
                raise ValueError("a window that is too short")

    def _index(self, coded: bytes) -> NDArray[np.uint64]:
        """Return (window, 2): where each chunk begins, and its bytes."""
        body, checksum = coded[:-_CHECKSUM], coded[-_CHECKSUM:]
        if len(body) != 16 * self.length or google_crc32c.value(body).to_bytes(4, "little") != checksum:
            raise ValueError("an index with another checksum")
        return np.frombuffer(body, "<u8").reshape(-1, 2).copy()


def shards_of(name: str, document: Document | None, encoding: dict[str, Any]) -> WindowShards | None:
    """Return how to read the shards of a variable here, None if Zarr has to.

    Parameters
    ----------
    name
        The variable.
    document
        Its array document of Zarr v3.
    encoding
        What xarray decodes its values by.
    """
    if document is None or len(document.get("shape", ())) != 4 or document.get("data_type") != "float32":
        return None
    if {"scale_factor", "add_offset", "missing_value"} & set(encoding) or document.get(
        "storage_transformers"
    ):
        return None
    if not np.isnan(encoding.get("_FillValue", np.nan)) or len(document["codecs"]) != 1:
        return None
    outer = document["chunk_grid"]["configuration"]["chunk_shape"]
    inner = document["codecs"][0].get("configuration", {})
    if not _is_plain(document["codecs"][0]["name"], inner) or inner["chunk_shape"][:2] != [1, 1]:
        return None
    whole = outer[0] == 1 and inner["chunk_shape"][2:] == outer[2:] == document["shape"][2:]
    return WindowShards(name, document, int(outer[1])) if whole else None


def _is_plain(codec: str, inner: dict[str, Any]) -> bool:
    codecs = inner.get("codecs", [])
    return (
        codec == "sharding_indexed"
        and inner.get("index_codecs") == _INDEX_CODECS
        and inner.get("index_location", "end") == "end"
        and len(codecs) == 2
        and codecs[0] == _PLAIN
        and codecs[1]["name"] == "zstd"
    )


def _broken(where: str, error: Exception) -> Problem:
    fix = "verify the store, then restore a backup"
    return Problem(where, f"a shard that can't be decoded ({error})", "windows", fix, "broken-shard")
