"""The object table: sorted along the sky, each id once, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from aggrade.catalogues.objects import object_table
from aggrade.catalogues.positions import healpix
from aggrade.errors import BadInput

RA, DEC = np.array([200.0, 10.0, -10.0, np.nan]), np.array([-45.0, 80.0, 0.0, np.nan])


def test_objects_lie_in_the_order_of_the_sky():
    """Objects are sorted by HEALPix index, those without a position first, and RA is turned into 0 to 360."""
    table = object_table(np.array([1, 2, 3, 4]), RA, DEC, "test")
    assert table.healpix.tolist() == sorted(healpix(RA, DEC).tolist())
    assert table.ids[0] == 4
    assert dict(zip(table.ids.tolist(), table.ra.tolist(), strict=True))[3] == 350.0
    assert len(table) == 4
    assert table.placed.tolist() == [1, 2, 3]


def test_the_order_of_the_input_does_not_matter():
    """Any order of the same objects makes the same table; objects of one place are sorted by id."""
    ids, ra, dec = np.array(["b", "a", "c"]), np.array([5.0, 5.0, 1.0]), np.zeros(3)
    tables = [
        object_table(ids[order], ra[order], dec[order], "t") for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0])
    ]
    assert len({table.digest for table in tables}) == 1
    assert tables[0].ids.tolist().index("a") + 1 == tables[0].ids.tolist().index("b")


def test_the_digest_tells_tables_apart():
    """Another id, another type of id or another position is another digest."""
    base = object_table(np.array([1, 2]), np.array([1.0, 2.0]), np.zeros(2), "t").digest
    others = [
        object_table(np.array([1, 3]), np.array([1.0, 2.0]), np.zeros(2), "t"),
        object_table(np.array(["1", "2"]), np.array([1.0, 2.0]), np.zeros(2), "t"),
        object_table(np.array([1, 2]), np.array([1.0, 2.0 + 1e-12]), np.zeros(2), "t"),
    ]
    assert len({base, *(table.digest for table in others)}) == 4


def test_indices_lead_to_ids():
    """Every id is found at its own place, all others nowhere."""
    ids = np.array([7, 3, 2**60 + 1])
    table = object_table(ids, np.array([1.0, 2.0, 3.0]), np.zeros(3), "t")
    assert table.ids[table.indices(ids)].tolist() == ids.tolist()
    assert table.indices(np.array([2**60, 4])).tolist() == [-1, -1]


@pytest.mark.parametrize(
    ("ids", "ra", "dec", "told"),
    [
        ([1, 1, 2], [0.0, 1, 2], [0.0, 1, 2], "1 ids several times, such as 1"),
        ([1], [400.0], [0.0], "ra such as 400"),
        ([1], [-181.0], [0.0], "ra such as -181"),
        ([1], [0.0], [90.1], "dec such as 90.1"),
        ([1], [np.inf], [0.0], "ra such as inf"),
        ([1], [np.nan], [0.0], "half a position"),
        ([], [], [], "no objects"),
    ],
)
def test_what_is_no_object_is_refused(ids, ra, dec, told):
    """Repeated ids, places off the sky and half places are refused."""
    with pytest.raises(BadInput, match=told):
        object_table(np.array(ids, int), np.array(ra, float), np.array(dec, float), "objects.csv")


def test_all_that_is_wrong_is_told_at_once():
    """A repeated id and a place off the sky are two problems of one error."""
    with pytest.raises(BadInput) as caught:
        object_table(np.array([1, 1]), np.array([400.0, 0]), np.array([0.0, -91]), "objects.csv")
    assert len(caught.value.problems) == 3
