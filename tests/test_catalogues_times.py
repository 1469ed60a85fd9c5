"""Times become MJD in the scale they are given in, to the last digit."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from astropy.time import Time

from aggrade.catalogues.tables import Column, TimeSystem, text_column
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


def counted(unit="d", **told):
    """Return two times, one of them missing, of which the file itself says something."""
    values = np.array([1000.25, 5.0]) * (86400 if unit == "s" else 1)
    return Column(values, np.array([False, True]), unit, TimeSystem(**told))


@pytest.mark.parametrize("unit", ["d", "s"])
@pytest.mark.parametrize("written", ["mjd", "jd"])
def test_the_origin_that_a_file_states_counts(unit, written):
    """Days since a JD that the file names are MJD, whatever is said of the format; seconds are days."""
    mjd = mjd_of_column(counted(unit, scale="tcb", origin=2455197.5), written, "tcb")
    assert mjd[0] == 55197 + 1000.25
    assert np.isnan(mjd[1])


@pytest.mark.parametrize(
    ("told", "scale", "place", "sentence"),
    [
        ({"scale": "tcb"}, "tdb", None, "times in tcb by the file itself, not in tdb"),
        ({"scale": "tcb", "place": "barycenter"}, "tcb", None, "at the barycenter by the file itself"),
        ({"scale": "tcb", "place": "barycenter"}, "tcb", "heliocentric", "not as heliocentric"),
    ],
)
def test_a_file_that_says_otherwise_is_refused(told, scale, place, sentence):
    """A scale or place that the file states and the specification contradicts is an error."""
    with pytest.raises(ValueError, match=sentence):
        mjd_of_column(counted(**told), "mjd", scale, place)


def test_a_file_that_agrees_is_read():
    """A place by either of its names is the same."""
    told = counted(scale="tcb", place="barycenter")
    for place in ("barycentric", "barycenter"):
        assert mjd_of_column(told, "mjd", "tcb", place)[0] == 1000.25


def test_a_unit_that_is_no_time_is_refused():
    """Times in metres are none."""
    with pytest.raises(ValueError, match="no unit of time"):
        mjd_of_column(counted("m", origin=0.0), "mjd", "utc")


@pytest.mark.parametrize("unit", ["s", "yr", "h", "mag"])
def test_a_unit_other_than_days_is_refused(unit):
    """Numbers that are said to be seconds or years are no MJD, and are not taken for it."""
    with pytest.raises(ValueError, match=f"times in '{unit}', not in days"):
        mjd_of_column(Column.whole(np.array([6e4]), unit), "mjd", "utc")


@pytest.mark.parametrize("unit", [None, "d", "day", "days", "D", "MJD", "mjd"])
def test_days_have_many_names(unit):
    """What is no unit that is known says nothing against days."""
    assert mjd_of_column(Column.whole(np.array([6e4]), unit), "mjd", "utc").tolist() == [6e4]
