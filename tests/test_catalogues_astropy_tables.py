"""Astropy tables as photutils makes them: quantities, positions, times, vectors, in memory and in files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import QTable
from astropy.time import Time
from astropy.utils.masked import Masked

from aggrade.catalogues.astropy_tables import from_astropy
from aggrade.catalogues.reading import read_table
from aggrade.catalogues.tables import Wanted
from aggrade.catalogues.times import mjd_of_column

WANTED = Wanted(
    frozenset({"sky_centroid.ra", "sky_centroid.dec", "segment_flux", "kron_flux", "obstime", "aper[1]"}),
    frozenset({"label"}),
)
MJD = [61000.25, 61000.5, 61001.125]


@pytest.fixture
def table():
    """Return a table of sources as photutils returns it."""
    return QTable(
        {
            "label": [1, 2, 3],
            "xcentroid": [10.5, 20.5, 30.5],
            "sky_centroid": SkyCoord([1.25, 359.999999999, 180.0] * u.deg, [-89.5, 0.0, 45.25] * u.deg),
            "segment_flux": [1.5, 2.5, np.nan] * u.nJy,
            "kron_flux": Masked([4.5, 5.5, 6.5] * u.nJy, mask=[False, True, False]),
            "aper": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]] * u.nJy,
            "obstime": Time(MJD, format="mjd", scale="tdb"),
        },
        meta={"MJD-OBS": 61000.25, "version": {"photutils": "2"}},
    )


def check(read):
    """Compare what was read with what was put in."""
    columns = read.columns
    assert np.allclose(columns["sky_centroid.ra"].values, [1.25, 359.999999999, 180.0], rtol=0, atol=1e-12)
    assert np.allclose(columns["sky_centroid.dec"].values, [-89.5, 0.0, 45.25], rtol=0, atol=1e-12)
    assert columns["sky_centroid.ra"].unit == "deg"
    assert np.array_equal(columns["segment_flux"].values, [1.5, 2.5, np.nan], equal_nan=True)
    assert columns["segment_flux"].unit == "nJy"
    assert columns["kron_flux"].missing.tolist() == [False, True, False]
    assert columns["kron_flux"].unit == "nJy"
    assert columns["aper[1]"].values.tolist() == [2.0, 4.0, 6.0]
    assert columns["label"].values.tolist() == [1, 2, 3]
    assert mjd_of_column(columns["obstime"], "jd", "tdb").tolist() == MJD
    assert {"sky_centroid.ra", "sky_centroid.dec", "xcentroid"} <= set(read.names)


def test_a_table_in_memory(table):
    """Positions are columns of degrees, quantities keep their units, times are MJD in their own scale."""
    check(from_astropy(table, WANTED.names))


@pytest.mark.parametrize(("suffix", "how"), [("ecsv", "ascii.ecsv"), ("fits", "fits")])
def test_a_table_in_a_file(table, suffix, how):
    """The same columns go by the same names in every file that astropy writes."""
    if suffix == "fits":
        table["kron_flux"] = table["kron_flux"].filled(np.nan)
        del table.meta["version"]
        file = io.BytesIO()
        table.write(file, format=how)
        data = file.getvalue()
    else:
        text = io.StringIO()
        table.write(text, format=how)
        data = text.getvalue().encode()
    check(read_table(data, f"night.{suffix}", WANTED))


def test_times_in_another_scale_are_refused(table):
    """A column that says its scale itself can't be read in another one."""
    column = from_astropy(table, WANTED.names).columns["obstime"]
    with pytest.raises(ValueError, match="tdb by the file itself, not in utc"):
        mjd_of_column(column, "mjd", "utc")
