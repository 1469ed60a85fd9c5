"""Arrays of Zarr format 2 described as format 3 describes them, their chunks being the same bytes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import zarr
from xarray.backends.zarr import FillValueCoder
from zarr.storage import MemoryStore, StorePath

from aggrade.errors import Problem, Refused, raise_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from aggrade.commit.documents import Document

__all__ = ["DIMENSIONS", "compressor_codec", "same_chunks", "stored_type", "with_fill"]

DIMENSIONS = "_ARRAY_DIMENSIONS"
_SHUFFLES = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle", -1: "shuffle"}
_TEXT_FILTER = [{"id": "vlen-utf8"}]


def same_chunks(document: Document, attributes: dict[str, Any], where: str) -> Document:
    """Return the Zarr v3 document by which the chunks of an array of format 2 are read and written.

    Parameters
    ----------
    document
        Content of ``.zarray``.
    attributes
        Content of ``.zattrs``.
    where
        The array, for people.

    Raises
    ------
    Refused
        If format 3 has no name for how the chunks are stored: filters, structured types, rare compressors.
    """
    raise_all(_obstacles(document, attributes, where), Refused)
    zdtype, fill = stored_type({**document, "attributes": {}})
    native = zdtype.to_native_dtype()
    text = native.kind == "T" or document["dtype"] == "|O"
    default = zdtype.default_scalar() if fill is None else fill
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_type: Any = "string" if text else zdtype.to_json(zarr_format=3)
        fill_json = str(fill or "") if text else zdtype.to_json_scalar(default, zarr_format=3)
    compressor = document.get("compressor")
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(document["shape"]),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(document["chunks"])}},
        "chunk_key_encoding": {
            "name": "v2",
            "configuration": {"separator": document.get("dimension_separator", ".")},
        },
        "fill_value": fill_json,
        "codecs": [
            *_order(document),
            {"name": "vlen-utf8"} if text else _bytes(document["dtype"]),
            *([compressor_codec(compressor, native.itemsize)] if compressor else []),
        ],
        "attributes": with_fill(attributes, native, fill),
        "dimension_names": list(attributes[DIMENSIONS]),
        "storage_transformers": [],
    }


def stored_type(document: Document) -> tuple[Any, Any]:
    """Return zarr's data type and fill value of an array of format 2; the fill value may be None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.AsyncArray(metadata=document, store_path=StorePath(MemoryStore()))  # type: ignore[call-overload]
    return array.metadata.dtype, array.metadata.fill_value


def compressor_codec(compressor: dict[str, Any], itemsize: int) -> dict[str, Any] | None:
    """Return what format 3 calls a compressor of format 2, or None if it has no name for it.

    Parameters
    ----------
    compressor
        As ``.zarray`` has it.
    itemsize
        Bytes per item, for the shuffle of Blosc.
    """
    match compressor:
        case {"id": "zstd", "level": level}:
            checksum = bool(compressor.get("checksum", False))
            return {"name": "zstd", "configuration": {"level": level, "checksum": checksum}}
        case {"id": "gzip", "level": level}:
            return {"name": "gzip", "configuration": {"level": level}}
        case {"id": "blosc", "shuffle": shuffle}:
            kept = {key: compressor[key] for key in ("cname", "clevel", "blocksize")}
            settings = {**kept, "shuffle": _SHUFFLES[shuffle], "typesize": itemsize}
            return {"name": "blosc", "configuration": settings}
    return None


def with_fill(attributes: dict[str, Any], dtype: np.dtype[Any], fill: Any) -> dict[str, Any]:
    """Return attributes as format 3 has them: xarray masks by ``_FillValue`` what it masked by the fill value.

    Parameters
    ----------
    attributes
        Content of ``.zattrs``.
    dtype
        The array's NumPy type.
    fill
        The array's fill value; None for none.
    """
    kept = {key: value for key, value in attributes.items() if key != DIMENSIONS}
    if fill is None or dtype.kind not in "fiuc":
        return kept
    native = dtype.newbyteorder("=")
    return {"_FillValue": FillValueCoder.encode(native.type(fill), native), **kept}


def _obstacles(document: Document, attributes: dict[str, Any], where: str) -> Iterator[Problem]:
    """Yield every reason why the chunks can't be read and written as those of format 3."""
    dtype, filters = document["dtype"], document.get("filters") or []
    fix = "rechunk the store into a new one: aggrade rechunk"
    if document.get("zarr_format", 2) != 2:
        found = f"Zarr format {document['zarr_format']}"
        yield Problem(
            where, found, "Zarr format 2 or 3", "update aggrade, or name another store", "zarr-format"
        )
    if DIMENSIONS not in attributes:
        found = f"no {DIMENSIONS}"
        yield Problem(where, found, "the names of its dimensions", "write it with xarray", "zarr-format")
    if not isinstance(dtype, str) or (dtype == "|O") != (filters == _TEXT_FILTER):
        expected = "numbers, times, or text in the filter vlen-utf8"
        yield Problem(where, f"values of dtype {dtype} in format 2", expected, fix, "zarr-format")
    elif filters and filters != _TEXT_FILTER:
        names = ", ".join(each["id"] for each in filters)
        yield Problem(where, f"the filters {names} of format 2", "none", fix, "zarr-format")
    compressor = document.get("compressor")
    if compressor and compressor_codec(compressor, 1) is None:
        found = f"the compressor {compressor['id']} of format 2"
        yield Problem(where, found, "zstd, gzip or blosc", fix, "zarr-format")


def _order(document: Document) -> list[dict[str, Any]]:
    axes = list(range(len(document["shape"])))[::-1]
    return [{"name": "transpose", "configuration": {"order": axes}}] if document["order"] == "F" else []


def _bytes(dtype: str) -> dict[str, Any]:
    endian = {"<": "little", ">": "big"}.get(dtype[0])
    return {"name": "bytes", "configuration": {"endian": endian}} if endian else {"name": "bytes"}
