"""Array documents: what a Zarr v3 ``zarr.json`` says of shapes, chunks and keys, as plain arithmetic.

A *unit* is what one object holds: a chunk, or a whole shard where the array is sharded (Zarr v3 core,
"Regular grids" and the ``sharding_indexed`` codec). Nothing here opens a store.
"""

from __future__ import annotations

import copy
import itertools
import json
from typing import TYPE_CHECKING, Any

import dask.array
import numpy as np
import xarray as xr
from zarr.storage import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from zarr.core.buffer import Buffer

__all__ = [
    "Bounds",
    "Document",
    "aligned",
    "asked_sizes",
    "describe",
    "dims_of",
    "encoding_of",
    "grid_of",
    "in_grid",
    "index_of",
    "key_of",
    "labels_of",
    "resized",
    "same_keys",
    "shape_of",
    "storable",
    "unit_of",
    "units_in",
]

Document = dict[str, Any]
Bounds = tuple[tuple[int, int], ...]

_KEPT_ENCODING = ("units", "calendar", "scale_factor", "add_offset", "_FillValue", "dtype", "fill_value")
_WHOLE_BYTES = 1 << 20


def shape_of(document: Document) -> tuple[int, ...]:
    """Return the array's shape."""
    return tuple(document["shape"])


def unit_of(document: Document) -> tuple[int, ...]:
    """Return the shape of what one object holds: the shard where there is one, else the chunk."""
    return tuple(document["chunk_grid"]["configuration"]["chunk_shape"])


def dims_of(document: Document) -> tuple[str, ...]:
    """Return the names of the array's dimensions."""
    return tuple(document.get("dimension_names") or ())


