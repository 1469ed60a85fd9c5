"""The array documents of ``lightcurves.zarr`` (``docs/lightcurves.md``): names, dimensions, chunks, attributes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from pydantic import BaseModel, ConfigDict, Field

from aggrade.commit import describe, resized
from aggrade.commit.documents import dims_of, unit_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aggrade.commit import Document

__all__ = [
    "DATA",
    "LEDGER",
    "MOTION_VARIABLES",
    "OBJECT_VARIABLES",
    "Shape",
    "documents_of",
    "epochs_at_once",
    "epochs_per_border",
    "epochs_per_chunk",
    "shape_of",
]

DATA = ("lightcurves", "status", "time_offset")
OBJECT_VARIABLES = ("object", "ra", "dec", "healpix")
MOTION_VARIABLES = ("pmra", "pmdec", "ref_epoch")
LEDGER = ("rows", "matched", "unmatched", "duplicates", "losers", "blank", "cells")
_TEXT = ("epoch", "filter", "source_digest", "source_mark")
_CHUNK_BYTES = 16 << 20
_BLOCK_BYTES = 8 << 20
_OBJECTS_PER_CHUNK = 1 << 20
_EPOCHS_PER_CHUNK = 1024


class Shape(BaseModel):
    """What a light-curve store is beside its epochs, fixed when it is created."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    objects: int = Field(description="How many objects.")
    text_ids: bool = Field(description="Whether ids are text; 64-bit integers otherwise.")
    units: dict[str, str] = Field(
        description="Name of each measurement → its unit, in the order of the store."
    )
    value: str = Field(description="'mag' or 'flux'.")
    system: str | None = Field(default=None, description="Photometric system.")
    time_scale: str = Field(description="Scale of all times.")
    time_ref: str = Field(default="topocentric", description="Place that times are corrected to.")
    offsets: bool = Field(description="Whether cells have times of their own.")
    motion: bool = Field(default=False, description="Whether the proper motion of objects is known.")

    @property
    def values(self) -> tuple[str, str]:
        """Labels along `value`."""
        return self.value, f"{self.value}_err"

    @property
    def cell_bytes(self) -> int:
        """Bytes of one object's measurement in one epoch."""
        return 2 * 4 + 1 + 8 * self.offsets

    @property
    def epoch_bytes(self) -> int:
        """Bytes of one epoch before compression."""
        return self.objects * len(self.units) * self.cell_bytes


def documents_of(shape: Shape, epochs: int) -> dict[str, Document]:
    """Return the array documents of a store that is to be created.

    Parameters
    ----------
    shape
        What the store is.
    epochs
        How many epochs it begins with.
    """
    template = _template(shape)
    chunks = {
        str(name): _chunk(str(name), variable.dims, shape) for name, variable in template.variables.items()
    }
    described = describe(template, chunks=chunks)
    return {
        name: resized(document, {"object": shape.objects, "epoch": epochs})
        for name, document in described.items()
    }


def epochs_per_chunk(document: Document) -> int:
    """Return how many epochs lie in one chunk of an array."""
    return unit_of(document)[dims_of(document).index("epoch")]


def epochs_per_border(documents: Mapping[str, Document]) -> int:
    """Return after how many epochs the chunks of all light-curve arrays have a border in common."""
    return math.lcm(*(epochs_per_chunk(documents[name]) for name in DATA if name in documents))


def epochs_at_once(documents: Mapping[str, Document], epoch_bytes: int) -> int:
    """Return how many epochs one task holds in memory to write them together: some 8 MiB, at borders of chunks.

    Parameters
    ----------
    documents
        The array documents of the store.
    epoch_bytes
        Bytes of the cells of one epoch.
    """
    border = epochs_per_border(documents)
    return max(1, _BLOCK_BYTES // max(1, epoch_bytes * border)) * border


def _chunk(name: str, dims: tuple[Any, ...], shape: Shape) -> tuple[int, ...]:
    objects = max(1, min(shape.objects, _CHUNK_BYTES // (len(shape.units) * 2 * 4)))
    sizes = {"object": objects, "measurement": len(shape.units), "value": 2, "epoch": 1}
    if name not in DATA:
        sizes |= {"object": max(1, min(shape.objects, _OBJECTS_PER_CHUNK)), "epoch": _EPOCHS_PER_CHUNK}
    return tuple(sizes[dim] for dim in dims)


def _template(shape: Shape) -> xr.Dataset:
    """Return a dataset of one object and one epoch with every variable's dtype and attributes."""
    text = np.array([""], dtype=np.dtypes.StringDType())
    names = np.array(list(shape.units), dtype=np.dtypes.StringDType())
    grid = (1, len(names), 1)
    same_unit = {"units": next(iter(shape.units.values()))} if len(set(shape.units.values())) == 1 else {}
    data: dict[str, Any] = {
        "lightcurves": (
            ("object", "measurement", "value", "epoch"),
            np.full((1, len(names), 2, 1), np.nan, np.float32),
            {"value": shape.value, **same_unit, **({"system": shape.system} if shape.system else {})},
        ),
        "status": (
            ("object", "measurement", "epoch"),
            np.zeros(grid, np.uint8),
            {"flag_values": [0, 1, 2, 3], "flag_meanings": "not_observed detected upper_limit flagged"},
        ),
    }
    if shape.offsets:
        data["time_offset"] = (("object", "measurement", "epoch"), np.full(grid, np.nan), {"units": "s"})
    coordinates: dict[str, Any] = {
        "object": ("object", text if shape.text_ids else np.zeros(1, np.int64)),
        "ra": ("object", np.zeros(1), {"units": "deg"}),
        "dec": ("object", np.zeros(1), {"units": "deg"}),
        "healpix": ("object", np.zeros(1, np.int64), {"order": 29, "scheme": "nested"}),
        "measurement": ("measurement", names),
        "measurement_unit": (
            "measurement",
            np.array(list(shape.units.values()), dtype=np.dtypes.StringDType()),
        ),
        "value": ("value", np.array(shape.values, dtype=np.dtypes.StringDType())),
        "epoch_time": (
            "epoch",
            np.zeros(1),
            {"units": "d", "format": "mjd", "time_scale": shape.time_scale, "time_ref": shape.time_ref},
        ),
        "populated": ("epoch", np.zeros(1, np.uint8)),
    }
    if shape.motion:
        named = zip(MOTION_VARIABLES, ("mas/yr", "mas/yr", "yr"), strict=True)
        coordinates |= {name: ("object", np.zeros(1), {"units": unit}) for name, unit in named}
    coordinates |= dict.fromkeys(_TEXT, ("epoch", text)) | {
        name: ("epoch", np.zeros(1, np.int64)) for name in LEDGER
    }
    return xr.Dataset(data, coordinates)


def shape_of(documents: Mapping[str, Document], measurements: Sequence[str], units: Sequence[str]) -> Shape:
    """Return what a store is, from its array documents and its labels along `measurement`.

    Parameters
    ----------
    documents
        The array documents of a light-curve store.
    measurements, units
        What the store's variables of that name hold.
    """
    values, times = (documents[name]["attributes"] for name in ("lightcurves", "epoch_time"))
    return Shape(
        objects=documents["object"]["shape"][0],
        text_ids=documents["object"]["data_type"] == "string",
        units=dict(zip(measurements, units, strict=True)),
        value=values["value"],
        system=values.get("system"),
        time_scale=times["time_scale"],
        time_ref=times["time_ref"],
        offsets="time_offset" in documents,
        motion="pmra" in documents,
    )
