"""Pieces: whole target objects, each object once, few reads."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_documents import make_document

from aggrade.rechunking.covering import choose_piece, coverage_gaps, parts

SIZES = st.integers(1, 20)
AXES = st.lists(st.tuples(SIZES, st.integers(1, 15), st.integers(1, 15)), min_size=1, max_size=3)


def _counted_reads(shape, piece, source):
    """Count pairs of a piece and a source chunk that share an item, by labelling every item with both."""
    labels = {
        tuple((i // p, i // s) for i, p, s in zip(item, piece, source, strict=True))
        for item in itertools.product(*map(range, shape))
    }
    return len(labels)


@settings(deadline=None)
@given(st.integers(0, 200), st.lists(st.integers(1, 30), min_size=1, max_size=3))
def test_parts_counts_what_the_cuts_leave(size, steps):
    """The closed form equals counting the distinct cells that the items fall into."""
    cells = {tuple(item // step for step in steps) for item in range(size)}
    assert parts(size, *steps) == len(cells)


@settings(deadline=None)
@given(AXES, st.integers(1, 5000))
def test_a_piece_is_whole_objects_and_fits(axes, most):
    """What is chosen is a multiple of the target objects and holds no more than allowed, or nothing fits."""
    shape, target, source = (tuple(column) for column in zip(*axes, strict=True))
    chosen = choose_piece(shape, target, source, most, 100)
    one = math.prod(map(min, target, shape))
    if chosen is None:
        assert one > most
        return
    piece = chosen.shape
    assert math.prod(map(min, piece, shape)) == chosen.own == chosen.items
    assert all(length % step == 0 for length, step in zip(piece, target, strict=True))
    assert math.prod(map(min, piece, shape)) <= most


@settings(deadline=None)
@given(AXES, st.integers(1, 5000))
def test_a_piece_never_costs_more_reads_than_one_object_at_a_time(axes, most):
    """Pieces of several objects read the source at most as often as each object by itself would."""
    shape, target, source = (tuple(column) for column in zip(*axes, strict=True))
    chosen = choose_piece(shape, target, source, most, 100)
    if chosen is not None:
        assert chosen.reads == _counted_reads(shape, chosen.shape, source)
        assert chosen.reads <= 1.02 * _counted_reads(shape, target, source)


@settings(deadline=None)
@given(AXES)
def test_with_room_for_everything_each_chunk_is_read_once(axes):
    """Where the whole array fits, no chunk is read twice, but for a fiftieth."""
    shape, target, source = (tuple(column) for column in zip(*axes, strict=True))
    chosen = choose_piece(shape, target, source, math.prod(shape), math.prod(shape))
    assert _counted_reads(shape, chosen.shape, source) <= 1.02 * _counted_reads(shape, shape, source)


def test_a_band_is_as_wide_as_a_row_of_source_chunks():
    """For the measured light-curve cube, a piece is one row of source chunks, all epochs, as soon as that fits."""
    geometry = (200_000, 2, 2, 500), (1_000, 2, 2, 500), (50_000, 2, 2, 1)
    assert choose_piece(*geometry, 100_000_000, 1 << 24).shape == (50_000, 2, 2, 500)
    assert choose_piece(*geometry, 99_999_999, 1 << 24).shape[0] < 50_000


def test_small_pieces_do_where_they_cost_nothing():
    """Where the grids agree, pieces are no larger than is worth while, so that there are many to share."""
    (length,) = choose_piece((1000,), (10,), (10,), 1000, 50).shape
    assert 50 <= length < 100


def test_an_array_without_dimensions_is_one_piece():
    """A scalar has one piece of one item."""
    assert choose_piece((), (), (), 1, 1).shape == ()


def test_an_empty_array_costs_no_reads():
    """A dimension of length 0 leaves nothing to read."""
    assert choose_piece((0, 5), (4, 5), (2, 2), 1, 1) is not None
    assert parts(0, 4, 2) == 0


PROPER = [((0, 4), (0, 6)), ((4, 7), (0, 6)), ((0, 7), (6, 10))]


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        (PROPER[:2], "2 objects that no piece writes"),
        ([*PROPER, PROPER[0]], "1 objects that two pieces write"),
        ([*PROPER[1:], ((0, 3), (0, 6))], "not made of whole objects"),
        ([*PROPER[1:], ((0, 4), (0, 12))], "not made of whole objects"),
        ([*PROPER[1:], ((0, 4),)], "not made of whole objects"),
        ([*PROPER[1:], ((0, 0), (0, 6))], "not made of whole objects"),
    ],
)
def test_what_is_not_a_proper_cover_is_named(boxes, said):
    """A missing object, one written twice, and a piece that cuts through one are all found."""
    document = make_document((7, 10), (4, 6))
    gaps = list(coverage_gaps(document, boxes))
    assert any(said in gap for gap in gaps), gaps


def test_a_proper_cover_has_no_gaps():
    """Whole objects, each in one piece, cut at the array's edge, pass."""
    document = make_document((7, 10), (4, 6))
    assert (
        list(coverage_gaps(document, PROPER))
        == []
        == list(coverage_gaps(document, np.array(PROPER).tolist()))
    )


def test_many_pieces_on_one_object_do_not_overflow_the_count():
    """An object written 300 times is still found."""
    document = make_document((4,), (4,))
    assert list(coverage_gaps(document, [((0, 4),)] * 257)) == ["1 objects that two pieces write"]
