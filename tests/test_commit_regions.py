"""Boxes of places, compared with the keys that they should hold."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document

from aggrade.commit.dirt import lies_in
from aggrade.commit.documents import in_grid, key_of
from aggrade.commit.regions import beyond, box_around, everything

shapes = st.tuples(st.integers(0, 7), st.integers(0, 7))
units = st.tuples(st.integers(1, 3), st.integers(1, 3))
INDICES = list(itertools.product(range(9), range(9)))


def array(shape, unit, dims=("row", "column")):
    """Return the document of a matrix."""
    return make_document(shape, unit, dims=dims)


@settings(deadline=None, max_examples=50)
@given(shapes, units)
def test_beyond_is_what_the_grid_does_not_hold(shape, unit):
    """Without edges, a place is beyond just if no object of the array's grid lies there."""
    document = array(shape, unit)
    regions = beyond("x", document, "row", edges=False)
    for index in INDICES:
        assert lies_in(regions, key_of("x", document, index)) is not in_grid(document, index)


@settings(deadline=None, max_examples=50)
@given(shapes, units)
def test_edges_are_the_last_rows(shape, unit):
    """With edges, objects that the next row will share count, too; those of complete rows don't."""
    document = array(shape, unit)
    regions = beyond("x", document, "row")
    for index in INDICES:
        open_row = index[0] == shape[0] // unit[0]
        expected = open_row or not in_grid(document, index)
        assert lies_in(regions, key_of("x", document, index)) is expected


@pytest.mark.parametrize(("index", "found"), [((0,), False), ((1,), True), ((2,), True)])
def test_an_array_along_another_dimension(index, found):
    """Of an array that doesn't grow by rows, an object that is not full may get more."""
    document = make_document((5,), (4,), dims=("window",))
    assert lies_in(beyond("x", document, "row"), key_of("x", document, index)) is found


def test_everything_is_everything_under_these_keys():
    """Any place of the key encoding, and none of another one or of another array."""
    document = array((2, 2), (1, 1))
    other = {**document, "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}}}
    regions = everything("x", document)
    assert all(lies_in(regions, key_of("x", document, index)) for index in [(0, 0), (8, 3), (10**6, 10**6)])
    assert not lies_in(regions, key_of("x", other, (0, 0)))
    assert not lies_in(regions, key_of("y", document, (0, 0)))
    assert not lies_in(regions, "x/zarr.json")


@settings(deadline=None, max_examples=50)
@given(units, st.sets(st.sampled_from(INDICES)))
def test_a_box_holds_its_objects(unit, indices):
    """The smallest box around some objects; none around none."""
    document = array((9, 9), unit)
    found = box_around("x", document, indices)
    assert len(found) == bool(indices)
    held = {index for index in INDICES if lies_in(found, key_of("x", document, index))}
    rows, columns = ({index[axis] for index in indices} for axis in (0, 1))
    assert indices <= held
    assert all(min(rows) <= a <= max(rows) and min(columns) <= b <= max(columns) for a, b in held)


def test_a_scalar():
    """An array without dimensions has one place, which is always shown."""
    document = make_document((), (), dims=())
    assert beyond("x", document, "row") == ()
    assert lies_in(box_around("x", document, [()]), "x/c")
