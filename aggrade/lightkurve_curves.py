"""Light curves as lightkurve has them. lightkurve is not installed with aggrade."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

from aggrade.errors import BadInput, Problem

if TYPE_CHECKING:
    from astropy.timeseries import TimeSeries

    from aggrade.lightcurve_dataset import LightCurveDataset

__all__ = ["lightkurve_of"]

_DETECTED, _LIMIT = 1, 2


def lightkurve_of(dataset: LightCurveDataset) -> Any:
    """Return a ``lightkurve.LightCurveCollection``; see `LightCurveDataset.to_lightkurve`."""
    library = _lightkurve()
    series = dataset.to_timeseries()
    series = series[np.asarray(series["status"]) != _LIMIT]
    value, error = (str(name) for name in dataset["value"].values)
    owners, bands = np.asarray(series["object"]), np.asarray(series["measurement"])
    made = []
    for label in np.atleast_1d(dataset["object"].values):
        for band in np.atleast_1d(dataset["measurement"].values):
            chosen = series[(owners == label) & (bands == str(band))]
            if len(chosen):
                made.append(_one(library, chosen, (value, error), f"{label} {band}"))
    return library.LightCurveCollection(made)


def _one(library: Any, chosen: TimeSeries, names: tuple[str, str], label: str) -> Any:
    value, error = (chosen[name] for name in names)
    quality = (np.asarray(chosen["status"]) != _DETECTED).astype(np.int32)
    meta = {"LABEL": label, "time_ref": chosen.meta["time_ref"]}
    curve = library.LightCurve(time=chosen.time, flux=value, flux_err=error, meta=meta)
    curve["quality"] = quality
    curve["epoch"] = np.asarray(chosen["epoch"])
    return curve


def _lightkurve() -> Any:
    try:
        return importlib.import_module("lightkurve")
    except ImportError as error:
        found, fix = f"no lightkurve ({error})", "install lightkurve, or take to_timeseries()"
        raise BadInput(Problem("to_lightkurve", found, "lightkurve", fix, "no-lightkurve")) from error
