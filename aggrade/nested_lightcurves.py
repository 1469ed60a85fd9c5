"""Light curves as a nested table: a row for each object, beside it lists with an item for each observed cell.

The nested column is a structure of lists, which is what nested-pandas and LSDB take for a nested frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from aggrade.lightcurve_dataset import LightCurveDataset

__all__ = ["NESTED", "nested_table"]

NESTED = "lightcurve"
"""Name of the nested column."""


def nested_table(dataset: LightCurveDataset) -> pa.Table:
    """Return light curves as a nested Arrow table.

    Parameters
    ----------
    dataset
        Of several objects, with the dimension ``object``.

    Returns
    -------
    pyarrow.Table
        A row per object, in the order of the Dataset: ``object``, ``ra`` and ``dec`` (degrees), and ``lightcurve``, a
        structure of lists: ``time`` (MJD, float64), ``epoch``, ``measurement``, ``filter`` where the store has it,
        value and error under the store's names (float32), ``unit`` where measurements differ in it, and ``status``
        (uint8), an item per observed cell in the order of time. Fields have their ``unit`` as metadata, the
        schema has ``time_scale`` and ``time_ref``.

    Raises
    ------
    BadInput
        If a value was selected, so that value and error are not both there.
    """
    loaded = dataset.load()
    cells = loaded.to_pandas()
    nested = _structure(cells, _offsets(loaded), _units(loaded))
    columns = {"object": _array(loaded["object"].values)}
    columns |= {name: pa.array(np.asarray(loaded[name].values, np.float64)) for name in ("ra", "dec")}
    fields = [
        pa.field(name, values.type, metadata={"unit": "deg"} if name in ("ra", "dec") else None)
        for name, values in columns.items()
    ]
    metadata = {"time_format": "mjd", **{str(key): str(value) for key, value in cells.attrs.items()}}
    schema = pa.schema([*fields, pa.field(NESTED, nested.type)], metadata)
    return pa.Table.from_arrays([*columns.values(), nested], schema=schema)


def _offsets(loaded: LightCurveDataset) -> pa.Array:
    """Return where each object's cells begin among all observed cells, and where the last ones end."""
    seen = loaded["status"].transpose("object", ...).values != 0
    counts = seen.reshape(len(seen), -1).sum(axis=1)
    return pa.array(np.concatenate([[0], np.cumsum(counts)]).astype(np.int32))


def _units(loaded: LightCurveDataset) -> dict[str, str]:
    """Return the units of the columns that have one; none for values whose measurements differ in it."""
    stated = loaded.variables.get("measurement_unit", loaded["lightcurves"].attrs.get("units", ""))
    known = {str(unit) for unit in np.atleast_1d(stated)}
    values = [str(name) for name in loaded["value"].values] if len(known) == 1 and known != {""} else []
    return {"time": "d"} | {name: unit for name in values for unit in known}


def _structure(cells: pd.DataFrame, offsets: pa.Array, units: dict[str, str]) -> pa.StructArray:
    alike = len(units) > 1
    names = [name for name in cells.columns if name != "object" and not (alike and name == "unit")]
    lists = [pa.ListArray.from_arrays(offsets, _array(cells[name].to_numpy())) for name in names]
    fields = [
        pa.field(name, items.type, metadata={"unit": units[name]} if name in units else None)
        for name, items in zip(names, lists, strict=True)
    ]
    return pa.StructArray.from_arrays(lists, fields=fields)


def _array(values: NDArray[Any]) -> pa.Array:
    """Return numbers as they are, and whatever else as text."""
    if values.dtype.kind in "iuf":
        return pa.array(values)
    return pa.array([str(value) for value in values], pa.string())
