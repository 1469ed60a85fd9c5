"""Times become MJD in the scale they are given in, to the last digit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from astropy.time import Time

from aggrade.catalogues.tables import Column, text_column
from aggrade.catalogues.times import mjd_of, mjd_of_column


def test_jd_becomes_mjd_without_rounding():
    """JD less 2400000.5 in float64 is the exact difference."""
    jd = np.array([2458729.688148, 2400000.5, 2488070.123456789])
    mjd = mjd_of_column(Column.whole(jd), "jd", "utc")
    for before, after in zip(jd, mjd, strict=True):
        assert Fraction(float(after)) == Fraction(float(before)) - Fraction("2400000.5")
    assert mjd_of(2458729.688148, "jd", "utc") == mjd[0]


def test_mjd_stays_bit_by_bit():
    """MJD is not touched, and what is missing is NaN."""
    column = Column(np.array([60000.123456789, 5.0]), np.array([False, True]))
    mjd = mjd_of_column(column, "mjd", "tai")
    assert mjd[0] == 60000.123456789
    assert np.isnan(mjd[1])
    assert mjd_of("60000.5", "mjd", "tai") == 60000.5


def test_integers_are_times_too():
    """A column of whole days is MJD."""
    assert mjd_of_column(Column.whole(np.array([60000, 60001])), "mjd", "utc").tolist() == [60000.0, 60001.0]


@pytest.mark.parametrize("scale", ["utc", "tdb"])
@pytest.mark.parametrize("text", ["2026-10-01T22:15:00.125", "2026-10-01 22:15:00.125"])
def test_written_out_times_are_read_in_their_scale(scale, text):
    """ISO times with T or a blank are MJD in the scale of the specification."""
    days = 61314 + (22 * 3600 + 15 * 60 + 0.125) / 86400
    column = text_column(np.array([text, ""]), np.zeros(2, bool))
    assert abs(mjd_of(text, "isot", scale) - days) < 1e-9
    assert abs(mjd_of_column(column, "isot", scale)[0] - days) < 1e-9
    assert np.isnan(mjd_of_column(column, "isot", scale)[1])
    assert Time(61314, format="mjd").isot == "2026-10-01T00:00:00.000"


@pytest.mark.parametrize(
    ("value", "written", "told"),
    [
        (2458729.688, "mjd", "set time_format to 'jd'"),
        (58729.188, "jd", "set time_format to 'mjd'"),
        (np.inf, "mjd", "not finite"),
        ("yesterday", "isot", "yesterday"),
        ("yesterday", "mjd", "yesterday"),
    ],
)
def test_times_written_otherwise_are_refused(value, written, told):
    """A JD taken for an MJD, or the other way round, is refused with the way out."""
    with pytest.raises(ValueError, match=told):
        mjd_of(value, written, "utc")


def test_times_in_float32_have_lost_their_minutes():
    """A column of times in float32 is refused, unless it holds whole days only."""
    with pytest.raises(ValueError, match="float32, which have lost minutes"):
        mjd_of_column(Column.whole(np.array([60000.25], "f4")), "mjd", "utc")
    assert mjd_of_column(Column.whole(np.array([60000.0], "f4")), "mjd", "utc").tolist() == [60000.0]


def test_columns_are_checked_as_headers_are():
    """A column with one wrong time is refused."""
    with pytest.raises(ValueError, match="time_format"):
        mjd_of_column(Column.whole(np.array([60000.0, 2458729.0])), "mjd", "utc")
