"""A made-up survey of one field across RA 0: one catalogue of sources per night, in FITS and in Parquet.

What is in it is known: most stars are constant, the first of them pulsate or are eclipsed with a period from
`periods`; faint stars fall below the limit of bad nights, some measurements are flagged, and part of the field
is left out each night. The telescope drifts, so each star of a night has a time of its own.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["BANDS", "NIGHTS", "STARS", "file_names", "night", "periods", "stars", "write_catalogue"]

STARS = 1200
NIGHTS = 32
BANDS = ("g", "r")
_VARIABLES = 48
_FIRST_ID = 4_611_686_018_427_387_905
_MJD_OF_ORDINAL_0 = -678576
_COLOUR = 0.7
_UNITS = {"ra": "deg", "dec": "deg", "mjd": "d", "mag": "mag", "err": "mag", "limit": "mag"}


@cache
def _nights() -> tuple[date, ...]:
    steps = np.random.default_rng(20).integers(1, 4, NIGHTS)
    return tuple(date(2026, 9, 1) + timedelta(days=int(days)) for days in np.cumsum(steps))


def file_names() -> list[str]:
    """Return the names of the nights' files in the order of time: FITS and Parquet by turns."""
    suffixes = ("fits", "parquet")
    return [f"survey_{day:%Y-%m-%d}.{suffixes[index % 2]}" for index, day in enumerate(_nights())]


@cache
def stars() -> dict[str, NDArray[Any]]:
    """Return (star,) arrays of what is true of the stars.

    `objid` int64; `ra`, `dec` float64 in degrees; `mean` float64, the mean magnitude in r; `period` float64 in
    days, NaN for constant stars; `phase` float64.
    """
    rng = np.random.default_rng(21)
    period = np.full(STARS, np.nan)
    period[:_VARIABLES] = np.round(np.exp(rng.uniform(np.log(0.3), np.log(4.0), _VARIABLES)), 4)
    mean = 20.7 - 6.2 * rng.power(0.45, STARS)
    mean[:_VARIABLES] = rng.uniform(15.0, 18.0, _VARIABLES)
    return {
        "objid": _FIRST_ID + np.cumsum(rng.integers(1, 9, STARS)),
        "ra": rng.uniform(-1.0, 1.0, STARS) % 360,
        "dec": np.degrees(np.arcsin(rng.uniform(-1, 1, STARS) * np.sin(np.radians(1.0)))),
        "mean": mean,
        "period": period,
        "phase": rng.uniform(size=STARS),
    }


def periods() -> dict[int, float]:
    """Return the period in days of each variable star by its id."""
    field = stars()
    return {int(field["objid"][index]): float(field["period"][index]) for index in range(_VARIABLES)}


def _magnitudes(time: NDArray[np.float64], band: str) -> NDArray[np.float64]:
    field = stars()
    phase = np.where(np.isnan(field["period"]), 0, time / field["period"] + field["phase"]) % 1
    pulsating = np.where(phase < 0.15, 0.45 - 6 * phase, -0.45 + 0.9 * (phase - 0.15) / 0.85)
    eclipsed = 0.7 * np.exp(-0.5 * ((phase - 0.5) / 0.045) ** 2) + 0.3 * np.exp(
        -0.5 * ((np.abs(phase - 0.5) - 0.5) / 0.045) ** 2
    )
    index = np.arange(STARS)
    change = np.where(index < _VARIABLES, np.where(index % 3 == 0, eclipsed, pulsating), 0)
    return np.asarray(field["mean"] + (change * 1.25 + _COLOUR if band == "g" else change))


def _measured(rng: np.random.Generator, time: NDArray[np.float64], band: str) -> dict[str, NDArray[Any]]:
    true = _magnitudes(time, band)
    limit = 20.4 + rng.normal(scale=0.35)
    error = 0.008 + 0.12 * 10 ** (0.4 * (true - limit))
    seen = true + rng.normal(size=STARS) * error
    lost = seen > limit
    columns = {
        "mag": np.where(lost, np.nan, seen).astype("f4"),
        "err": np.where(lost, np.nan, error).astype("f4"),
        "limit": np.where(lost, limit, np.nan).astype("f4"),
        "flags": np.where((rng.uniform(size=STARS) < 0.015) & ~lost, 4, 0).astype("i2"),
    }
    return {f"{band}_{name}": values for name, values in columns.items()}


def night(index: int) -> dict[str, NDArray[Any]]:
    """Return the columns of one night's catalogue, one row per star that the telescope looked at.

    Parameters
    ----------
    index
        Which night, counted from 0.

    Returns
    -------
    dict
        `objid` int64; `ra`, `dec` float64 in degrees with an error of 0.05″; `mjd` float64, UTC; per band
        `mag`, `err`, `limit` float32 in mag, NaN where they do not apply, and `flags` int16.
    """
    rng, field = np.random.default_rng([22, index]), stars()
    midnight = _nights()[index].toordinal() + _MJD_OF_ORDINAL_0
    east = (field["ra"] + 180) % 360 - 180
    time = midnight + rng.uniform(0.1, 0.4) + (east + 1) * 240 / 86400
    scatter = rng.normal(scale=0.05 / 3600, size=(2, STARS))
    columns = {
        "objid": field["objid"],
        "ra": (field["ra"] + scatter[0]) % 360,
        "dec": field["dec"] + scatter[1],
    }
    columns["mjd"] = time
    for band in BANDS:
        columns |= _measured(rng, time, band)
    order = rng.permutation(STARS)
    looked = np.abs(field["dec"][order] - rng.uniform(-0.5, 0.5)) < 0.95
    return {name: values[order][looked] for name, values in columns.items()}


def _unit(name: str) -> str:
    return _UNITS.get(name.rsplit("_", maxsplit=1)[-1], "")


def _write_fits(columns: dict[str, NDArray[Any]], path: Path) -> None:
    from astropy.io import fits

    formats = {"f4": "E", "f8": "D", "i2": "I", "i8": "K"}
    described = [
        fits.Column(name=name, format=formats[values.dtype.str[1:]], unit=_unit(name) or None, array=values)
        for name, values in columns.items()
    ]
    table = fits.BinTableHDU.from_columns(described, name="SOURCES")
    table.header["TIMESYS"] = ("UTC", "time scale of mjd")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path, overwrite=True)


def _write_parquet(columns: dict[str, NDArray[Any]], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [pa.array(values, from_pandas=True) for values in columns.values()]
    fields = [
        pa.field(name, array.type, metadata={"unit": _unit(name)} if _unit(name) else None)
        for name, array in zip(columns, arrays, strict=True)
    ]
    pq.write_table(pa.Table.from_arrays(arrays, schema=pa.schema(fields)), path, compression="zstd")


def write_catalogue(index: int, path: Path) -> None:
    """Write one night's catalogue; the name in `file_names` says in which format.

    Parameters
    ----------
    index
        Which night, counted from 0.
    path
        Where to; a file that lies there is replaced.
    """
    write = _write_fits if file_names()[index].endswith(".fits") else _write_parquet
    write(night(index), path)
