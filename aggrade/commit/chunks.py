"""One chunk or shard by itself: its values from its bytes and back, through zarr's own codecs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.core.buffer.cpu import Buffer as CpuBuffer
from zarr.storage import MemoryStore

from aggrade.commit.documents import unit_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zarr.core.buffer import Buffer

    from aggrade.commit.documents import Document

__all__ = ["Chunks"]

_NAME = "array"


class Chunks:
    """Decodes and encodes single objects of one array, whole: what lies beyond the array's shape is in them too.

    Parameters
    ----------
    document
        The array's document; its shape does not matter.
    """

    def __init__(self, document: Document) -> None:
        unit = list(unit_of(document))
        grid = {"name": "regular", "configuration": {"chunk_shape": unit}}
        keys = {"name": "default", "configuration": {"separator": "/"}}
        alone = {**document, "shape": unit, "chunk_grid": grid, "chunk_key_encoding": keys}
        self._document = json.dumps(alone).encode()
        self._key = f"{_NAME}/{'/'.join(['c', *('0' for _ in unit)])}"

    def _store(self, objects: Mapping[str, bytes]) -> MemoryStore:
        held: dict[str, Buffer] = {key: CpuBuffer.from_bytes(data) for key, data in objects.items()}
        held[f"{_NAME}/zarr.json"] = CpuBuffer.from_bytes(self._document)
        return MemoryStore(held)

    @property
    def nbytes(self) -> int:
        """Bytes of the values of one object; of text, those of its references."""
        return int(zarr.open_array(self._store({}), path=_NAME, mode="r").nbytes)

    def values(self, data: bytes | None) -> np.ndarray[Any, Any]:
        """Return the values of an object, of the shape of its unit; fill where there is no object.

        Raises
        ------
        RuntimeError, ValueError
            From the codecs, if the bytes are not what they wrote.
        """
        store = self._store({} if data is None else {self._key: data})
        return np.asarray(zarr.open_array(store, path=_NAME, mode="r")[...])

    def bytes_of(self, values: np.ndarray[Any, Any]) -> bytes:
        """Return the object that holds these values, fill included."""
        memory: dict[str, Buffer] = {f"{_NAME}/zarr.json": CpuBuffer.from_bytes(self._document)}
        array = zarr.open_array(MemoryStore(memory), path=_NAME, mode="r+")
        array.with_config({"write_empty_chunks": True})[...] = values
        return memory[self._key].to_bytes()
