"""Few boxes that hold just the cells that are marked."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from make_documents import make_document

from aggrade.rechunking.boxing import boxes_of, cells_in, marked_boxes
from aggrade.rechunking.covering import parts_within


@given(arrays(bool, array_shapes(min_dims=0, max_dims=3, max_side=6)))
def test_boxes_hold_each_marked_cell_once_and_no_other(cells):
    """Painting the boxes counts 1 where a cell is marked and 0 elsewhere."""
    painted = np.zeros(cells.shape, int)
    for box in boxes_of(cells):
        painted[tuple(slice(*pair) for pair in box)] += 1
    assert np.array_equal(painted, cells.astype(int))


def test_a_slab_is_one_box():
    """The newest blocks of all objects are one box, not one for each object."""
    cells = np.zeros((200, 1, 1, 51), bool)
    cells[..., 50:] = True
    assert list(boxes_of(cells)) == [((0, 200), (0, 1), (0, 1), (50, 51))]


def test_boxes_are_cut_at_the_edge_and_found_again():
    """In items, a box ends with the array; from items, the same cells are marked."""
    document = make_document((7, 10), (4, 6))
    cells = np.array([[False, True], [False, True]])
    boxes = list(marked_boxes(cells, document, ((0, 7), (0, 10))))
    assert boxes == [((0, 7), (6, 10))]
    assert np.array_equal(cells_in(document, boxes), cells)
    assert list(marked_boxes(cells, document, ((4, 7), (0, 10)))) == [((4, 7), (6, 10))]


@given(
    st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted),
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
)
def test_parts_of_an_interval_are_counted(interval, steps):
    """The closed form equals counting the distinct cells that the items of the interval fall into."""
    cells = {tuple(item // step for step in steps) for item in range(*interval)}
    assert parts_within(*interval, *steps) == len(cells)
