"""Reading a Zarr store the short way: from the bytes of a `World`, without zarr, xarray or aggrade.

It is fast enough to look after every single request, and it is another reading than the code under test does.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from typing import TYPE_CHECKING, Any

import numcodecs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from memory_storage import World

PREFIX = "data/windows.zarr"
VARIABLES = ("session", "eeg", "label")
_EMPTY = 2**64 - 1


def read_arrays(world: World, prefix: str = PREFIX) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays that the consolidated root shows, and aggrade's mark in its attributes."""
    found = world.objects.get(f"{prefix}/zarr.json")
    if found is None:
        return {}, {}
    root = _parsed(found[0])
    documents = root.get("consolidated_metadata", {}).get("metadata", {})
    shown = {name: documents[name] for name in VARIABLES if name in documents}
    arrays = {name: _array(world, f"{prefix}/{name}", document) for name, document in shown.items()}
    return arrays, root["attributes"].get("aggrade", {})


@functools.lru_cache(maxsize=1000)
def _parsed(data: bytes) -> dict[str, Any]:
    return json.loads(data)


def _array(world: World, path: str, document: dict[str, Any]) -> np.ndarray:
    shape, chunk = document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"]
    counts = [math.ceil(size / length) for size, length in zip(shape, chunk, strict=True)]
    whole = np.full(
        [n * length for n, length in zip(counts, chunk, strict=True)], _fill(document), _dtype(document)
    )
    keys = document["chunk_key_encoding"]
    first = ["c"] if keys["name"] == "default" else []
    for index in itertools.product(*map(range, counts)):
        key = keys["configuration"]["separator"].join(map(str, [*first, *index]))
        stored = world.objects.get(f"{path}/{key}")
        if stored is not None:
            _put(whole, stored[0], index, chunk, document)
    return whole[tuple(map(slice, shape))]


def _put(whole: np.ndarray, data: bytes, index: tuple[int, ...], chunk: list[int], document: Any) -> None:
    """Put the values of an object where they belong; of a shard, those of each inner chunk that it has."""
    codec = document["codecs"][-1]
    if codec["name"] != "sharding_indexed":
        place = tuple(slice(i * length, (i + 1) * length) for i, length in zip(index, chunk, strict=True))
        whole[place] = _decoded(data, document["data_type"]).reshape(chunk)
        return
    inner = codec["configuration"]["chunk_shape"]
    counts = [length // size for length, size in zip(chunk, inner, strict=True)]
    entries = np.frombuffer(data[-16 * math.prod(counts) - 4 : -4], "<u8").reshape(-1, 2)
    for at, (offset, size) in zip(itertools.product(*map(range, counts)), entries.tolist(), strict=True):
        if offset != _EMPTY:
            within = tuple(i * n + j for i, n, j in zip(index, counts, at, strict=True))
            _put(
                whole, data[offset : offset + size], within, inner, {**document, "codecs": [{"name": "zstd"}]}
            )


def _dtype(document: dict[str, Any]) -> Any:
    return object if document["data_type"] == "string" else document["data_type"]


def _fill(document: dict[str, Any]) -> Any:
    return np.nan if document["fill_value"] == "NaN" else document["fill_value"]


@functools.lru_cache(maxsize=4000)
def _decoded(data: bytes, kind: str) -> np.ndarray:
    plain = numcodecs.Zstd().decode(data)
    return numcodecs.VLenUTF8().decode(plain) if kind == "string" else np.frombuffer(plain, kind)


class Reader:
    """Tells which of some known sessions a store shows, each whole.

    Parameters
    ----------
    known
        Name → session. Several may bear the same label.
    """

    def __init__(self, known: Mapping[str, Any]) -> None:
        self.known = {
            name: {variable: session[variable].values[0] for variable in VARIABLES}
            for name, session in known.items()
        }

    def sees(self, world: World) -> tuple[str, ...]:
        """Return the names of the sessions in the rows that are not hidden, in order.

        Raises
        ------
        AssertionError
            If a row holds none of them, or anything but fill behind one.
        """
        arrays, mark = read_arrays(world)
        rows = len(arrays["session"]) if arrays else 0
        return tuple(self._which(arrays, row) for row in range(rows) if row not in mark.get("superseded", ()))

    def _which(self, arrays: dict[str, np.ndarray], row: int) -> str:
        fits = [name for name, session in self.known.items() if _is_row(arrays, row, session)]
        assert fits, f"row {row}, {arrays['session'][row]!r}, is none of the sessions"
        return fits[0]


def _is_row(arrays: dict[str, np.ndarray], row: int, session: dict[str, Any]) -> bool:
    windows = len(session["label"])
    eeg, label = arrays["eeg"][row], arrays["label"][row]
    return bool(
        arrays["session"][row] == session["session"]
        and np.array_equal(eeg[:windows], session["eeg"])
        and np.array_equal(label[:windows], session["label"])
        and np.isnan(eeg[windows:]).all()
        and (label[windows:] == -1).all()
    )
