"""Copying between a box and chunks: the same values as plain slices give, whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggrade.rechunking.blocking import copy_stack, fastest_axis, group_length
from aggrade.rechunking.boxes import Box, in_threads


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 40)),
    chunk=st.tuples(st.integers(1, 40), st.integers(1, 5), st.integers(1, 9)),
    most=st.integers(1, 40),
)
def test_groups_hold_each_chunk_once_and_copy_as_slices_do(shape, chunk, most):
    """Each chunk is in one group; copying the groups into an empty box and back gives every value again."""
    values = np.arange(np.prod(shape), dtype="i4").reshape(shape)
    box = Box("x", tuple((0, size) for size in shape), np.zeros_like(values))
    groups = list(box.groups(chunk, most))
    positions = [position for group in groups for position in group]
    assert len(positions) == len(set(positions)) == np.prod(np.ceil(np.divide(shape, chunk)))
    assert max(map(len, groups)) <= most
    for group in groups:
        regions = [box.grid(chunk).inside(position) for position in group]
        axis = fastest_axis(shape)
        parts, held = [values[region] for region in regions], [box.values[region] for region in regions]
        if len({part.shape for part in parts}) > 1:
            for part, place in zip(parts, held, strict=True):
                place[...] = part
            continue
        whole = list(regions[0])
        whole[axis] = slice(regions[0][axis].start, regions[-1][axis].stop)
        copy_stack(box.values[tuple(whole)], np.stack(parts), axis, into_box=True)
        back = np.zeros_like(np.stack(parts))
        copy_stack(values[tuple(whole)], back, axis, into_box=False)
        assert np.array_equal(back, np.stack(parts))
    assert np.array_equal(box.values, values)


def test_a_part_lies_where_box_and_chunk_meet():
    """A box that begins amid a chunk holds the rest of it."""
    box = Box("x", ((5, 12), (0, 4)), np.zeros((7, 4)))
    grid = box.grid((10, 10))
    assert grid.shared((0, 0)) == ((5, 10), (0, 4))
    assert grid.inside((0, 0)) == (slice(0, 5), slice(0, 4))
    assert grid.within((0, 0)) == (slice(5, 10), slice(0, 4))
    assert [list(each) for each in box.positions((10, 3))] == [[0, 1], [0, 1]]


def test_only_short_chunks_are_grouped():
    """Chunks are grouped along the fastest dimension until their items fill two lines of the cache, not beyond."""
    assert fastest_axis((4, 3, 1)) == 1
    assert fastest_axis(()) == fastest_axis((1, 1)) == 0
    assert group_length((100, 1), (100, 500), 8) == 16
    assert group_length((100, 16), (100, 500), 8) == 1
    assert group_length((100, 1), (100, 3), 8) == 3
    assert group_length((100, 1), (100, 1), 1) == 1
    assert group_length((), (), 8) == 1


def test_after_an_error_nothing_more_is_begun():
    """What one item raises comes out, and items that nobody had begun stay undone."""
    begun = []

    def work(item):
        begun.append(item)
        if item == 1:
            raise ValueError(item)
        return item

    assert in_threads(lambda item: -item, range(50), 4) == [-item for item in range(50)]
    for threads in (1, 2):
        begun.clear()
        with pytest.raises(ValueError, match="1"):
            in_threads(work, range(10_000), threads)
        assert len(begun) < 10_000
