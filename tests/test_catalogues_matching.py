"""Rows find their objects as a brute-force search over all pairs says, anywhere on the sky."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from make_catalogues import angles, shifted

from aggrade.catalogues.epochs import EpochCatalogue
from aggrade.catalogues.matching import claims_of, duplicate_problems, match_epoch
from aggrade.catalogues.objects import object_table
from aggrade.catalogues.spec import CatalogueSpec, MatchSpec

SPEC = CatalogueSpec.model_validate(
    {
        "ra": "ra",
        "dec": "dec",
        "time": "t",
        "time_scale": "utc",
        "epoch": {"column": "t"},
        "measurements": {"g": {"value": "m"}},
        "duplicates": "first",
    }
)
FIRST, BEST = SPEC, SPEC.model_copy(update={"duplicates": "best"})
PLACES = [(0.0, 0.0), (359.9999, 45.0), (123.4, 90.0), (0.0, -90.0), (180.0, -30.0), (77.0, 89.9995)]


def catalogue(*, ra=None, dec=None, ids=None, status=None, error=None, value=None):
    """Return the rows of an epoch in one band, or as many as `status` has columns."""
    rows = len(ids if ids is not None else ra)
    status = np.ones((rows, 1), "u1") if status is None else np.asarray(status, "u1").reshape(rows, -1)
    plain = np.zeros(status.shape, "f4")
    return EpochCatalogue(
        key="1",
        measurements=tuple("gri"[: status.shape[1]]),
        units=("mag",) * status.shape[1],
        value=plain if value is None else np.asarray(value, "f4").reshape(status.shape),
        error=plain if error is None else np.asarray(error, "f4").reshape(status.shape),
        status=status,
        time=np.full(status.shape, 60000.0),
        ids=None if ids is None else np.asarray(ids),
        ra=None if ra is None else np.asarray(ra, "f8"),
        dec=None if dec is None else np.asarray(dec, "f8"),
    )


def table(ra, dec):
    """Return an object table of positions."""
    return object_table(np.arange(len(ra)), np.asarray(ra, "f8"), np.asarray(dec, "f8"), "test")


def taken(matched, column=0):
    """Return row by object of one measurement."""
    rows, objects = matched.cells[column]
    return dict(zip(objects.tolist(), rows.tolist(), strict=True))


@st.composite
def fields(draw):
    """Draw a field of objects and detections that crowd within a few arcseconds around a difficult place."""
    ra, dec = draw(st.sampled_from(PLACES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    counts = draw(st.integers(1, 12)), draw(st.integers(0, 25))
    spots = [
        shifted(np.full(count, ra), np.full(count, dec), rng, draw(st.sampled_from([0.5, 3])))
        for count in counts
    ]
    (ora, odec), (dra, ddec) = spots
    if draw(st.booleans()):
        dra = np.where(dra > 180, dra - 360, dra)
    return ora, odec, dra, ddec, draw(st.sampled_from([0.3, 1.0, 5.0]))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(fields())
def test_matching_by_sky_is_what_brute_force_says(field):
    """Every row claims its nearest object within the radius; every object takes its nearest claimant; all is counted."""
    ora, odec, dra, ddec, radius = field
    objects = table(ora, odec)
    apart = angles(dra, ddec, objects.ra, objects.dec)
    assume(not len(dra) or np.abs(apart - radius).min() > 1e-6)
    nearest = apart.argmin(axis=1) if len(dra) else np.zeros(0, int)
    claims = {row: obj for row, obj in enumerate(nearest) if apart[row, obj] <= radius}
    winners = {}
    for row, obj in claims.items():
        if obj not in winners or apart[row, obj] < apart[winners[obj], obj]:
            winners[int(obj)] = row
    matched = match_epoch(
        catalogue(ra=dra, dec=ddec), objects, FIRST, MatchSpec(radius_arcsec=radius), by_id=False
    )
    assert taken(matched) == winners
    counts = matched.counts
    assert counts["matched"] == len(winners) == counts["cells"]
    assert counts["unmatched"] == len(dra) - len(claims)
    assert counts["losers"] == len(claims) - len(winners)
    assert counts["duplicates"] == counts["blank"] == 0


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=20), st.sets(st.integers(0, 6), min_size=1))
def test_matching_by_id_is_a_dictionary(rows, known):
    """A row belongs to the object of its id; the first row of an id counts, the others repeat it."""
    ids = np.array(sorted(known), np.int64)
    objects = object_table(ids, np.full(len(ids), np.nan), np.full(len(ids), np.nan), "test")
    matched = match_epoch(catalogue(ids=np.array(rows, np.int64)), objects, FIRST, MatchSpec(), by_id=True)
    first = {}
    for row, each in enumerate(rows):
        first.setdefault(each, row)
    assert taken(matched) == {
        list(objects.ids).index(each): row for each, row in first.items() if each in known
    }
    counted = Counter(rows)
    assert matched.counts["unmatched"] == sum(count for each, count in counted.items() if each not in known)
    assert matched.counts["duplicates"] == sum(count - 1 for each, count in counted.items() if each in known)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from([0.1, 0.2, np.nan])),
        min_size=1,
        max_size=15,
    )
)
def test_the_best_of_duplicates_is_taken(rows):
    """A detection goes before a flagged one before a limit, then the smaller error, then the earlier row."""
    ids = [each for each, _, _ in rows]
    objects = object_table(np.arange(5), np.zeros(5), np.zeros(5), "test")
    given_rows = catalogue(
        ids=np.array(ids, np.int64),
        status=[state for _, state, _ in rows],
        error=[error for *_, error in rows],
    )
    found = taken(match_epoch(given_rows, objects, BEST, MatchSpec(), by_id=True))
    rank = {1: 0, 3: 1, 2: 2}
    best = {}
    for row, (each, state, error) in enumerate(rows):
        if state:
            worth = (rank[state], np.inf if np.isnan(error) else error, row)
            best[each] = min(best.get(each, worth), worth)
    assert found == {list(objects.ids).index(each): worth[2] for each, worth in best.items()}


def test_every_band_takes_its_own_row():
    """Two rows of one object that speak of different bands are both taken, and neither is a duplicate."""
    objects = table([10.0], [0.0])
    rows = catalogue(ra=[10, 10.0001], dec=[0, 0], status=[[1, 0, 0], [0, 2, 0]])
    matched = match_epoch(rows, objects, SPEC, MatchSpec(), by_id=False)
    assert [taken(matched, band) for band in range(3)] == [{0: 0}, {0: 1}, {}]
    assert matched.counts == {
        "rows": 2, "matched": 2, "unmatched": 0, "duplicates": 0, "losers": 0, "blank": 0,
        "cells": 2, "detections": 1, "limits": 1, "flagged": 0,
    }  # fmt: skip


def test_rows_have_one_fate_each():
    """Matched, unmatched, duplicate, loser and blank are all the rows, each once."""
    objects = table([10.0, 20.0], [0.0, 0.0])
    ra = [10.0, 10.0, 10.0001, 50.0, 20.0, 20.0]
    rows = catalogue(ra=ra, dec=[0.0] * 6, status=[1, 1, 1, 1, 0, 3])
    counts = match_epoch(rows, objects, SPEC, MatchSpec(), by_id=False).counts
    fates = {name: counts[name] for name in ("matched", "unmatched", "duplicates", "losers", "blank")}
    assert fates == {"matched": 2, "unmatched": 1, "duplicates": 1, "losers": 1, "blank": 1}
    assert sum(fates.values()) == counts["rows"]
    assert counts["flagged"] == 1


def test_rows_without_a_place_match_nothing():
    """A row whose position is NaN is unmatched, and objects without a position are never found."""
    objects = object_table(np.arange(2), np.array([10.0, np.nan]), np.array([0.0, np.nan]), "test")
    rows = catalogue(ra=[np.nan, 10.0], dec=[0.0, 0.0])
    place = objects.ids.tolist().index(0)
    assert taken(match_epoch(rows, objects, SPEC, MatchSpec(), by_id=False)) == {place: 1}
    nowhere = object_table(np.arange(1), np.array([np.nan]), np.array([np.nan]), "test")
    assert match_epoch(rows, nowhere, SPEC, MatchSpec(), by_id=False).counts["matched"] == 0


@pytest.mark.parametrize(
    ("ids", "known", "expected"),
    [
        (np.array([2**60 + 1]), np.array([2**60, 2**60 + 1]), [1]),
        (np.array(["a", "b"]), np.array(["b", "c"]), [-1, 0]),
        (np.array(["5", "05", "x", "-5", "99999999999999999999"]), np.array([5]), [0, -1, -1, -1, -1]),
        (np.array([5, 6]), np.array(["5", "x"]), [0, -1]),
        (np.array([1]), np.zeros(0, int), [-1]),
    ],
)
def test_ids_of_both_types_are_compared_exactly(ids, known, expected):
    """Integers and text find each other only if they read the same, with every digit."""
    from aggrade.catalogues.objects import ObjectTable

    empty = np.full(len(known), np.nan)
    objects = ObjectTable(known, empty, empty, np.full(len(known), -1))
    assert claims_of(catalogue(ids=ids), objects, MatchSpec(), by_id=True).objects.tolist() == expected


@pytest.mark.parametrize("by_id", [True, False])
def test_duplicates_are_told_by_measurement(by_id):
    """Rows that repeat an id, or a place, are a problem of each measurement that they speak of."""
    where = (
        {"ids": np.array([1, 1, 2, 2])}
        if by_id
        else {"ra": [1.0, 1.0, 2.0, 2.0], "dec": [0.0, 0.0, 0.0, 0.0]}
    )
    rows = catalogue(**where, status=[[1, 1], [1, 0], [1, 0], [0, 1]])
    problems = list(duplicate_problems(rows, "a.fits"))
    assert len(problems) == 1
    assert "1 rows" in problems[0].found
    assert "measurement g" in problems[0].found
    assert list(duplicate_problems(rows.taken(np.array([0, 2])), "a.fits")) == []


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 2**32))
def test_rows_of_their_own_give_the_cells_that_winners_give(ids, seed):
    """Where no object has two rows, all of them together are the winners of each measurement."""
    rng = np.random.default_rng(seed)
    epoch = catalogue(ids=np.array(ids, np.int64), status=rng.integers(0, 4, (len(ids), 2)))
    matched = match_epoch(epoch, table(np.arange(8.0), np.zeros(8)), FIRST, MatchSpec(), by_id=True)
    known = [number for number in ids if number < 8]
    assert (matched.sole is not None) == (len(set(known)) == len(known))
    if matched.sole is not None:
        for column in range(2):
            said = {int(o): int(r) for r, o in zip(*matched.sole, strict=True) if epoch.status[r, column]}
            assert taken(matched, column) == said
