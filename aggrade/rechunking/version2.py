"""Arrays of Zarr format 2 described as format 3 describes them."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

from aggrade.storage.version2 import DIMENSIONS, compressor_codec, stored_type, with_fill

if TYPE_CHECKING:
    import numpy as np

    from aggrade.commit.documents import Document

__all__ = ["as_version3"]

_ZSTD = {"name": "zstd", "configuration": {"level": 0, "checksum": False}}


def as_version3(document: Document) -> Document:
    """Return the Zarr v3 document of an array of format 2.

    Values stay; filters that only change how they are stored are left out, and compressors that v3 has no name for
    become zstd. Text of fixed width becomes ``string``. The fill value stays what xarray masks with. It is as JSON gives it
    back, where complex numbers are lists.

    Parameters
    ----------
    document
        Content of ``.zarray``, with that of ``.zattrs`` under ``attributes``.
    """
    zdtype, fill = stored_type(document)
    dtype = zdtype.to_native_dtype()
    text = dtype.kind in "UT"
    default = zdtype.default_scalar() if fill is None else fill
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data_type: Any = "string" if text else zdtype.to_json(zarr_format=3)
        fill_json = str(default) if text else zdtype.to_json_scalar(default, zarr_format=3)
    dims = document["attributes"].get(DIMENSIONS)
    described = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(document["shape"]),
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(document["chunks"])}},
        "chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}},
        "fill_value": fill_json,
        "codecs": [_serializer(dtype), *_compressors(document.get("compressor"), dtype.itemsize)],
        "attributes": with_fill(document["attributes"], dtype, fill),
        **({"dimension_names": list(dims)} if dims is not None else {}),
        "storage_transformers": [],
    }
    return dict(json.loads(json.dumps(described)))


def _serializer(dtype: np.dtype[Any]) -> dict[str, Any]:
    if dtype.kind in "UT":
        return {"name": "vlen-utf8"}
    if dtype.kind == "O":
        return {"name": "vlen-bytes"}
    if dtype.itemsize == 1 or dtype.kind in "SV":
        return {"name": "bytes"}
    return {"name": "bytes", "configuration": {"endian": "little"}}


def _compressors(compressor: dict[str, Any] | None, itemsize: int) -> list[dict[str, Any]]:
    return [compressor_codec(compressor, itemsize) or _ZSTD] if compressor else []
