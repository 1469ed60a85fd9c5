"""Light curves as a lazy xarray Dataset that can also be had as a table, a time series or plain arrays, or mapped over.

Only cells with a status other than 0 (not observed) become rows, in the order of time. Values, errors, units and time
scale are those of the catalogues; nothing is converted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa
    from astropy.timeseries import TimeSeries
    from numpy.typing import NDArray

__all__ = ["SECONDS_PER_DAY", "LightCurveDataset"]

SECONDS_PER_DAY = 86400.0
_TIME_ATTRIBUTES = ("time_scale", "time_ref")
_DIMS = ("object", "measurement", "value", "epoch")
_BYTES_PER_TASK = 32 << 20
_MOST_BYTES_PER_TASK = 256 << 20


class LightCurveDataset(xr.Dataset):  # type: ignore[no-untyped-call]
    """An `xarray.Dataset` of light curves in the layout of ``docs/lightcurves.md``, with conversions.

    It behaves as any Dataset does; what xarray derives from it (``isel``, ``sel``, ``load`` …) has the conversions
    too. Any of the dimensions but ``value`` may have been indexed away.
    """

    __slots__ = ()

    @classmethod
    def of(cls, dataset: xr.Dataset) -> LightCurveDataset:
        """Return the same dataset, sharing its variables, with the conversions."""
        made = cls(dataset.data_vars, dataset.coords, dataset.attrs)
        made.encoding = dataset.encoding
        return made

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the light curves as NumPy arrays, epochs sorted by time.

        Returns
        -------
        dict
            ``time`` float64 MJD in the store's time scale, ``value`` and ``error`` float32 in the catalogues' units,
            ``status`` uint8 (0 not observed, 1 detected, 2 upper limit, 3 flagged); each ([object, measurement,]
            epoch), as the Dataset has these dimensions.

        Raises
        ------
        BadInput
            If a value was selected, so that value and error are not both there.
        """
        cells = _cells(self)
        gone = tuple(axis for axis, dim in enumerate(("object", "measurement")) if dim not in self.dims)
        gone += () if "epoch" in self.dims else (2,)
        time = cells["epoch_time"] + cells["offset"] / SECONDS_PER_DAY
        found = {"time": time, **{name: cells[name] for name in ("value", "error", "status")}}
        return {name: values.squeeze(axis=gone) for name, values in found.items()}

    def to_pandas(self) -> pd.DataFrame:
        """Return one row per cell that was observed, sorted by object as in the Dataset, time and measurement.

        Returns
        -------
        pandas.DataFrame
            ``object``, ``epoch``, ``time`` (MJD, float64), ``measurement``, ``filter`` where the store has it, value
            and error under the store's names (``mag``, ``mag_err`` …) in ``unit``, and ``status``. Its ``attrs`` hold
            ``time_scale`` and ``time_ref``.

        Raises
        ------
        BadInput
            If a value was selected, so that value and error are not both there.
        """
        rows = _rows(self)
        offset = rows.pop("offset")
        rows["time"] = rows["time"] + offset / SECONDS_PER_DAY
        frame = pd.DataFrame(rows)
        frame.attrs = {
            key: self["epoch_time"].attrs[key] for key in _TIME_ATTRIBUTES if key in self["epoch_time"].attrs
        }
        return frame

    def to_arrow(self) -> pa.Table:
        """Return the rows of `to_pandas` as an Arrow table; the schema's metadata hold time scale and place.

        Raises
        ------
        BadInput
            If a value was selected, so that value and error are not both there.
        """
        import pyarrow as pa

        frame = self.to_pandas()
        return pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(frame.attrs)

    def map_objects(self, function: Callable[[LightCurveDataset], Any]) -> list[Any]:
        """Call a function with each object's light curve and return what it returns, in the order of the objects.

        Objects that share chunks go into one task, which reads them together. Tasks run on Dask: on the cluster of the
        active client if there is one, where the data are then read, else on threads of this process.

        Parameters
        ----------
        function
            Takes a light curve in memory: (measurement, value, epoch). For a cluster it must be picklable, and what it
            returns small.

        Returns
        -------
        list
            One item per object.

        Raises
        ------
        BadInput
            If there is but one object, whose dimension was indexed away.
        """
        from dask.base import compute
        from dask.delayed import delayed

        if "object" not in self.dims:
            found = "the light curve of one object"
            raise BadInput(
                Problem("map_objects", found, "a dimension object", "call the function with it", "one-object")
            )
        tasks = [delayed(_each, traverse=False)(function, block) for block in self.blocks()]
        done = compute(*tasks)  # type: ignore[no-untyped-call]
        return [result for part in done for result in part]

    def blocks(self) -> Iterator[LightCurveDataset]:
        """Cut the dataset along its objects into parts of some 32 MiB, at borders of chunks unless these are larger than 256 MiB."""
        count = self.sizes["object"]
        cells = self["lightcurves"]
        chunks = cells.encoding.get("preferred_chunks", {})
        unit = max(1, min(int(chunks.get("object", 1)), count))
        bytes_each = max(1, cells.nbytes // max(1, count))
        step = max(1, _BYTES_PER_TASK // (bytes_each * unit)) * unit
        step = min(step, max(1, _MOST_BYTES_PER_TASK // bytes_each))
        yield from (self.isel(object=slice(start, start + step)) for start in range(0, count, step))

    def to_lightkurve(self) -> Any:
        """Return a ``lightkurve.LightCurveCollection``: a light curve for each object and measurement that was seen.

        Value and error are ``flux`` and ``flux_err`` in the catalogue's unit, magnitudes as magnitudes. Limits, for which
        lightkurve has no place, are left out; ``quality`` is 1 where a detection is flagged, else 0.

        Raises
        ------
        BadInput
            As `to_timeseries`; or if lightkurve is not installed, which it isn't with aggrade.
        """
        from aggrade.lightkurve_curves import lightkurve_of

        return lightkurve_of(self)

    def to_timeseries(self) -> TimeSeries:
        """Return the rows of `to_pandas` as an astropy time series in the store's time scale.

        Value and error are quantities where all measurements share a unit. ``meta`` holds ``time_ref``.

        Raises
        ------
        BadInput
            If a value was selected; or if the store names no time scale, or none that astropy knows.
        """
        from astropy.timeseries import TimeSeries

        rows, attributes = _rows(self), self["epoch_time"].attrs
        time = _time(rows.pop("time"), rows.pop("offset"), attributes.get("time_scale"))
        names = [str(name) for name in self["value"].values]
        data = {
            name: _column(rows, name, names) for name in rows if name != "unit" or len(set(rows["unit"])) > 1
        }
        return TimeSeries(time=time, data=data, meta={"time_ref": attributes.get("time_ref", "")})


def _each(function: Callable[[LightCurveDataset], Any], block: LightCurveDataset) -> list[Any]:
    loaded = block.load()
    return [function(loaded.isel(object=index)) for index in range(loaded.sizes["object"])]


def _cells(dataset: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Load every cell as (object, measurement, epoch) arrays, epochs sorted by time."""
    if "value" not in dataset.dims:
        raise BadInput(
            Problem(
                "light curves",
                "one of value and error",
                "both",
                "convert before you select a value",
                "value-selected",
            )
        )
    missing = [dim for dim in _DIMS if dim not in dataset.dims]
    names = [name for name in ("lightcurves", "status", "time_offset") if name in dataset.variables]
    whole = xr.Dataset({name: dataset[name].variable for name in names}).load()
    whole = whole.expand_dims([dim for dim in missing if dim not in whole.dims])
    epoch_time = np.atleast_1d(np.asarray(dataset["epoch_time"].values, "f8"))
    order = np.argsort(epoch_time, kind="stable")
    whole = whole.isel(epoch=order)
    values = whole["lightcurves"].transpose(*_DIMS).values
    status = whole["status"].transpose("object", "measurement", "epoch").values
    offset = np.zeros(status.shape)
    if "time_offset" in whole:
        offset = np.nan_to_num(whole["time_offset"].transpose("object", "measurement", "epoch").values)
    return {
        "value": values[:, :, 0],
        "error": values[:, :, 1],
        "status": status,
        "offset": offset,
        "epoch_time": epoch_time[order],
        "order": order,
    }


def _labels(dataset: xr.Dataset, name: str) -> NDArray[Any]:
    values = np.atleast_1d(dataset[name].values)
    return values if values.dtype.kind in "iu" else np.array([str(value) for value in values], object)


def _rows(dataset: xr.Dataset) -> dict[str, NDArray[Any]]:
    """Return the columns of the table of observed cells; `time` is the epoch's, `offset` in seconds beside it."""
    cells = _cells(dataset)
    seen = np.nonzero(cells["status"])
    time, offset = cells["epoch_time"][seen[2]], cells["offset"][seen]
    order = np.lexsort((seen[1], time + offset / SECONDS_PER_DAY, seen[0]))
    objects, measurements, epochs = (axis[order] for axis in seen)
    at = (objects, measurements, epochs)
    value, error = (str(name) for name in dataset["value"].values)
    rows = {
        "object": _labels(dataset, "object")[objects],
        "epoch": _labels(dataset, "epoch")[cells["order"]][epochs],
        "time": time[order],
        "measurement": _labels(dataset, "measurement")[measurements],
    }
    if "filter" in dataset.variables:
        rows["filter"] = _labels(dataset, "filter")[cells["order"]][epochs]
    rows |= {value: cells["value"][at], error: cells["error"][at]}
    rows["unit"] = _units(dataset)[measurements]
    return {**rows, "status": cells["status"][at], "offset": offset[order]}


def _units(dataset: xr.Dataset) -> NDArray[Any]:
    if "measurement_unit" in dataset.variables:
        return _labels(dataset, "measurement_unit")
    unit = str(dataset["lightcurves"].attrs.get("units", ""))
    return np.full(np.atleast_1d(dataset["measurement"].values).shape, unit, object)


def _time(days: NDArray[np.float64], seconds: NDArray[np.float64], scale: str | None) -> Any:
    from astropy.time import Time

    if scale not in Time.SCALES:
        problem = Problem(
            "time_scale of epoch_time",
            repr(scale),
            f"one of {', '.join(Time.SCALES)}",
            "set the attribute",
            "time-scale",
        )
        raise BadInput(problem)
    return Time(days, seconds / SECONDS_PER_DAY, format="mjd", scale=scale)


def _column(rows: dict[str, NDArray[Any]], name: str, values: list[str]) -> Any:
    from astropy import units

    column = rows[name]
    if name in values and len(set(rows["unit"])) == 1 and rows["unit"][0]:
        return units.Quantity(column, units.Unit(rows["unit"][0], parse_strict="silent"), dtype=column.dtype)
    return column.astype(str) if column.dtype == object else column
