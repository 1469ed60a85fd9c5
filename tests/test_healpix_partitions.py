"""Objects are cut into cells of the sky: each lies in one, none holds too many, and none is smaller than it must be."""

from __future__ import annotations

from functools import cache

import numpy as np
from astropy import units
from astropy.coordinates import Latitude, Longitude
from cdshealpix.nested import lonlat_to_healpix
from hypothesis import given, settings
from hypothesis import strategies as st

from aggrade.healpix_partitions import partitions

RNG = np.random.default_rng(8)
RA = np.concatenate([RNG.uniform(0, 360, 300), RNG.uniform(10, 10.05, 200), np.full(5, 200.0)])
DEC = np.concatenate(
    [np.degrees(np.arcsin(RNG.uniform(-1, 1, 300))), RNG.uniform(0, 0.05, 200), np.full(5, 89.9)]
)


@cache
def cells_of(order):
    """Return every object's cell of an order, from its position."""
    return lonlat_to_healpix(Longitude(RA, units.deg), Latitude(DEC, units.deg), order).astype(np.int64)


FINEST = cells_of(29)


@settings(max_examples=20)
@given(most=st.integers(5, 600), seed=st.integers(0, 99))
def test_every_object_lies_in_one_cell_that_holds_it(most, seed):
    """Cells hold what lies in them by position, sorted, no more than asked, and their parents would hold too many."""
    shuffled = np.random.default_rng(seed).permutation(len(RA))
    found = partitions(FINEST[shuffled], most)
    assert sorted(shuffled[np.concatenate([cell.objects for cell in found])]) == list(range(len(RA)))
    for cell in found:
        inside = shuffled[cell.objects]
        assert (cells_of(cell.order)[inside] == cell.pixel).all()
        assert (np.diff(FINEST[inside]) >= 0).all()
        assert 0 < len(inside) <= most
        if cell.order:
            assert (cells_of(cell.order - 1) == cell.pixel // 4).sum() > most
    starts = [cell.pixel << 2 * (29 - cell.order) for cell in found]
    assert starts == sorted(starts)


def test_objects_at_one_place_stay_together():
    """Where no cell is small enough, one of order 18 holds more than asked."""
    (cell,) = partitions(np.full(7, 12345678 << 22), 3)
    assert (cell.order, cell.pixel, len(cell.objects)) == (18, 12345678, 7)


def test_objects_without_a_position_are_in_no_cell():
    """Those at -1 are left out; without any others there is no cell."""
    found = partitions(np.array([-1, 5, -1, 3]), 10)
    assert [cell.objects.tolist() for cell in found] == [[3, 1]]
    assert partitions(np.array([-1, -1]), 10) == []
    assert partitions(np.zeros(0, np.int64), 10) == []


def test_files_lie_in_folders_of_ten_thousand():
    """A cell's path and share of the sky are those of HATS."""
    (cell,) = [each for each in partitions(np.full(2, 34567 << 46 | 1), 1) if each.order == 18][:1]
    assert cell.path.startswith("Norder=18/Dir=")
    coarse = partitions(np.array([11 << 58]), 1)[0]
    assert (coarse.path, coarse.sky) == ("Norder=0/Dir=0/Npix=11.parquet", 1 / 12)
    assert coarse._replace(order=6, pixel=34567).path == "Norder=6/Dir=30000/Npix=34567.parquet"
    assert coarse._replace(order=1).sky == 1 / 48
