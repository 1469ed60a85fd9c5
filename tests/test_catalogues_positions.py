"""Angles and HEALPix, compared with other formulas and another library's."""

from __future__ import annotations

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import Latitude, Longitude, SkyCoord
from cdshealpix.nested import healpix_to_lonlat
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrade.catalogues.positions import chord, degrees_of, healpix, separation, unit_vectors, within_turn

RA, DEC = st.floats(-180, 360), st.floats(-90, 90)


@settings(deadline=None)
@given(RA, DEC, RA, DEC)
def test_separations_are_astropys(ra, dec, other_ra, other_dec):
    """The angle between two positions is astropy's (Vincenty), from equal positions to opposite ones."""
    one, other = SkyCoord(ra, dec, unit="deg"), SkyCoord(other_ra, other_dec, unit="deg")
    found = separation(
        unit_vectors(np.array([ra]), np.array([dec])),
        unit_vectors(np.array([other_ra]), np.array([other_dec])),
    )
    assert found[0] == pytest.approx(one.separation(other).arcsec, rel=1e-9, abs=1e-9)


@settings(deadline=None)
@given(RA, DEC)
def test_vectors_and_degrees_go_both_ways(ra, dec):
    """Degrees to vectors and back is the same place, in 0 to 360."""
    there = unit_vectors(np.array([ra]), np.array([dec]))
    back = degrees_of(3 * there)
    assert 0 <= back[0][0] < 360
    assert separation(there, unit_vectors(*back))[0] < 1e-8


@settings(deadline=None)
@given(RA)
def test_right_ascension_is_within_one_turn(ra):
    """What is within 0 to 360 stays bit by bit; the rest is turned once; 360 is 0."""
    turned = within_turn(np.array([ra]))[0]
    assert 0 <= turned < 360
    if 0 <= ra < 360:
        assert turned == ra
    else:
        assert abs(turned - ra) % 360 == pytest.approx(0, abs=1e-9) or abs(turned - ra) == pytest.approx(360)


@pytest.mark.parametrize("arcsec", [1e-3, 1.0, 3600.0])
def test_a_chord_spans_its_angle(arcsec):
    """Two vectors that far apart are separated by that angle."""
    angle = np.radians(arcsec / 3600)
    vectors = np.array([[1.0, 0, 0], [np.cos(angle), np.sin(angle), 0]])
    assert np.linalg.norm(vectors[0] - vectors[1]) == pytest.approx(chord(arcsec), rel=1e-6)


def test_healpix_indices_lead_back_to_their_place():
    """An index of order 29 is within half a milliarcsecond of its position, and -1 where there is none."""
    rng = np.random.default_rng(0)
    ra = np.concatenate([rng.uniform(-180, 360, 100), [0, 360, -180, 10, 10, np.nan, 10]])
    dec = np.concatenate([np.degrees(np.arcsin(rng.uniform(-1, 1, 100))), [0, 0, 0, 90, -90, 1, np.nan]])
    found = healpix(ra, dec)
    assert found[-2:].tolist() == [-1, -1]
    lon, lat = healpix_to_lonlat(found[:-2].astype(np.uint64), 29)
    here = SkyCoord(Longitude(lon), Latitude(lat))
    assert here.separation(SkyCoord(ra[:-2] * units.deg, dec[:-2] * units.deg)).mas.max() < 0.5
    assert found[100] == found[101]
    assert healpix(np.array([np.nan]), np.array([0.0])).tolist() == [-1]


def test_healpix_orders_nest():
    """The index of a lower order is the higher one's without its last bits."""
    ra, dec = np.array([10.0, 200.0]), np.array([20.0, -70.0])
    assert (healpix(ra, dec) >> 2 * (29 - 5)).tolist() == healpix(ra, dec, 5).tolist()
