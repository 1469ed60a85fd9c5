"""Cones and boxes equal a brute-force answer on the whole sky, across RA 0 and over the poles."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from aggrade.errors import BadInput
from aggrade.sky import in_box, in_cone, in_coverage, in_polygon

RNG = np.random.default_rng(5)
RA = np.concatenate([RNG.uniform(0, 360, 900), [0.0, 0.0, 359.999999, 180.0, 90.0, 12.0, 200.0, 5.0, 355.0]])
DEC = np.concatenate(
    [np.degrees(np.arcsin(RNG.uniform(-1, 1, 900))), [0.0, 90.0, 0.0, -90.0, 89.99, 90.0, -89.999, 5.0, -5.0]]
)

LONGITUDE = st.one_of(st.sampled_from([0.0, 360.0, -180.0, 180.0, 5.0, 355.0, -5.0]), st.floats(-180, 360))
LATITUDE = st.one_of(st.sampled_from([90.0, -90.0, 0.0, 5.0, -5.0]), st.floats(-90, 90))
RADIUS = st.one_of(st.sampled_from([0.0, 5.0, 90.0, 180.0]), st.floats(0, 180), st.floats(0, 5))


def _chords(ra, dec):
    """Return the sine of half the angle between a position and every object, from vectors in extended precision."""

    def vector(lon, lat):
        lon, lat = (np.radians(np.asarray(angle, np.longdouble)) for angle in (lon, lat))
        return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])

    return np.sqrt(((vector(RA, DEC) - vector(ra, dec)[:, None]) ** 2).sum(axis=0)) / 2


@settings(max_examples=1000, deadline=None)
@given(ra=LONGITUDE, dec=LATITUDE, radius=RADIUS)
@example(ra=0.0, dec=90.0, radius=1.0)
@example(ra=359.5, dec=0.0, radius=2.0)
@example(ra=77.0, dec=-89.9, radius=30.0)
def test_a_cone_holds_whatever_is_near(ra, dec, radius):
    """Membership equals that by straight lines through the sphere, but for a hair's breadth at the edge."""
    inside = in_cone(RA, DEC, (ra, dec), radius)
    chords, half = _chords(ra, dec), math.radians(radius / 2)
    hair = math.radians(1e-9)
    assert inside[chords < math.sin(max(half - hair, 0))].all()
    assert not inside[chords > math.sin(min(half + hair, math.pi / 2))].any()


@settings(max_examples=100, deadline=None)
@given(west=LONGITUDE, east=LONGITUDE, decs=st.tuples(LATITUDE, LATITUDE).map(sorted))
@example(west=355.0, east=5.0, decs=[-0.5, 0.5])
@example(west=-5.0, east=5.0, decs=[-90.0, 90.0])
@example(west=0.0, east=360.0, decs=[-90.0, 90.0])
def test_a_box_holds_what_one_meets_going_east(west, east, decs):
    """Membership equals that of walking east in exact fractions, but for a hair's breadth at the meridians."""
    hair, circle = Fraction(1, 10**10), Fraction(360)
    width = circle if east - west >= 360 else (Fraction(east) - Fraction(west)) % circle
    assume(width in (0, circle) or hair < width < circle - hair)  # else one meridian or all: nobody can say
    inside = in_box(RA, DEC, (west, east), tuple(decs))
    for ra, dec, found in zip(RA, DEC, inside, strict=True):
        walked = (Fraction(float(ra)) - Fraction(west)) % circle
        if min(walked, circle - walked, abs(walked - width)) > hair:
            assert found == (walked < width and decs[0] <= dec <= decs[1])


@pytest.mark.parametrize("seed", [1, 2])
def test_a_thousand_cones_equal_separations_by_astropy(seed):
    """500 cones a seed, all over the sky and often at RA 0 and the poles: who is within is who astropy says is near."""
    rng, sky = np.random.default_rng(seed), SkyCoord(RA, DEC, unit="deg")
    ra = np.where(rng.uniform(size=500) < 0.3, rng.uniform(-1, 1, 500) % 360, rng.uniform(0, 360, 500))
    polar = rng.choice([-1, 1], 500) * (90 - rng.exponential(1, 500))
    dec = np.where(rng.uniform(size=500) < 0.3, polar, np.degrees(np.arcsin(rng.uniform(-1, 1, 500))))
    dec[:4] = [90, -90, 90, -90]
    radius = np.where(rng.uniform(size=500) < 0.5, rng.exponential(5, 500), rng.uniform(0, 180, 500))
    for centre_ra, centre_dec, size in zip(ra, dec, radius, strict=True):
        apart = sky.separation(SkyCoord(centre_ra, centre_dec, unit="deg")).deg
        clear = np.abs(apart - size) > 1e-9
        inside = in_cone(RA, DEC, (centre_ra, centre_dec), size)
        assert (inside[clear] == (apart < size)[clear]).all()
        assert clear.sum() >= len(RA) - 2


