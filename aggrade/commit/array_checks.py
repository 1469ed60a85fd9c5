"""What a root says of each array, by type: a key or a value that is another one is told before anything rests on it."""

from __future__ import annotations

import json
import logging
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from zarr.core.metadata.v3 import ArrayV3Metadata

__all__ = ["fault_of_array"]

_log = logging.getLogger(__name__)

_Count = Annotated[int, Field(ge=0)]
_Lengths = list[Annotated[int, Field(ge=1)]]
_KNOWN = 4096


class _Named(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    name: str


class _Chunks(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    chunk_shape: _Lengths


class _Grid(_Named):
    configuration: _Chunks


class _Separator(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")

    separator: Literal["/", "."] | None = None


class _Keys(_Named):
    name: Literal["default", "v2"]
    configuration: _Separator = _Separator()


class _Array(BaseModel):
    """An array document, as far as commits rely on it (Zarr v3 core specification, "Array metadata")."""

    model_config = ConfigDict(strict=True, extra="allow")

    shape: list[_Count]
    data_type: str | dict[str, Any]
    chunk_grid: _Grid
    chunk_key_encoding: _Keys
    codecs: list[_Named]
    fill_value: Any
    attributes: dict[str, Any] = Field(default_factory=dict)


def fault_of_array(document: Any) -> str | None:
    """Return what is wrong with an array document, None if it can be worked with.

    A codec or a type that zarr does not know is no fault: it is refused where values are needed.

    Parameters
    ----------
    document
        As JSON has it.

    >>> fault_of_array({"shape": [-1]}).splitlines()[0]
    'shape.0: Input should be greater than or equal to 0'
    """
    try:
        found = _Array.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    if len(found.chunk_grid.configuration.chunk_shape) != len(found.shape):
        return f"chunk_grid: of {len(found.chunk_grid.configuration.chunk_shape)} dimensions, not {len(found.shape)}"
    alike = {**document, "shape": [1] * len(found.shape), "attributes": {}}
    return _fault_by_zarr(json.dumps(alike, sort_keys=True))


@lru_cache(_KNOWN)
def _fault_by_zarr(document: str) -> str | None:
    """Return why zarr can't make sense of a document; of arrays that are alike it is asked once."""
    try:
        ArrayV3Metadata.from_dict(json.loads(document))
    except (TypeError, AttributeError) as error:
        return f"what zarr does not understand: {error}"
    except (ValueError, LookupError, RuntimeError, ImportError) as error:
        _log.debug("zarr does not open an array: %s", error)
    return None
