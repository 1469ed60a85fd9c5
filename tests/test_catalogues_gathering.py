"""Object tables built from catalogues: the same whatever the order of files and rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_catalogues import angles, make_survey, shifted
from test_catalogues_matching import catalogue

from aggrade.catalogues.gathering import clustered, gather, union, united
from aggrade.catalogues.spec import MatchSpec

MATCH = MatchSpec(radius_arcsec=1.5)


def test_the_union_is_every_id_at_its_mean_place():
    """Every id that occurs is an object, whatever it says, at the mean of its positions, across RA 0 and at a pole."""
    parts = [
        catalogue(ids=np.array([1, 2]), ra=[359.9999, 10.0], dec=[0.0, 90.0]),
        catalogue(ids=np.array([1, 3, 4]), ra=[0.0001, 20.0, 30.0], dec=[0.0, 5.0, 1.0], status=[1, 2, 0]),
        catalogue(ids=np.array([3, 5]), ra=[np.nan, np.nan], dec=[np.nan, np.nan], status=[2, 2]),
    ]
    table = union(united([gather(part, MATCH, by_id=True) for part in parts]), "test")
    assert sorted(table.ids.tolist()) == [1, 2, 3, 4, 5]
    places = {int(each): (ra, dec) for each, ra, dec in zip(table.ids, table.ra, table.dec, strict=True)}
    assert min(places[1][0], 360 - places[1][0]) < 1e-9
    assert places[2][1] == pytest.approx(90)
    assert places[3] == pytest.approx((20.0, 5.0))
    assert np.isnan(places[5]).all()


def test_positions_stay_where_they_are():
    """The place of an object seen once is that of its row to 0.1 microarcsecond."""
    rng = np.random.default_rng(1)
    ra, dec = rng.uniform(0, 360, 50), np.degrees(np.arcsin(rng.uniform(-1, 1, 50)))
    table = union(gather(catalogue(ids=np.arange(50), ra=ra, dec=dec), MATCH, by_id=True), "test")
    assert (np.abs(table.dec - dec[table.ids]) * 3600).max() < 1e-7
    assert (np.abs(table.ra - ra[table.ids]) * 3600 * np.cos(np.radians(table.dec))).max() < 1e-7


@settings(deadline=None)
@given(st.integers(0, 2**32), st.permutations(range(4)), st.booleans())
def test_the_order_of_files_does_not_matter(seed, order, by_id):
    """Any order of the files, and any way to divide the work, makes the same table bit by bit."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(4):
        ra, dec = shifted(np.zeros(6), np.full(6, 89.999), rng, 3)
        parts.append(catalogue(ids=rng.integers(0, 9, 6), ra=ra, dec=dec))
    build = (lambda found: union(found, "t")) if by_id else (lambda found: clustered(found, MATCH, "t"))
    found = [gather(part, MATCH, by_id=by_id) for part in parts]
    straight = build(united(found))
    mixed = [found[index] for index in order]
    halves = build(united([united(mixed[:2]), united(mixed[2:])]))
    assert straight.digest == halves.digest


def test_ids_of_two_types_become_text():
    """Where one file has numbers and another text, all ids are text."""
    parts = [
        catalogue(ids=ids, ra=[1.0], dec=[2.0]) for ids in (np.array([5]), np.array(["5"]), np.array(["x"]))
    ]
    table = union(united([gather(part, MATCH, by_id=True) for part in parts]), "test")
    assert sorted(table.ids.tolist()) == ["5", "x"]


def test_clusters_are_the_objects_of_the_sky():
    """A survey across RA 0 and over both poles is clustered into its true objects, and each detection lies near its own."""
    survey = make_survey()
    found = []
    for epoch in range(len(survey.mjd)):
        rows = survey.rows(epoch)
        found.append(gather(catalogue(ra=rows["RA"], dec=rows["DEC"]), MATCH, by_id=False))
    table = clustered(united(found), MATCH, "test")
    true = survey.seen.any(axis=0)
    apart = angles(table.ra, table.dec, survey.ra[true], survey.dec[true])
    assert len(table) == true.sum() + survey.noise
    assert (apart.min(axis=0) < 1).all()
    assert table.ids.tolist() == table.healpix.tolist()


def test_clusters_are_friends_of_friends():
    """Positions linked by steps within the radius are one object; a gap wider than it parts them."""
    step = 1.4 / 3600
    ra = np.array([0, step, 2 * step, 2 * step + 1.7 / 3600])
    table = clustered(gather(catalogue(ra=ra, dec=np.zeros(4)), MATCH, by_id=False), MATCH, "test")
    assert len(table) == 2
    assert sorted(np.round(table.ra * 3600, 3).tolist()) == [1.4, 4.5]


def test_repeated_rows_are_gathered_into_little():
    """A thousand rows of one object are kept as a few sums, not as rows."""
    rng = np.random.default_rng(0)
    ra, dec = shifted(np.full(1000, 50.0), np.full(1000, 20.0), rng, 0.1)
    assert len(gather(catalogue(ra=ra, dec=dec), MatchSpec(radius_arcsec=3), by_id=False).keys) < 20


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 120), st.floats(0.5, 40))
def test_every_position_has_an_object_within_the_radius(seed, count, spread):
    """However crowded the field, no position is farther from the nearest object than the radius, but for its pixel."""
    rng = np.random.default_rng(seed)
    ra, dec = shifted(np.zeros(count), np.full(count, -89.9999), rng, spread / 3)
    table = clustered(gather(catalogue(ra=ra, dec=dec), MATCH, by_id=False), MATCH, "test")
    pixel = MATCH.radius_arcsec / 8 * 2
    assert (angles(ra, dec, table.ra, table.dec).min(axis=1) <= MATCH.radius_arcsec + pixel).all()


def test_a_ring_has_its_objects_on_it():
    """Positions all around an empty middle get objects that are near them, not one in the middle."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ra, dec = 10 * np.cos(turn) / 3600, 10 * np.sin(turn) / 3600
    table = clustered(gather(catalogue(ra=ra % 360, dec=dec), MATCH, by_id=False), MATCH, "test")
    apart = angles(ra, dec, table.ra, table.dec)
    assert (apart.min(axis=1) <= MATCH.radius_arcsec).all()
    assert (apart.min(axis=0) <= MATCH.radius_arcsec).all()
    assert len(table) < 30