def test_a_thousand_boxes_equal_a_walk_to_the_east():
    """1,000 boxes, across RA 0 and onto the poles: who is within is who astropy's angle from the west edge says."""
    rng, sky = np.random.default_rng(3), SkyCoord(RA, DEC, unit="deg")
    west = np.where(rng.uniform(size=1000) < 0.4, rng.uniform(-20, 0, 1000), rng.uniform(0, 360, 1000))
    width = np.where(rng.uniform(size=1000) < 0.5, rng.exponential(10, 1000), rng.uniform(0, 359, 1000)) % 360
    edges = np.sort(np.clip(rng.uniform(-110, 110, (1000, 2)), -90, 90), axis=1)
    crossing = 0
    for start, size, (south, north) in zip(west, width, edges, strict=True):
        walked = (sky.ra - start * units.deg).wrap_at(360 * units.deg).deg
        clear = (walked > 1e-9) & (walked < 360 - 1e-9) & (np.abs(walked - size) > 1e-9)
        expected = (walked < size) & (sky.dec.deg >= south) & (sky.dec.deg <= north)
        east = start + size if start + size <= 360 else start + size - 360
        inside = in_box(RA, DEC, (start, east), (south, north))
        assert (inside[clear] == expected[clear]).all()
        crossing += start % 360 > east % 360
    assert crossing > 200


def test_regions_found_by_hand():
    """A cone over the pole takes every meridian; a box across RA 0 takes both sides and its edges."""
    ra, dec = np.array([10.0, 190.0, 100.0, 0.0]), np.array([89.5, 89.5, 88.0, 90.0])
    assert list(in_cone(ra, dec, (10.0, 89.9), 0.7)) == [True, True, False, True]
    ra, dec = (
        np.array([355.0, 359.0, 0.0, 5.0, 5.1, 354.9, 2.0]),
        np.array([0.0, 0.5, -0.5, 0.0, 0.0, 0.0, 0.6]),
    )
    assert list(in_box(ra, dec, (355, 5), (-0.5, 0.5))) == [True, True, True, True, False, False, False]
    assert list(in_box(ra - 360, dec, (355, 5), (-0.5, 0.5))) == [True, True, True, True, False, False, False]


def test_objects_without_a_position_lie_nowhere():
    """NaN is in no region, the whole sky included."""
    nowhere = np.array([np.nan])
    assert not in_cone(nowhere, nowhere, (0, 0), 180)[0]
    assert not in_box(nowhere, np.array([0.0]), (0, 360), (-90, 90))[0]
    assert not in_box(np.array([0.0]), nowhere, (0, 360), (-90, 90))[0]


@pytest.mark.parametrize(
    ("centre", "radius", "names"),
    [
        ((0, 91), 1, ["dec"]),
        ((math.nan, 0), 1, ["ra"]),
        ((4000, -91), -1, ["ra", "dec", "radius"]),
        (("12h", None), "5'", ["ra", "dec", "radius"]),
        ((0, 0), math.inf, ["radius"]),
    ],
)
def test_cones_that_are_none_are_refused(centre, radius, names):
    """Every part of a cone that is no number in its range is named."""
    with pytest.raises(BadInput) as caught:
        in_cone(RA, DEC, centre, radius)
    assert [problem.where for problem in caught.value.problems] == names
    assert caught.value.code == "sky-region"


@pytest.mark.parametrize(
    ("ra", "dec", "names"),
    [
        ((0, 10), (5, -5), ["dec"]),
        ((0, 10), (0, 100), ["dec"]),
        ((0, 10), (-100, 0), ["dec"]),
        (5, (0, 1), ["ra"]),
        ((0, 10, 20), "ab", ["ra", "dec"]),
        ((math.nan, 10), (0, 1), ["ra"]),
        ((0, 4000), (0, 1), ["ra"]),
    ],
)
def test_boxes_that_are_none_are_refused(ra, dec, names):
    """Every part of a box that is no pair of numbers in their ranges is named."""
    with pytest.raises(BadInput) as caught:
        in_box(RA, DEC, ra, dec)
    assert [problem.where for problem in caught.value.problems] == names


