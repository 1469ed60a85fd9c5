"""Array documents made by zarr itself, for tests of what reads them."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import zarr
from zarr.storage import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence


def make_document(
    shape: Sequence[int],
    chunks: Sequence[int],
    shards: Sequence[int] | None = None,
    *,
    dtype: Any = "float32",
    dims: Sequence[str] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Return the document that zarr writes for such an array."""
    memory: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.create_array(
            MemoryStore(memory),
            name="x",
            shape=tuple(shape),
            chunks=tuple(chunks),
            shards=None if shards is None else tuple(shards),
            dtype=dtype,
            dimension_names=dims if dims is not None else [f"d{axis}" for axis in range(len(shape))],
            **options,
        )
    return json.loads(memory["x/zarr.json"].to_bytes())


def open_document(document: dict[str, Any]) -> zarr.Array:
    """Return the empty array that a document describes, as zarr opens it."""
    memory = {
        "x/zarr.json": zarr.core.buffer.default_buffer_prototype().buffer.from_bytes(
            json.dumps(document).encode()
        )
    }
    return zarr.open_array(MemoryStore(memory), path="x", mode="r")
