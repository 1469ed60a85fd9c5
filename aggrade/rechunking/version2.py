"""Arrays of Zarr format 2 described as format 3 describes them."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import zarr
from xarray.backends.zarr import FillValueCoder
from zarr.storage import MemoryStore, StorePath

if TYPE_CHECKING:
    import numpy as np

    from aggrade.commit.documents import Document

__all__ = ["as_version3"]

_DIMENSIONS = "_ARRAY_DIMENSIONS"
_ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}
_SHUFFLES = {0: "noshuffle", 1: "shuffle", 2: "bitshuffle", -1: "shuffle"}


def as_version3(document: Document) -> Document:
    """Return the Zarr v3 document of an array of format 2.

    Values stay; filters that only change how they are stored are left out, and compressors that v3 has no name for
    become zstd. Text of fixed width becomes ``string``. The fill value stays what xarray masks with.

    Parameters
    ----------
    document
        Content of ``.zarray``, with that of ``.zattrs`` under ``attributes``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = zarr.AsyncArray(metadata=document, store_path=StorePath(MemoryStore()))  # type: ignore[call-overload]
        zdtype, fill = array.metadata.dtype, array.metadata.fill_value
        dtype = zdtype.to_native_dtype()
        text = dtype.kind in "UT"
        default = zdtype.default_scalar() if fill is None else fill
        data_type: Any = "string" if text else zdtype.to_json(zarr_format=3)
        fill_json = str(default) if text else zdtype.to_json_scalar(default, zarr_format=3)
    dims = document["attributes"].get(_DIMENSIONS)
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(document["shape"]),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(document["chunks"])}},
        "chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}},
        "fill_value": fill_json,
        "codecs": [_serializer(dtype), *_compressors(document.get("compressor"), dtype.itemsize)],
        "attributes": _attributes(document["attributes"], dtype, fill),
        **({"dimension_names": list(dims)} if dims is not None else {}),
        "storage_transformers": [],
    }


def _serializer(dtype: np.dtype[Any]) -> dict[str, Any]:
    if dtype.kind in "UT":
        return {"name": "vlen-utf8"}
    if dtype.kind == "O":
        return {"name": "vlen-bytes"}
    if dtype.itemsize == 1 or dtype.kind in "SV":
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}


def _compressors(compressor: dict[str, Any] | None, itemsize: int) -> list[dict[str, Any]]:
    match compressor:
        case None:
            return []
        case {"id": "zstd", "level": level}:
            checksum = bool(compressor.get("checksum", False))
            return [{"name": "zstd", "configuration": {"level": level, "checksum": checksum}}]
        case {"id": "gzip", "level": level}:
            return [{"name": "gzip", "configuration": {"level": level}}]
        case {"id": "blosc", "shuffle": shuffle}:
            kept = {key: compressor[key] for key in ("cname", "clevel", "blocksize")}
            settings = {**kept, "shuffle": _SHUFFLES[shuffle], "typesize": itemsize}
            return [{"name": "blosc", "configuration": settings}]
    return [_ZSTD]


def _attributes(attributes: dict[str, Any], dtype: np.dtype[Any], fill: Any) -> dict[str, Any]:
    """Drop what v3 says elsewhere; say what v2 said by the fill value."""
    kept = {key: value for key, value in attributes.items() if key != _DIMENSIONS}
    if fill is None or dtype.kind not in "fiuc":
        return kept
    native = dtype.newbyteorder("=")
    return {"_FillValue": FillValueCoder.encode(native.type(fill), native), **kept}