def _turned(points, rng):
    """Turn (point, 3) vectors by a random rotation."""
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return points @ turn.T


def _degrees(vectors):
    return np.degrees(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360, np.degrees(np.arcsin(vectors[:, 2]))


def _vectors():
    lon, lat = np.radians(RA), np.radians(DEC)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32), corners=st.integers(3, 9), radius=st.floats(0.5, 80))
def test_a_convex_polygon_is_where_all_its_sides_say(seed, corners, radius):
    """Membership equals lying on the inner side of every great circle, wherever on the sky, in either direction."""
    rng = np.random.default_rng(seed)
    around = np.sort(rng.uniform(0, 2 * np.pi, corners))
    assume(np.diff(np.append(around, around[0] + 2 * np.pi)).max() < 2.8)
    down = np.radians(radius)
    cap = np.stack(
        [np.sin(down) * np.cos(around), np.sin(down) * np.sin(around), np.full(corners, np.cos(down))],
        axis=-1,
    )
    vertices = _turned(cap, rng)
    normals = np.cross(vertices, np.roll(vertices, -1, axis=0))
    heights = _vectors() @ (normals / np.linalg.norm(normals, axis=1, keepdims=True)).T
    heights *= np.sign(vertices.sum(axis=0) @ normals.T)
    clear = (np.abs(heights) > 1e-9).all(axis=1)
    corners_given = list(zip(*_degrees(vertices), strict=True))
    for each in (corners_given, corners_given[::-1]):
        inside = in_polygon(RA, DEC, each)
        assert (inside[clear] == (heights[clear] > 0).all(axis=1)).all()


def test_a_concave_polygon_over_the_pole():
    """A square over the pole without one of its quarters holds the other three, across RA 0."""
    ra = np.array([45.0, 135.0, 225.0, 315.0, 359.0, 1.0, 0.0])
    dec = np.array([88.0, 88.0, 88.0, 88.0, 88.5, 88.5, -88.0])
    arrow = [(0, 85), (90, 85), (180, 85), (270, 85), (0, 90)]
    assert in_polygon(ra, dec, arrow).tolist() == [True, True, True, False, False, True, False]
    assert not in_polygon(np.array([np.nan, 10.0]), np.array([88.0, np.nan]), arrow).any()


@pytest.mark.parametrize(
    ("vertices", "told"),
    [
        ([(0, 0), (1, 1)], "three corners"),
        (7, "three corners"),
        ([(0, 0), (1, 91), (5, "x")], "degrees between -90 and 90"),
        ([(0, 0), (1, 1), 5], "a pair"),
        ([(0, 0), (120, 0), (240, 0)], "hemisphere"),
        ([(0, -40), (120, -40), (240, -40), (0, 89)], "hemisphere"),
    ],
)
def test_polygons_that_are_none_are_refused(vertices, told):
    """Too few corners, corners that are no positions, and what goes around the sky are refused."""
    with pytest.raises(BadInput, match=told):
        in_polygon(RA, DEC, vertices)


class Northern:
    """A coverage map of the northern sky, with the method of ``mocpy.MOC``."""

    def contains_lonlat(self, lon, lat):
        """Tell which positions are covered."""
        assert np.isfinite(lon.to_value("deg")).all()
        return lat.to_value("deg") > 0


def test_a_coverage_map_is_asked():
    """The map decides about every object with a position; those without one lie nowhere."""
    dec = np.where(np.arange(len(DEC)) % 5 == 0, np.nan, DEC)
    assert in_coverage(RA, dec, Northern()).tolist() == [bool(each > 0) for each in dec]
    with pytest.raises(BadInput, match="mocpy"):
        in_coverage(RA, DEC, "moc.fits")


def test_a_moc_of_mocpy():
    """A MOC made by mocpy of a cone holds what the cone holds, but for its cells at the edge."""
    mocpy = pytest.importorskip("mocpy")
    from astropy.coordinates import Latitude, Longitude

    centre = {"lon": Longitude(359 * units.deg), "lat": Latitude(10 * units.deg)}
    cone = mocpy.MOC.from_cone(**centre, radius=30 * units.deg, max_depth=10)
    inside, near = in_coverage(RA, DEC, cone), in_cone(RA, DEC, (359, 10), 29.8)
    assert inside[near].all()
    assert not inside[~in_cone(RA, DEC, (359, 10), 30.2)].any()