def grid_of(document: Document) -> tuple[int, ...]:
    """Return how many objects the array may have along each dimension."""
    return tuple(-(-size // unit) for size, unit in zip(shape_of(document), unit_of(document), strict=True))


def in_grid(document: Document | None, index: tuple[int, ...]) -> bool:
    """Tell whether the object of that index lies within the array's shape; False where there is no array."""
    if document is None:
        return False
    grid = grid_of(document)
    return len(grid) == len(index) and all(i < count for i, count in zip(index, grid, strict=True))


def encoding_of(document: Document) -> tuple[str, str]:
    """Return how the objects of an array are named: the encoding and its separator."""
    described = document["chunk_key_encoding"]
    default = "/" if described["name"] == "default" else "."
    return described["name"], described.get("configuration", {}).get("separator", default)


def same_keys(one: Document, other: Document) -> bool:
    """Tell whether two documents name the objects of an array alike."""
    return encoding_of(one) == encoding_of(other)


def key_of(name: str, document: Document, index: tuple[int, ...]) -> str:
    """Return the key of one object of the array called `name` (Zarr v3 core, "Chunk key encoding")."""
    encoding, separator = encoding_of(document)
    numbers = [str(i) for i in index]
    if encoding == "v2":
        return f"{name}/{separator.join(numbers) or '0'}"
    return f"{name}/{separator.join(['c', *numbers])}"


def index_of(name: str, document: Document, key: str) -> tuple[int, ...] | None:
    """Return the index of the object that bears `key`, or None if it isn't one of this array's."""
    if not key.startswith(f"{name}/"):
        return None
    encoding, separator = encoding_of(document)
    parts = key[len(name) + 1 :].split(separator)
    if encoding == "default":
        if parts[0] != "c":
            return None
        parts = parts[1:]
    elif not shape_of(document) and parts == ["0"]:
        parts = []
    if len(parts) != len(shape_of(document)) or not all(part.isdecimal() for part in parts):
        return None
    return tuple(int(part) for part in parts)


def aligned(document: Document, bounds: Bounds) -> Bounds:
    """Widen half-open `bounds` to whole units, cut at the array's shape."""
    return tuple(
        (start // unit * unit, min(-(-stop // unit) * unit, size))
        for (start, stop), unit, size in zip(bounds, unit_of(document), shape_of(document), strict=True)
    )


def units_in(document: Document, bounds: Bounds) -> Iterator[tuple[int, ...]]:
    """Yield the index of every object that holds a part of `bounds`, in C order."""
    ranges = [
        range(start // unit, -(-stop // unit)) if stop > start else range(0)
        for (start, stop), unit in zip(bounds, unit_of(document), strict=True)
    ]
    return itertools.product(*ranges)


def resized(document: Document, sizes: Mapping[str, int]) -> Document:
    """Return the same document with the dimensions in `sizes` as long as said there."""
    changed = copy.deepcopy(document)
    changed["shape"] = [
        sizes.get(dim, size) for dim, size in zip(dims_of(document), shape_of(document), strict=True)
    ]
    return changed


def storable(variable: xr.Variable) -> xr.Variable:
    """Return the variable with text as Zarr's variable-length ``string`` and times in nanoseconds.

    Fixed-width ``<U`` has no Zarr v3 specification and would truncate longer labels that are appended later.
    Times of a coarser resolution than their encoding's units are lost by xarray's encoder (2026.9).
    """
    if variable.dtype.kind in "US" or (variable.dtype.kind == "O" and _is_text(variable)):
        text = np.asarray(variable.values, dtype=np.dtypes.StringDType())
        return xr.Variable(variable.dims, text, variable.attrs)
    if variable.dtype.kind in "mM":
        return variable.astype(f"{variable.dtype.kind}8[ns]")
    return variable


def labels_of(variable: xr.Variable) -> list[str]:
    """Return the labels of layers as text, the same whether they are handed over or lie in a store."""
    values = np.atleast_1d(storable(variable).values)
    return [str(label) for label in (values + 0 if values.dtype.kind == "f" else values)]  # -0.0 is 0.0


def _is_text(variable: xr.Variable) -> bool:
    return all(isinstance(item, str) for item in np.asarray(variable.values, dtype=object).ravel())


def _stand_in(variable: xr.Variable) -> xr.Variable:
    """Keep small values and all text; replace the rest by lazy zeros, so that nothing large is looked at.

    Lazy data are replaced at any size: xarray would hold their blocks against the chunks of the store.
    """
    plain = storable(variable)
    if plain.dtype.kind == "T" or (plain.nbytes <= _WHOLE_BYTES and plain.chunks is None):
        return plain.copy(deep=False)
    data = dask.array.zeros(plain.shape, dtype=plain.dtype, chunks=plain.shape)
    return xr.Variable(plain.dims, data, plain.attrs)


def _encoding_of(variable: xr.Variable) -> dict[str, Any]:
    asked = {key: variable.encoding[key] for key in _KEPT_ENCODING if key in variable.encoding}
    missing = asked.get("_FillValue")
    if (
        missing is not None
        and "fill_value" not in asked
        and _holds(asked.get("dtype", variable.dtype), missing)
    ):
        asked["fill_value"] = missing
    return {**_time_encoding(variable.dtype.kind), **asked}


def _holds(dtype: Any, value: Any) -> bool:
    """Tell whether a whole number is one of a type's: rows that nobody wrote show what stands for a missing one then."""
    kind = np.dtype(dtype)
    if kind.kind not in "iu" or isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False
    return bool(np.iinfo(kind).min <= value <= np.iinfo(kind).max)


def _time_encoding(kind: str) -> dict[str, Any]:
    """Return units that hold any instant exactly, whatever the first layer's times are (xarray #5969)."""
    if kind == "M":
        return {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
    return {"units": "nanoseconds", "dtype": "int64"} if kind == "m" else {}


def describe(
    dataset: xr.Dataset,
    *,
    chunks: Mapping[str, Any] | None = None,
    shards: Mapping[str, Any] | None = None,
) -> dict[str, Document]:
    """Return the array documents that a new store of `dataset` gets, made by xarray's own encoder.

    Parameters
    ----------
    dataset
        Any dataset. Its data are not written; values of variables over 1 MiB are not even looked at.
    chunks, shards
        Sizes by dimension (``{"session": 1}``) or by variable (``{"eeg": (1, 8, 64, 500)}``). What isn't
        named is one chunk, unsharded.

    Returns
    -------
    dict
        Name of each array → its ``zarr.json``.
    """
    stand_ins = {str(name): _stand_in(variable) for name, variable in dataset.variables.items()}
    coordinates = [str(name) for name in dataset.coords]
    template = xr.Dataset(stand_ins).set_coords(coordinates).assign_attrs(dataset.attrs)
    encoding = {
        name: {**_encoding_of(dataset.variables[name]), **_layout(name, variable, chunks or {}, shards or {})}
        for name, variable in stand_ins.items()
    }
    for variable in stand_ins.values():
        variable.encoding = {}
    held: dict[str, Buffer] = {}
    template.to_zarr(
        MemoryStore(held), mode="w-", compute=False, consolidated=False, zarr_format=3, encoding=encoding
    )
    return {
        name: json.loads(held[f"{name}/zarr.json"].to_bytes())
        for name in stand_ins
        if f"{name}/zarr.json" in held
    }


def _layout(
    name: str, variable: xr.Variable, chunks: Mapping[str, Any], shards: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the chunk encoding of one variable, with shards only where something asks for them."""
    whole = tuple(max(1, size) for size in variable.shape)
    chunk = asked_sizes(name, variable.dims, chunks, whole)
    layout: dict[str, Any] = {"chunks": chunk} if whole else {}
    if whole and (name in shards or set(variable.dims) & set(shards)):
        wanted = asked_sizes(name, variable.dims, shards, chunk)
        layout["shards"] = tuple(
            -(-shard // inner) * inner for shard, inner in zip(wanted, chunk, strict=True)
        )
    return layout


def asked_sizes(
    name: str, dims: Sequence[Hashable], wanted: Mapping[str, Any], default: Sequence[int]
) -> tuple[int, ...]:
    """Return the chunk of one array: by variable where `wanted` has a tuple, by dimension where it has a number.

    Parameters
    ----------
    name, dims
        The array and its dimensions.
    wanted
        ``{dimension: int}`` or ``{variable: tuple}``; a dimension may bear the name of a variable.
    default
        What isn't named.
    """
    if isinstance(wanted.get(name), tuple | list):
        return tuple(wanted[name])
    by_dim = {dim: size for dim, size in wanted.items() if isinstance(size, int)}
    return tuple(by_dim.get(str(dim), size) for dim, size in zip(dims, default, strict=True))
