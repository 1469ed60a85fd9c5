"""Objects are where their proper motion has brought them, on the whole sky, across RA 0 and over the poles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aggrade.catalogues.motion import Motion, moved

J2016 = 57388.5  # 2016.0 as MJD, 2016-01-01T12:00


def vector(ra, dec):
    """Return the unit vectors of positions."""
    lon, lat = np.radians(ra), np.radians(dec)
    return np.array([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])


def straight(ra, dec, pmra, pmdec, years):
    """Return the direction after a straight way, from the vectors to the east and to the north."""
    lon, lat = np.radians(ra), np.radians(dec)
    east = np.array([-np.sin(lon), np.cos(lon), 0 * lon])
    north = np.array([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    way = vector(ra, dec) + np.radians(years / 3.6e6) * (pmra * east + pmdec * north)
    return way / np.linalg.norm(way, axis=0)


SPEED = st.floats(-10_000, 10_000)


@settings(max_examples=60)
@given(
    ra=st.one_of(st.sampled_from([0.0, 1e-6, 359.999999, 180.0]), st.floats(0, 359.9999)),
    dec=st.one_of(st.sampled_from([90.0, -90.0, 89.99999, -89.99999, 0.0]), st.floats(-90, 90)),
    pm=st.tuples(SPEED, SPEED),
    years=st.floats(-60, 60),
)
@example(ra=359.999999, dec=0.0, pm=(10_000.0, 0.0), years=10.0)
@example(ra=20.0, dec=90.0, pm=(0.0, 5000.0), years=20.0)
def test_objects_go_straight_on(ra, dec, pm, years):
    """The place is that at the end of a straight way through space, to a milliarcsecond."""
    motion = Motion(*(np.array([value]) for value in (*pm, 2016.0)))
    found_ra, found_dec = moved(np.array([ra]), np.array([dec]), motion, J2016 + 365.25 * years)
    assert 0 <= found_ra[0] < 360
    apart = vector(found_ra, found_dec)[:, 0] - straight(ra, dec, *pm, years)
    assert np.degrees(np.linalg.norm(apart)) * 3.6e6 < 1


def test_by_hand():
    """A degree's worth of motion east at the equator crosses RA 0; one over the pole comes down on the other side."""
    ra, dec = np.array([359.9, 30.0, 30.0]), np.array([0.0, 89.9, -89.9])
    motion = Motion(np.array([7.2e4, 0, 0]), np.array([0, 7.2e4, -7.2e4]), np.full(3, 2016.0))
    found = moved(ra, dec, motion, J2016 + 3652.5)
    np.testing.assert_allclose(found[0], [0.1, 210, 210], atol=1e-5)
    np.testing.assert_allclose(found[1], [0, 89.9, -89.9], atol=1e-5)


def test_what_does_not_move_stays_bit_by_bit():
    """Motion of zero, unknown motion, no position and an unknown time change nothing."""
    ra, dec = np.array([1 / 3, 200.0, np.nan]), np.array([1 / 7, 90.0, np.nan])
    still = Motion(
        np.array([0.0, np.nan, 5.0]), np.array([0.0, np.nan, 5.0]), np.array([2016.0, np.nan, 2016.0])
    )
    for found, given_ in zip(moved(ra, dec, still, 70000.0), (ra, dec), strict=True):
        np.testing.assert_array_equal(found, given_)
    going = Motion(*(np.full(3, value) for value in (100.0, 100.0, 2016.0)))
    assert moved(ra, dec, going, np.nan)[0] is ra


def test_the_epoch_of_each_object_counts():
    """Objects whose positions hold at different times move for as long as each must."""
    motion = Motion(np.zeros(2), np.full(2, 1000.0), np.array([2016.0, 2000.0]))
    _, dec = moved(np.zeros(2), np.zeros(2), motion, J2016)
    assert dec * 3600 == pytest.approx([0, 16], abs=1e-6)
